from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nuscenes.utils.data_classes import Box
from nuscenes.utils.geometry_utils import points_in_box
from pyquaternion import Quaternion

from lidar_mt.data.box_index import BoxIndex
from lidar_mt.structures.boxes import points_in_boxes


def random_boxes(rng: np.random.Generator, count: int, spread_m: float = 40.0) -> np.ndarray:
    low = [-spread_m, -spread_m, -2, 0.2, 0.2, 0.5, -np.pi, -5, -5]
    high = [spread_m, spread_m, 2, 4, 15, 4, np.pi, 5, 5]
    return rng.uniform(low, high, (count, 9))


def random_points(rng: np.random.Generator, count: int, spread_m: float = 60.0) -> np.ndarray:
    low, high = [-spread_m, -spread_m, -3, 0, 0], [spread_m, spread_m, 3, 255, 0.5]
    return rng.uniform(low, high, (count, 5)).astype(np.float32)


def mask(index: BoxIndex, points: np.ndarray, count: int) -> np.ndarray:
    box, point = index.pairs(points)
    out = np.zeros((count, len(points)), dtype=bool)
    out[box, point] = True
    assert out.sum() == len(box)  # no pair twice
    np.testing.assert_array_equal(np.lexsort((point, box)), np.arange(len(box)))
    return out


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 30),
    spread_m=st.sampled_from([0.0, 3.0, 40.0, 1000.0]),
    cell_m=st.sampled_from([0.1, 0.5, 7.0]),
)
def test_pairs_equal_the_plain_loop(seed, count, spread_m, cell_m):
    rng = np.random.default_rng(seed)
    boxes, points = random_boxes(rng, count, spread_m), random_points(rng, 2000, max(spread_m * 1.2, 5.0))
    index = BoxIndex(boxes, cell_m)
    np.testing.assert_array_equal(mask(index, points, count), points_in_boxes(points, boxes))


def test_pairs_equal_the_devkit():
    rng = np.random.default_rng(0)
    boxes, points = random_boxes(rng, 60), random_points(rng, 20_000)
    expected = [
        points_in_box(Box(box[:3], box[3:6], Quaternion(axis=[0, 0, 1], radians=box[6])), points[:, :3].T)
        for box in boxes
    ]
    found = mask(BoxIndex(boxes), points, len(boxes))
    assert found.sum() > 500
    np.testing.assert_array_equal(found, expected)


def test_borders_are_inside_and_what_lies_behind_them_is_not():
    box = np.array([[10.0, -4.0, 1.0, 2.0, 4.0, 1.5, 0.0, 0.0, 0.0]])
    half = np.array([2.0, 1.0, 0.75])
    signs = np.array(np.meshgrid([-1, 0, 1], [-1, 0, 1], [-1, 0, 1])).reshape(3, -1).T
    on = box[0, :3] + signs * half
    index = BoxIndex(box)
    assert mask(index, on.astype(np.float32), 1).all()
    out = (box[0, :3] + signs[np.abs(signs).sum(axis=1) > 0] * half * 1.0001).astype(np.float32)
    assert not mask(index, out, 1).any()


def test_overlapping_boxes_share_their_points():
    boxes = np.array([[0, 0, 0, 4, 4, 4, 0, 0, 0], [1, 0, 0, 4, 4, 4, 1, 0, 0]], dtype=float)
    assert mask(BoxIndex(boxes), np.zeros((1, 5), np.float32), 2).tolist() == [[True], [True]]


@pytest.mark.parametrize("count", [0, 5])
def test_no_boxes_and_no_points(count):
    rng = np.random.default_rng(1)
    index = BoxIndex(random_boxes(rng, count))
    for points in (np.empty((0, 5), np.float32), random_points(rng, 10) + np.float32(500)):
        assert [len(part) for part in index.pairs(points)] == [0, 0]
        assert len(index.candidates(points)) == 0


def test_points_and_boxes_that_are_not_finite_or_far_away():
    rng = np.random.default_rng(2)
    boxes = random_boxes(rng, 6)
    boxes[0, 0], boxes[1, 6], boxes[2, 3] = np.nan, np.inf, np.nan
    boxes[3, :2] = 1e6
    boxes[4, 7:] = np.nan  # an unknown velocity does not matter
    points = random_points(rng, 3000)
    points[:4, :2] = [[np.nan, 0], [np.inf, 0], [0, -np.inf], [3e38, 3e38]]
    points[4, :3] = boxes[3, :3]
    with np.errstate(invalid="ignore", over="ignore"):
        found = mask(BoxIndex(boxes), points, len(boxes))
        np.testing.assert_array_equal(found[3:], points_in_boxes(points, boxes[3:]))
    assert not found[:3].any()
    assert found[3, 4]


def test_candidates_hold_all_points_inside_under_any_transform():
    rng = np.random.default_rng(3)
    boxes = random_boxes(rng, 20)
    transform = Quaternion(axis=[0.1, 0.2, 1.0], radians=0.7).transformation_matrix
    transform[:3, 3] = [3.0, -2.0, 0.5]
    points = random_points(rng, 20_000)
    moved = (points[:, :3] @ transform[:3, :3].T + transform[:3, 3]).astype(np.float32)
    index = BoxIndex(boxes)
    inside = np.flatnonzero(points_in_boxes(moved, boxes).any(axis=0))
    candidates = index.candidates(points, transform)
    assert len(inside) > 50
    assert np.isin(inside, candidates).all()
    assert len(candidates) < len(points) / 2
