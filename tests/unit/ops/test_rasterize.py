import numpy as np
import pytest

from lidar_mt.ops.rasterize import rasterize_labels
from lidar_mt.structures.errors import DataError
from tests.helpers import slow_segmentation
from tests.helpers.task_cases import REFERENCE_GRID, SMALL_GRID

DRIVEABLE = 24


def _one_cell(lidarseg, grid=SMALL_GRID):
    points = np.tile(np.array([[0.1, 0.1, -1.0]], dtype=np.float32), (len(lidarseg), 1))
    labels = rasterize_labels(points, np.array(lidarseg, dtype=np.uint8), grid)
    return labels[grid.height // 2, grid.width // 2]


def test_random_points_like_loops():
    rng = np.random.default_rng(0)
    points = rng.uniform(-14, 14, (20_000, 5)).astype(np.float32)
    points[:, 2] = rng.uniform(-6, 4, len(points))
    lidarseg = rng.choice([0, 17, DRIVEABLE, DRIVEABLE, 31], len(points)).astype(np.uint8)
    found = rasterize_labels(points, lidarseg, SMALL_GRID)
    wanted = slow_segmentation.rasterize(points, lidarseg, SMALL_GRID.point_cloud_range, 0.2)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, wanted)
    assert set(np.unique(found)) == {-1, 0, 1}


@pytest.mark.parametrize(
    ("votes", "label"),
    [
        ([DRIVEABLE], 1),
        ([0], 0),
        ([DRIVEABLE, 1], 0),
        ([DRIVEABLE, DRIVEABLE, 1], 1),
        # The other side is one class, however many raw indices it is made of.
        ([DRIVEABLE, DRIVEABLE, 1, 2, 3], 0),
        ([25, 255], 0),
    ],
)
def test_majority_and_ties(votes, label):
    assert _one_cell(votes) == label


def test_rows_are_y_and_columns_are_x():
    labels = rasterize_labels(np.array([[-51.1, 51.1, 0.0]]), np.array([DRIVEABLE]), REFERENCE_GRID)
    assert labels.shape == (512, 512)
    assert labels[511, 0] == 1
    assert (labels != -1).sum() == 1


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("end", [0, 3])
def test_the_rim_of_a_millimetre_is_out_on_every_axis(axis, end):
    bound = SMALL_GRID.point_cloud_range[axis + end]
    inwards = 1 if end == 0 else -1
    for distance, counts in ((0.0005, 0), (-0.1, 0), (0.0, 0), (0.002, 1)):
        point = np.array([[0.05, 0.05, 0.05]])
        point[0, axis] = bound + inwards * distance
        labels = rasterize_labels(point, np.array([DRIVEABLE]), SMALL_GRID)
        assert (labels == 1).sum() == counts, distance


def test_no_points():
    labels = rasterize_labels(np.zeros((0, 5), np.float32), np.zeros(0, np.uint8), SMALL_GRID)
    assert (labels == -1).all()


def test_labels_that_do_not_fit_the_points_are_refused():
    with pytest.raises(DataError, match="3 labels for 4 points"):
        rasterize_labels(np.zeros((4, 5), np.float32), np.zeros(3, np.uint8), SMALL_GRID)
