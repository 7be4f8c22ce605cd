"""What a program must not need."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from tests.helpers.tiny_nuscenes import write_tiny_nuscenes

import lidar_mt

BLOCKED = """
import sys
for name in {blocked!r}:
    sys.modules[name] = None  # importing it raises ImportError
from lidar_mt.config import compose, instantiate
from lidar_mt.config.build import build_module, build_metrics
import lidar_mt.train, lidar_mt.infer, lidar_mt.calops
import lidar_mt.pack_data, lidar_mt.simulate, lidar_mt.evaluate
cfg = compose("train", ["grid.voxel_size=[1.6,1.6,8.0]"])
cfg.paths.run = {folder!r} + "/run"
cfg.metric.detection.data_root, cfg.metric.detection.version = {folder!r}, "v1.0-tiny-mini"
metrics = build_metrics(cfg)
build_module(cfg, total_steps=1, metrics=metrics)
import json
import pathlib
tokens = [row["token"] for row in json.loads(pathlib.Path({folder!r}, "v1.0-tiny-mini", "sample.json").read_text())]
results = {{token: [] for token in tokens if not token.startswith("scene-0061")}}
path = pathlib.Path({folder!r}, "results.json")
path.write_text(json.dumps({{"meta": {{}}, "results": results}}))
assert metrics["detection"].score_file(path).num_samples == 8
import lidar_mt.data.datamodule
print("built")
"""


def test_training_evaluation_and_inference_need_neither_devkit_nor_extras(tmp_path):
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
        "openvino",
        "optuna",
        "rerun",
        "ray",
    ]
    folder = write_tiny_nuscenes(tmp_path / "nuscenes")
    code = BLOCKED.format(blocked=blocked, folder=str(folder))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "built"


PICKLES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "copyreg"}


def sources():
    for path in Path(lidar_mt.__file__).parent.rglob("*.py"):
        yield path, ast.parse(path.read_text())


def test_no_pickle_and_no_unsafe_load_in_the_sources():
    """Reading a checkpoint names weights_only=True, and one module alone may know pickles, see the next test."""
    loads, importers = 0, set()
    for path, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                importers |= {(path.name, a.name, a.asname) for a in node.names if a.name.split(".")[0] in PICKLES}
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in PICKLES, f"{path}:{node.lineno}"
            if isinstance(node, ast.Attribute) and is_pickle(node.value) and path.name != "plain_pickle.py":
                assert node.attr == "UnpicklingError", f"{path}:{node.lineno}"
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            assert name not in ("pd.read_pickle", "pandas.read_pickle", "__import__"), f"{path}:{node.lineno}"
            if name in ("np.load", "numpy.load"):
                allow = [ast.unparse(k.value) for k in node.keywords if k.arg == "allow_pickle"]
                assert allow == ["False"], f"{path}:{node.lineno}"
            if name == "torch.load":
                loads += 1
                assert any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords), path
    assert loads == 1
    assert importers == {("plain_pickle.py", "pickle", None), ("checkpoint.py", "pickle", None)}


def test_the_one_unpickler_imports_nothing():
    """Its class overrides what finds names, never asks the base class for them, and is the only one that loads."""
    (tree,) = (tree for path, tree in sources() if path.name == "plain_pickle.py")
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and is_pickle(node.value)}
    assert used == {"Unpickler", "UnpicklingError", "dump"}
    imports = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [line for line in imports if "pickle" in line] == ["import pickle", "import pickletools"]
    (unpickler,) = (
        node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and any(map(is_unpickler, node.bases))
    )
    methods = {node.name: ast.unparse(node) for node in unpickler.body if isinstance(node, ast.FunctionDef)}
    assert {"find_class", "persistent_load"} <= set(methods)
    text = ast.unparse(tree)
    for word in ("super(", "import_module", "getattr", "eval(", "exec(", "sys.modules"):
        assert word not in text
    loads = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in ("load", "loads")]
    assert [ast.unparse(node) for node in loads] == [f"{unpickler.name}(file).load"]
    # Every value of the table of names is one of the module's own stand-ins.
    (table,) = (
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "_ALLOWED"
    )
    made = {ast.unparse(node.func) for node in ast.walk(table) if isinstance(node, ast.Call)}
    assert made == {"_StandIn"}


def is_pickle(node):
    return isinstance(node, ast.Name) and node.id == "pickle"


def is_unpickler(node):
    return isinstance(node, ast.Attribute) and node.attr == "Unpickler" and is_pickle(node.value)
