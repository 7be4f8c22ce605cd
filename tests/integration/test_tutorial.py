"""Every command of docs/tutorial.md, in its order, on a small simulated data set."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.documented import MORE, ROOT, commands

COMMANDS = commands(ROOT / "docs" / "tutorial.md", inline=False)


def test_the_tutorial_shows_every_step() -> None:
    programs = {command.program for command in COMMANDS}
    steps = {"pack_data", "verify_data", "create_data", "calops", "train", "evaluate", "export", "infer", "report"}
    assert steps <= programs
    assert {"stage=float", "stage=calibrate", "stage=qat"} <= {word for command in COMMANDS for word in command.words}


@pytest.mark.slow
def test_the_tutorial_runs_as_written(programs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ("out=data/nuscenes", "version=v1.0-mini", "scenes=10", "keyframes=2", "sweeps=1")
    assert programs("simulate", *small).status == 0
    frame = str(next(Path("data/nuscenes/samples/LIDAR_TOP").iterdir()))
    for command in COMMANDS:
        keys = [key.replace("FILE.pcd.bin", frame) for key in command.words]
        done = programs(command.program, *keys, *MORE.get(command.program, ()))
        assert done.status == 0, f"{command.text}\n{done.err}"
    page = Path("runs/multitask/report.html").read_text(encoding="utf-8")
    for section in ("Scores", "Frames", "Training", "Parity", "Sensitivity", "Compiled", "Configuration"):
        assert f">{section}" in page
    assert "int8 openvino" in page
