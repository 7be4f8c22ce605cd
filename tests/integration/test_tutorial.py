"""Every command of docs/tutorial.md, in its order, on a small simulated data set."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.helpers.training import SMALL_NETWORK

TEXT = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line)[2:] for block in re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()
]
LOADING = ("data.num_workers=0", "data.num_sweeps=1", "trainer.accelerator=cpu", "trainer.devices=1")
SHORT = (
    *(item for item in SMALL_NETWORK if not item.startswith(("optimizer", "data."))),
    *LOADING,
    "data.batch_size=2",
    "data.calibration_batches=2",
    "data.calibration_batch_size=2",
    "float_epochs=1",
    "trainer.log_every_n_steps=2",  # of eight
)
#: What makes a command short; nothing else is changed.
MORE = {
    "train": SHORT,
    "evaluate": LOADING,
    "parity": (*LOADING, "samples=1"),
    "sensitivity": (*LOADING, "calibration_samples=1"),
    "export": ("data.num_sweeps=1",),
    "create_data": ("allow_empty=true",),
}


def test_the_tutorial_shows_every_step() -> None:
    programs = {command[0].removeprefix("lidar_mt.") for command in COMMANDS}
    steps = {"pack_data", "verify_data", "create_data", "calops", "train", "evaluate", "export", "infer", "report"}
    assert steps <= programs
    assert {"stage=float", "stage=calibrate", "stage=qat"} <= {word for command in COMMANDS for word in command}


@pytest.mark.slow
def test_the_tutorial_runs_as_written(programs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ("out=data/nuscenes", "version=v1.0-mini", "scenes=10", "keyframes=2", "sweeps=1")
    assert programs("simulate", *small).status == 0
    frame = str(next(Path("data/nuscenes/samples/LIDAR_TOP").iterdir()))
    for name, *written in COMMANDS:
        program = name.removeprefix("lidar_mt.")
        keys = [key.replace("FILE.pcd.bin", frame) for key in written]
        done = programs(program, *keys, *MORE.get(program, ()))
        assert done.status == 0, f"{name} {keys}\n{done.err}"
    page = Path("runs/multitask/report.html").read_text(encoding="utf-8")
    for section in ("Scores", "Frames", "Training", "Parity", "Sensitivity", "Compiled", "Configuration"):
        assert f">{section}" in page
    assert "int8 openvino" in page
