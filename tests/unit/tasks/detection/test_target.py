import numpy as np
import pytest
import torch

from lidar_mt.structures.classes import Classes
from lidar_mt.structures.grid import Grid
from lidar_mt.tasks.detection.target import DetectionTarget, group_names
from tests.helpers.slow_detection import GROUPS, target_of_group
from tests.helpers.task_cases import CLASSES, REFERENCE_GRID, SMALL_GRID, make_batch, random_boxes

CAR, TRUCK, PEDESTRIAN = 0, 1, 8


def _box(x=0.0, y=0.0, w=2.0, l=4.0, h=1.5, yaw=0.5, vx=1.0, vy=-2.0, z=-1.0):  # noqa: E741
    return np.array([x, y, z, w, l, h, yaw, vx, vy], dtype=np.float32)


def _assert_like_loops(boxes, labels, grid, max_objects=500):
    targets = DetectionTarget(grid, CLASSES, max_objects=max_objects)(make_batch(boxes, labels))
    assert len(targets) == len(GROUPS)
    for group, target in zip(GROUPS, targets, strict=True):
        assert target.heatmap.shape == (len(boxes), len(group), *grid.head_shape)
        assert target.heatmap.dtype == torch.float32
        assert target.cell.shape == target.mask.shape == (len(boxes), max_objects)
        for b, (rows, names) in enumerate(zip(boxes, labels, strict=True)):
            slow = target_of_group(
                rows, names, group, grid.point_cloud_range[0], grid.head_cell_size[0], grid.head_shape[0], max_objects
            )
            _assert_sample(target, b, slow)
    return targets


def _assert_sample(target, b, slow):
    np.testing.assert_allclose(target.heatmap[b], slow["heatmap"], atol=1e-6)
    np.testing.assert_array_equal(target.heatmap[b].numpy() == 1, slow["heatmap"] == 1)
    filled = [slot is not None for slot in slow["slots"]]
    assert target.mask[b].tolist() == filled + [False] * (target.mask.shape[1] - len(filled))
    for place, slot in enumerate(slow["slots"]):
        if slot is not None:
            cell, values = slot
            assert target.cell[b, place] == cell
            assert list(target.regression) == list(values)
            for name, wanted in values.items():
                np.testing.assert_allclose(target.regression[name][b, place], wanted, atol=2e-6, err_msg=name)


def test_random_batch_with_different_counts_like_loops():
    rng = np.random.default_rng(0)
    boxes = [random_boxes(rng, count, 12.8) for count in (60, 7, 0)]
    labels = [rng.integers(-1, 10, len(b)) for b in boxes]
    _assert_like_loops(boxes, labels, SMALL_GRID)


def test_reference_grid_like_loops():
    rng = np.random.default_rng(1)
    boxes = [random_boxes(rng, 80, 51.2)]
    targets = _assert_like_loops(boxes, [rng.integers(-1, 10, 80)], REFERENCE_GRID)
    assert targets[0].heatmap.shape == (1, 1, 128, 128)


def test_no_boxes_at_all():
    targets = _assert_like_loops([np.zeros((0, 9), np.float32)] * 2, [np.zeros(0, int)] * 2, SMALL_GRID)
    assert not any(t.heatmap.any() or t.mask.any() for t in targets)


def test_600_boxes_keep_the_first_500_of_each_group():
    rng = np.random.default_rng(2)
    boxes = random_boxes(rng, 600, 12.0)
    boxes[:, 3:6] = 0.5
    labels = np.full(600, CAR)
    labels[::10] = TRUCK
    # 540 cars, 60 trucks.
    targets = _assert_like_loops([boxes, boxes[:3]], [labels, labels[:3]], SMALL_GRID)
    assert targets[0].mask[0].sum() > 350
    assert targets[1].mask[0].sum() > 40
    twice = _assert_like_loops([boxes[:600]], [np.zeros(600, int)], SMALL_GRID)
    only_first = DetectionTarget(SMALL_GRID, CLASSES)(make_batch([boxes[:500]], [np.zeros(500, int)]))
    assert torch.equal(twice[0].heatmap, only_first[0].heatmap)
    assert torch.equal(twice[0].mask, only_first[0].mask)


def test_boxes_on_and_around_the_border():
    edge = 12.8
    inner = np.nextafter(np.float32(edge), np.float32(0))
    rows = [(-edge, -edge), (edge, 0), (0, edge), (inner, inner), (-edge - 0.3, 0), (0, -edge - 0.79), (-edge - 0.9, 0)]
    boxes = np.stack([_box(x, y) for x, y in rows])
    targets = _assert_like_loops([boxes], [np.zeros(len(rows), int)], SMALL_GRID)
    # Truncation goes towards zero, so less than a cell below the range still belongs to the border cell.
    assert targets[0].mask[0, :7].tolist() == [True, False, False, True, True, True, False]
    assert targets[0].cell[0, 4] == 16 * 32
    torch.testing.assert_close(targets[0].regression["reg"][0, 4], torch.tensor([-0.375, 0.0]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", ["w", "l", "h"])
@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_boxes_without_a_proper_size_are_skipped(size, value):
    batch = make_batch([np.stack([_box(**{size: value}), _box(3, 3)])], [np.array([CAR, CAR])])
    target = DetectionTarget(SMALL_GRID, CLASSES)(batch)[0]
    assert target.mask[0, :3].tolist() == [False, True, False]
    assert (target.heatmap == 1).sum() == 1
    assert all(torch.isfinite(values).all() for values in target.regression.values())


def test_unknown_velocity_stays_unknown_and_nothing_else_does():
    batch = make_batch([np.stack([_box(vx=np.nan, vy=np.nan), _box(5, 5)])], [np.array([CAR, CAR])])
    regression = DetectionTarget(SMALL_GRID, CLASSES)(batch)[0].regression
    assert regression["vel"][0, 0].isnan().all()
    torch.testing.assert_close(regression["vel"][0, 1], torch.tensor([1.0, -2.0]))
    assert all(torch.isfinite(values).all() for name, values in regression.items() if name != "vel")


def test_annotations_of_no_class_are_ignored():
    batch = make_batch([np.stack([_box(), _box(3, 3)])], [np.array([-1, PEDESTRIAN])])
    targets = DetectionTarget(SMALL_GRID, CLASSES)(batch)
    assert [int(t.mask.sum()) for t in targets] == [0, 0, 0, 0, 0, 1]
    assert targets[5].heatmap[0, 0].max() == 1
    assert targets[5].heatmap[0, 1].max() == 0


def test_two_objects_in_one_cell_share_a_peak_and_have_a_slot_each():
    batch = make_batch([np.stack([_box(0.1, 0.1), _box(0.2, 0.3)])], [np.array([CAR, CAR])])
    target = DetectionTarget(SMALL_GRID, CLASSES)(batch)[0]
    assert (target.heatmap == 1).sum() == 1
    assert target.mask.sum() == 2
    assert target.cell[0, 0] == target.cell[0, 1]


def test_groups_may_list_classes_in_another_order_than_the_labels():
    classes = Classes(("car", "truck", "bus"), (("bus", "car"), ("truck",)), ("others",))
    assert group_names(classes) == ("bus-car", "truck")
    batch = make_batch([np.stack([_box(0, 0), _box(5, 5), _box(-5, 5)])], [np.array([0, 1, 2])])
    first, second = DetectionTarget(SMALL_GRID, classes)(batch)
    assert first.heatmap[0, 1, 16, 16] == 1  # car
    assert first.heatmap[0, 0, 22, 9] == 1  # bus
    assert second.heatmap[0, 0, 22, 22] == 1


def test_a_grid_that_is_not_square():
    grid = Grid((-6.4, -12.8, -5.0, 6.4, 12.8, 3.0), (0.2, 0.2, 8.0))
    target = DetectionTarget(grid, CLASSES)(make_batch([np.stack([_box(-6.3, 12.7)])], [np.array([CAR])]))[0]
    assert target.heatmap.shape == (1, 1, 32, 16)
    assert target.heatmap[0, 0, 31, 0] == 1
    assert target.cell[0, 0] == 31 * 16
