from __future__ import annotations

from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from lidar_mt.engine.board_reading import read_curves


def write(folder: Path, steps: range, shift: float = 0.0) -> Path:
    with SummaryWriter(str(folder)) as board:
        for step in steps:
            board.add_scalar("train/loss", step / 2 + shift, step)
    return folder


def test_a_run_that_went_on_is_one_curve(tmp_path: Path) -> None:
    folders = [write(tmp_path / "a", range(5)), write(tmp_path / "b", range(3, 8), shift=10.0)]
    expected = [(0, 0.0), (1, 0.5), (2, 1.0), (3, 11.5), (4, 12.0), (5, 12.5), (6, 13.0), (7, 13.5)]
    assert read_curves(folders) == {"train/loss": expected}


def test_no_files_are_no_curves(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert read_curves([tmp_path / "empty"]) == {}
    assert read_curves([]) == {}
