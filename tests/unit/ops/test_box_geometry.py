import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lidar_mt.ops.box_geometry import (
    Rectangles,
    bev_intersection,
    bev_iou,
    bev_iou_matrix,
    circles_meet,
    iou_exceeds,
    squared_distances,
)
from tests.helpers import slow_boxes

# Of the IoU, for boxes of either precision: shapely is given the very numbers that float32 holds.
TOLERANCE = 1e-6
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def _box(x=0.0, y=0.0, w=2.0, l=4.0, yaw=0.0):  # noqa: E741
    return [x, y, 0.0, w, l, 1.5, yaw, 0.0, 0.0]


def _random_boxes(seed, count, spread, dtype, centre=(0.0, 0.0)):
    rng = np.random.default_rng(seed)
    boxes = np.zeros((count, 9))
    boxes[:, :2] = rng.uniform(-spread, spread, (count, 2)) + centre
    boxes[:, 3:6] = np.exp(rng.uniform(np.log(0.1), np.log(20), (count, 3)))
    boxes[:, 6] = rng.uniform(-2 * np.pi, 2 * np.pi, count)
    return torch.tensor(boxes, dtype=dtype)


def _assert_like_shapely(first, second):
    wanted = slow_boxes.iou_matrix(first.double().tolist(), second.double().tolist())
    found = bev_iou_matrix(first, second)
    assert found.dtype == first.dtype
    np.testing.assert_allclose(found.double(), wanted, atol=TOLERANCE, rtol=0)
    return np.array(wanted)


@DTYPES
@pytest.mark.parametrize("centre", [(0.0, 0.0), (-48.0, 51.0)])
def test_random_boxes_like_shapely(dtype, centre):
    wanted = _assert_like_shapely(_random_boxes(0, 60, 8, dtype, centre), _random_boxes(1, 50, 8, dtype, centre))
    assert 0.1 < (wanted > 0).mean() < 0.9


EDGE_CASES = {
    "identical": (_box(3, -7, yaw=0.7), _box(3, -7, yaw=0.7)),
    "identical, half a turn": (_box(3, -7, yaw=0.7), _box(3, -7, yaw=0.7 - math.pi)),
    "identical square, quarter turn": (_box(1, 1, 3, 3, 0.3), _box(1, 1, 3, 3, 0.3 + math.pi / 2)),
    "sizes swapped and a quarter turn": (_box(w=2, l=5, yaw=0.4), _box(w=5, l=2, yaw=0.4 + math.pi / 2)),
    "contained": (_box(w=6, l=9, yaw=1.1), _box(0.3, 0.2, 1, 2, -0.5)),
    "contained, sharing a side": (_box(w=4, l=8), _box(0, 1, 2, 4)),
    "contained, sharing a corner": (_box(w=4, l=8), _box(2, 1, 2, 4)),
    "touching sides": (_box(), _box(4, 0)),
    "touching corners": (_box(), _box(4, 2)),
    "corner on a side": (_box(w=2, l=2), _box(1 + math.sqrt(2), 0, 2, 2, math.pi / 4)),
    "cross": (_box(w=1, l=10, yaw=0.2), _box(w=1, l=10, yaw=0.2 + math.pi / 2)),
    "nearly parallel": (_box(w=1, l=18, yaw=0.3), _box(0.4, 0.1, 1, 18, 0.3 + 1e-6)),
    "star": (_box(w=2, l=2), _box(w=2, l=2, yaw=math.pi / 4)),
    "far apart": (_box(), _box(100, 100)),
    "just apart": (_box(), _box(4.001, 0)),
    "no width": (_box(), _box(0, 0, 0, 4, 0.5)),
    "no length": (_box(), _box(0.5, 0.5, 2, 0)),
    "a point": (_box(), _box(0, 0, 0, 0)),
    "two points": (_box(0, 0, 0, 0), _box(0, 0, 0, 0)),
    "thin": (_box(w=0.01, l=20, yaw=0.1), _box(w=0.01, l=20, yaw=0.11)),
    "tiny and huge": (_box(w=60, l=60, yaw=0.4), _box(5, 5, 0.05, 0.05, 1)),
}


@DTYPES
@pytest.mark.parametrize("case", EDGE_CASES)
def test_edge_cases_like_shapely_both_ways_round(case, dtype):
    a, b = (torch.tensor([row], dtype=dtype) for row in EDGE_CASES[case])
    _assert_like_shapely(a, b)
    _assert_like_shapely(b, a)


def test_known_areas():
    star = torch.tensor([_box(w=2, l=2), _box(w=2, l=2, yaw=math.pi / 4)], dtype=torch.float64)
    octagon = 8 * (math.sqrt(2) - 1)
    assert bev_intersection(star[:1], star[1:]).item() == pytest.approx(octagon, abs=1e-12)
    same = torch.tensor([_box(yaw=0.123)], dtype=torch.float64)
    assert bev_iou(same, same).item() == pytest.approx(1, abs=1e-12)


def _either(*strategies):
    return st.one_of(*strategies)


right_angles = st.integers(-8, 8).map(lambda quarter: quarter * math.pi / 2)
tiny_turns = st.sampled_from([0.0, 1e-12, 1e-9, 1e-7, 1e-5, -1e-7])
angles = _either(st.floats(-7, 7), right_angles, st.tuples(right_angles, tiny_turns).map(sum))
sizes = _either(st.floats(0.05, 20), st.sampled_from([1.0, 2.0, 4.0]), st.sampled_from([0.0, 1e-6, 1e-4, 0.01, 60.0]))
shifts = _either(st.floats(-6, 6), st.sampled_from([0.0, 1.0, 2.0, -2.0, 4.0, 3.9999999, 1e-7]))
places = st.sampled_from([(0.0, 0.0), (48.3, -51.1), (61234.5, -43210.25), (1e6, 3e6)])


@DTYPES
@settings(max_examples=400, deadline=None)
@given(
    places, shifts, shifts, st.tuples(sizes, sizes), st.one_of(st.none(), st.tuples(sizes, sizes)), angles,
    st.one_of(st.none(), angles),
)  # fmt: skip
def test_iou_like_shapely(dtype, place, dx, dy, size, other_size, yaw, other_yaw):
    """None repeats the first box's size or yaw: equal edges, identical boxes, quarter turns."""
    a = _box(*place, *size, yaw)
    b = _box(place[0] + dx, place[1] + dy, *(other_size or size), yaw if other_yaw is None else other_yaw)
    first, second = torch.tensor([a], dtype=dtype), torch.tensor([b], dtype=dtype)
    wanted = slow_boxes.iou_about_origin(*first.double().tolist(), *second.double().tolist())
    found = bev_iou(first, second)
    assert found.dtype == dtype
    assert found.item() == pytest.approx(wanted, abs=TOLERANCE)
    assert bev_iou(second, first).item() == pytest.approx(wanted, abs=TOLERANCE)
    for threshold in (0.0, 0.05, 0.2, 0.5, 0.9):
        # At the threshold itself the two ways of computing may round to different sides.
        if abs(wanted - threshold) > 1e-9:
            outlines = Rectangles.of(first), Rectangles.of(second)
            assert iou_exceeds(*outlines, threshold).item() == (wanted > threshold), threshold


@settings(max_examples=150, deadline=None)
@given(st.floats(-6, 6), st.floats(-6, 6), *[st.floats(0.05, 20)] * 4, st.floats(-7, 7), st.floats(-7, 7))
def test_iou_is_unmoved_by_a_common_motion(dx, dy, w1, l1, w2, l2, yaw1, yaw2):
    a, b = _box(0, 0, w1, l1, yaw1), _box(dx, dy, w2, l2, yaw2)
    first, second = torch.tensor([a], dtype=torch.float64), torch.tensor([b], dtype=torch.float64)
    found = bev_iou(first, second).item()
    turn = 0.9
    moved = [
        torch.tensor(
            [_box(7 + x * math.cos(turn) - y * math.sin(turn), 3 + x * math.sin(turn) + y * math.cos(turn), *rest)],
            dtype=torch.float64,
        )
        for x, y, rest in ((0, 0, (w1, l1, yaw1 + turn)), (dx, dy, (w2, l2, yaw2 + turn)))
    ]
    assert found == pytest.approx(bev_iou(*moved).item(), abs=1e-9)


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.2, 0.5, 0.8])
def test_bounds_decide_like_the_exact_iou(threshold):
    first = _random_boxes(11, 20_000, 3, torch.float64)
    second = first + 0.05 * _random_boxes(12, 20_000, 3, torch.float64)
    exact = bev_iou(first, second) > threshold
    assert torch.equal(iou_exceeds(Rectangles.of(first), Rectangles.of(second), threshold), exact)
    assert 0.05 < exact.float().mean() < 0.95 or threshold == 0


def test_far_from_the_origin_float32_boxes_lose_nothing():
    """The boxes' own rounding is theirs; the overlap of what they say is exact."""
    near, far = (_random_boxes(8, 60, 4, torch.float32, centre) for centre in ((0.0, 0.0), (2.0e6, -3.0e6)))
    _assert_like_shapely(near, near)
    _assert_like_shapely(far, far)


def test_circles_never_hide_an_overlap():
    boxes = _random_boxes(2, 80, 25, torch.float64)
    meet = circles_meet(Rectangles.of(boxes), Rectangles.of(boxes))
    overlap = np.array(slow_boxes.iou_matrix(boxes.tolist(), boxes.tolist())) > 0
    assert not (overlap & ~meet.numpy()).any()
    assert 0 < meet.float().mean() < 0.5


@DTYPES
def test_boxes_that_are_apart_share_exactly_nothing(dtype):
    boxes = _random_boxes(4, 100, 20, dtype, (30.0, -30.0))
    wanted = np.array(slow_boxes.iou_matrix(boxes.double().tolist(), boxes.double().tolist()))
    found = bev_iou_matrix(boxes, boxes).numpy()
    assert (found[wanted == 0] == 0).all()
    assert (found[wanted > 1e-4] > 0).all()


def test_squared_distances_keep_leading_dimensions():
    boxes = _random_boxes(3, 12, 5, torch.float64).view(3, 4, 9)
    wanted = torch.cdist(boxes[..., :2], boxes[..., :2]) ** 2
    torch.testing.assert_close(squared_distances(boxes, boxes), wanted)


def test_empty_sets():
    none, some = torch.zeros(0, 9), torch.tensor([_box()])
    assert bev_iou_matrix(none, some).shape == (0, 1)
    assert bev_iou_matrix(some, none).shape == (1, 0)
    assert bev_iou(none, none).shape == (0,)
