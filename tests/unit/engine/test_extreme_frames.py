from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lidar_mt.config import compose, instantiate
from lidar_mt.engine.extreme_frames import ExtremeFrames
from lidar_mt.structures.outputs import Detections
from lidar_mt.structures.sample import Batch

BOXES = torch.zeros(6, 9)
BOXES[:, 0] = torch.arange(6) * 8 - 20
BOXES[:, 3:6] = 2
LABELS = torch.zeros(6, dtype=torch.int64)


@pytest.fixture
def callback() -> ExtremeFrames:
    cfg = compose("train")
    return ExtremeFrames(2, instantiate(cfg.grid), instantiate(cfg.classes))


def show(callback: ExtremeFrames, folder: Path, found: dict[str, int], boxes: int = 6) -> list[str]:
    """An evaluation of frames in which so many of six boxes are found; names of the pictures."""
    trainer = SimpleNamespace(is_global_zero=True, default_root_dir=str(folder))
    for index, (token, count) in enumerate(found.items()):
        detections = Detections(BOXES[:count], torch.full((count,), 0.9), LABELS[:count])
        poses = torch.eye(4, dtype=torch.float64)[None]
        points = torch.zeros(10, 5)
        batch = Batch([token], [points], [BOXES[:boxes]], [LABELS[:boxes]], None, poses, poses)
        callback.on_test_batch_end(trainer, None, {"detection": [detections]}, batch, index)
    callback.on_test_end(trainer, None)
    return sorted(path.stem for path in (folder / "pictures").glob("*.png"))


def test_the_best_and_the_worst_are_drawn(callback: ExtremeFrames, tmp_path: Path) -> None:
    names = show(callback, tmp_path, {"a": 3, "b": 6, "c": 0, "d": 5, "e": 1, "f": 4})
    assert names == ["best_0", "best_1", "worst_0", "worst_1"]
    assert callback.chosen == {"best_0": "b", "best_1": "d", "worst_0": "c", "worst_1": "e"}


def test_frames_with_few_boxes_are_not_chosen(callback: ExtremeFrames, tmp_path: Path) -> None:
    assert show(callback, tmp_path, {"a": 0, "b": 1}, boxes=4) == []


def test_frames_that_were_chosen_before_are_drawn_again(callback: ExtremeFrames, tmp_path: Path) -> None:
    callback.choose({"best_0": "c", "worst_0": "gone"})
    assert show(callback, tmp_path, {"a": 3, "b": 6, "c": 0}) == ["best_0"]
