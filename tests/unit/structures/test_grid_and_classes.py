import pytest

from lidar_mt.structures.classes import DETECTION_CLASSES, Classes
from lidar_mt.structures.errors import ConfigError
from lidar_mt.structures.grid import Grid

RANGE = (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0)


def test_reference_grid():
    grid = Grid(RANGE, (0.2, 0.2, 8.0))
    assert grid.shape == (512, 512)
    assert grid.head_shape == (128, 128)
    assert grid.head_cell_size == pytest.approx((0.8, 0.8))


@pytest.mark.parametrize(
    ("bounds", "size", "message"),
    [
        ((51.2, -51.2, -5, -51.2, 51.2, 3), (0.2, 0.2, 8), "empty"),
        (RANGE, (0.2, 0, 8), "empty"),
        (RANGE, (0.3, 0.2, 8), "x range"),
        (RANGE, (1.6, 1.6, 8), None),
        (RANGE, (0.8, 51.2, 8), "multiples of 32"),
    ],
)
def test_impossible_grids_are_refused(bounds, size, message):
    if message is None:
        assert Grid(bounds, size).shape == (64, 64)
        return
    with pytest.raises(ConfigError, match=message):
        Grid(bounds, size)


def test_groups_hold_every_class_once():
    groups = [
        ["car"],
        ["truck", "construction_vehicle"],
        ["bus", "trailer"],
        ["barrier"],
        ["motorcycle", "bicycle"],
        ["pedestrian", "traffic_cone"],
    ]
    classes = Classes(DETECTION_CLASSES, groups, ["others", "driveable_surface"])
    assert classes.group_labels == ((0,), (1, 2), (3, 4), (5,), (6, 7), (8, 9))
    with pytest.raises(ConfigError, match="groups hold"):
        Classes(DETECTION_CLASSES, groups[:-1], ["others"])
    with pytest.raises(ConfigError, match="groups hold"):
        Classes(DETECTION_CLASSES, [*groups, ["car"]], ["others"])
