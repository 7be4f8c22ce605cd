import numpy as np
import pytest
import torch

from lidar_mt.ops.box_geometry import bev_iou_matrix
from lidar_mt.ops.nms import circle_nms, keep_greedily, rotated_conflicts, rotated_nms
from tests.helpers import slow_boxes


def _candidates(seed, count, spread):
    rng = np.random.default_rng(seed)
    boxes = np.zeros((count, 9))
    boxes[:, :2] = rng.uniform(-spread, spread, (count, 2))
    boxes[:, 3:6] = rng.uniform(0.5, 5, (count, 3))
    boxes[:, 6] = rng.uniform(-4, 4, count)
    return torch.tensor(boxes), torch.tensor(rng.permutation(count) / count)


@pytest.mark.parametrize(("count", "spread", "threshold"), [(60, 3, 0.2), (80, 10, 0.2), (60, 6, 0.0), (60, 0.5, 0.5)])
def test_rotated_nms_like_loops(count, spread, threshold):
    boxes, scores = _candidates(count, count, spread)
    wanted = slow_boxes.rotated_nms(boxes.tolist(), scores.tolist(), threshold, 1000, 83)
    assert rotated_nms(boxes, scores, threshold, 1000, 83).tolist() == wanted
    assert 1 < len(wanted) < count


def _crowd(seed, count, objects, spread):
    """Several candidates for each of some vehicles, and a score that many share."""
    rng = np.random.default_rng(seed)
    which = rng.integers(0, objects, count)
    boxes = np.zeros((count, 9))
    boxes[:, :2] = rng.uniform(-spread, spread, (objects, 2))[which] + rng.normal(0, 0.4, (count, 2))
    boxes[:, 3:6] = rng.uniform(1.5, 5, (objects, 3))[which] * rng.normal(1, 0.05, (count, 3))
    boxes[:, 6] = rng.uniform(-3, 3, objects)[which] + rng.normal(0, 0.1, count)
    return torch.tensor(boxes, dtype=torch.float32), torch.tensor(rng.integers(1, 20, count) / 20)


@pytest.mark.parametrize(("objects", "spread", "post"), [(1, 0, 83), (8, 12, 83), (60, 40, 83), (60, 40, 20)])
def test_crowds_with_ties_like_loops(objects, spread, post):
    boxes, scores = _crowd(objects, 400, objects, spread)
    wanted = slow_boxes.rotated_nms(boxes.double().tolist(), scores.tolist(), 0.2, 1000, post)
    assert rotated_nms(boxes, scores, 0.2, 1000, post).tolist() == wanted


@pytest.mark.parametrize(
    ("objects", "spread", "threshold"), [(5, 5, 0.2), (50, 30, 0.2), (400, 50, 0.2), (30, 15, 0.7)]
)
def test_many_boxes_like_a_loop_over_all_pairs(objects, spread, threshold):
    count = 700
    boxes = torch.stack([_crowd(seed, count, objects, spread)[0] for seed in range(2)])
    valid = torch.rand(2, count, generator=torch.Generator().manual_seed(objects)) < 0.9
    conflicts = [(bev_iou_matrix(rows.double(), rows.double()) > threshold).numpy() for rows in boxes]
    for post in (10, 83, 1000):
        keep = keep_greedily(rotated_conflicts(boxes, threshold), valid, post)
        for among, is_valid, found in zip(conflicts, valid, keep, strict=True):
            kept, is_open = [], is_valid.numpy().copy()
            for i in range(count):
                if is_open[i] and len(kept) < post:
                    kept.append(i)
                    is_open &= ~among[i]
            assert found.nonzero()[:, 0].tolist() == kept


def test_boxes_that_are_no_numbers_neither_suppress_nor_fail():
    boxes, scores = _crowd(3, 200, 10, 20)
    boxes[::7, 4] = float("nan")
    boxes[1::7, 0] = float("inf")
    sound = torch.ones(200, dtype=torch.bool)
    sound[::7] = sound[1::7] = False
    kept = rotated_nms(boxes, scores, 0.2, 1000, 1000)
    alone = rotated_nms(boxes[sound], scores[sound], 0.2, 1000, 1000)
    assert kept[sound[kept]].tolist() == sound.nonzero()[:, 0][alone].tolist()


def test_rotated_nms_limits_before_and_after():
    boxes, scores = _candidates(5, 70, 12)
    for pre, post in ((20, 83), (1000, 7), (15, 5)):
        wanted = slow_boxes.rotated_nms(boxes.tolist(), scores.tolist(), 0.2, pre, post)
        assert rotated_nms(boxes, scores, 0.2, pre, post).tolist() == wanted


def test_a_suppressed_box_suppresses_nothing():
    # A row of boxes, each overlapping its neighbours alone: every other one stays, through a chain of 20.
    boxes = torch.zeros(20, 9)
    boxes[:, 0] = torch.arange(20) * 2.0
    boxes[:, 3:6] = 4
    scores = torch.linspace(1, 0.1, 20)
    assert rotated_nms(boxes, scores, 0.2, 1000, 83).tolist() == list(range(0, 20, 2))


def test_equal_scores_keep_the_earlier_box():
    boxes = torch.tensor([[0.0, 0, 0, 2, 4, 1, 0, 0, 0]]).repeat(5, 1)
    assert rotated_nms(boxes, torch.full((5,), 0.5), 0.2, 1000, 83).tolist() == [0]


@pytest.mark.parametrize("radius", [0.3, 1.0, 4.0])
def test_circle_nms_like_loops(radius):
    boxes, scores = _candidates(9, 60, 6)
    wanted = slow_boxes.circle_nms(boxes.tolist(), scores.tolist(), radius, 83)
    assert circle_nms(boxes, scores, radius, 83).tolist() == wanted
    assert circle_nms(boxes, scores, radius, 3).tolist() == wanted[:3]


def test_no_candidates():
    none = torch.zeros(0, 9)
    assert rotated_nms(none, torch.zeros(0), 0.2, 1000, 83).tolist() == []
    assert circle_nms(none, torch.zeros(0), 1.0, 83).tolist() == []


def test_sets_are_independent_and_invalid_candidates_neither_stay_nor_suppress():
    boxes = torch.zeros(2, 3, 9)
    boxes[..., 3:6] = 2
    valid = torch.tensor([[True, True, True], [False, True, True]])
    conflicts = rotated_conflicts(boxes, 0.2)
    assert keep_greedily(conflicts, valid, 83).tolist() == [[True, False, False], [False, True, False]]
