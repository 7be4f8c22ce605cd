import pytest
import torch

from lidar_mt.structures.errors import DataError
from lidar_mt.tasks.segmentation.target import SegmentationTarget
from tests.helpers.task_cases import SMALL_GRID, make_batch


def test_label_maps_are_the_target():
    labels = torch.randint(-1, 2, (2, 128, 128))
    assert SegmentationTarget(SMALL_GRID)(make_batch([[], []], [[], []], labels)) is labels


def test_no_labels_no_target():
    assert SegmentationTarget(SMALL_GRID)(make_batch([[]], [[]])) is None


def test_label_maps_of_another_grid_are_refused():
    batch = make_batch([[]], [[]], torch.zeros(1, 64, 128, dtype=torch.long))
    with pytest.raises(DataError, match=r"\(128, 128\) cells, got \(64, 128\)"):
        SegmentationTarget(SMALL_GRID)(batch)
