"""A damaged checkpoint: what stands in for it, and the command that makes it again."""

from __future__ import annotations

from pathlib import Path

import pytest

from lidar_mt.config.checkpoints import read_or_tell
from lidar_mt.structures.errors import CheckpointError

COMMAND = "python -m lidar_mt.train stage=qat run_name=demo"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folders = [tmp_path / "demo/qat" / time / "checkpoints" for time in ("2026-01-01_00-00-00", "2026-01-02_00-00-00")]
    for folder in (*folders, tmp_path / "demo/published"):
        folder.mkdir(parents=True)
        (folder / "best.ckpt").write_bytes(b"x")
    (tmp_path / "demo/published/qat-best.ckpt").write_bytes(b"x")
    (tmp_path / "demo/published/float-best.ckpt").write_bytes(b"x")
    return tmp_path / "demo"


def message(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_or_tell(path, COMMAND)
    return str(caught.value)


def test_a_published_checkpoint_names_the_newest_copy_and_the_command(run: Path) -> None:
    text = message(run / "published/qat-best.ckpt")
    assert str(run / "qat/2026-01-02_00-00-00/checkpoints/best.ckpt") in text
    assert text.endswith(f"To make it again:\n{COMMAND}")
    assert "kept" not in message(run / "published/float-best.ckpt")


def test_the_command_makes_no_other_checkpoint(run: Path) -> None:
    assert "python" not in message(run / "qat/2026-01-01_00-00-00/checkpoints/best.ckpt")


def test_a_program_tells_its_own_keys(programs, run: Path) -> None:
    (run / "published/qat-config.yaml").write_text(
        "{grid: {}, classes: {}, model: {}, task: {}, num_sweeps: 1, quant: {}}"
    )
    error = programs("export", "stage=qat", "run_name=demo", "grid=small", f"paths.runs={run.parent}").err
    assert "python -m lidar_mt.train stage=qat run_name=demo grid=small" in error
    start = programs("train", "stage=calibrate", "run_name=demo", f"paths.runs={run.parent}").err
    assert "published/float-best.ckpt is damaged" in start
    assert f"python -m lidar_mt.train stage=float run_name=demo paths.runs={run.parent}" in start
