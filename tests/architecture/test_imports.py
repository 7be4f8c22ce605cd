"""What a program must not need."""

from __future__ import annotations

import subprocess
import sys

BLOCKED = """
import sys
for name in {blocked!r}:
    sys.modules[name] = None  # importing it raises ImportError
from lidar_mt.config import compose, instantiate
from lidar_mt.config.build import build_module, build_metrics
import lidar_mt.train, lidar_mt.infer, lidar_mt.calops
cfg = compose("train", ["metric=none", "grid.voxel_size=[1.6,1.6,8.0]"])
assert build_metrics(cfg) == {{}}
build_module(cfg, total_steps=1)
import lidar_mt.data.datamodule
print("built")
"""


def test_training_and_inference_need_neither_devkit_nor_extras():
    blocked = [
        "nuscenes",
        "pyquaternion",
        "cv2",
        "shapely",
        "sklearn",
        "spconv",
        "cumm",
        "onnx",
        "onnxruntime",
        "optuna",
        "rerun",
    ]
    code = BLOCKED.format(blocked=blocked)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "built"


def test_no_pickle_and_no_unsafe_load_in_the_sources():
    """Reading a checkpoint names weights_only=True; nothing unpickles."""
    import ast
    from pathlib import Path

    import lidar_mt

    loads = 0
    for path in Path(lidar_mt.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            assert name not in ("pickle.load", "pickle.loads", "np.load") or any(
                keyword.arg == "allow_pickle" and ast.unparse(keyword.value) == "False" for keyword in node.keywords
            ), f"{path}:{node.lineno}"
            if name == "torch.load":
                loads += 1
                assert any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords), path
    assert loads == 1
