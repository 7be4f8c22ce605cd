import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidar_mt.metrics import box_matching
from lidar_mt.metrics.box_matching import match_greedily, order_by_score, pairs_within
from lidar_mt.metrics.eval_boxes import EvalBoxes, no_boxes
from tests.helpers.slow_matching import match_one_by_one


def boxes(rows):
    """Columns from (sample, label, x, y, score)."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 5)
    count = len(table)
    whole = table[:, :2].astype(np.int64)
    return EvalBoxes(
        sample=whole[:, 0],
        label=whole[:, 1],
        center=np.column_stack([table[:, 2:4], np.zeros(count)]),
        size=np.ones((count, 3)),
        rotation=np.tile([1.0, 0, 0, 0], (count, 1)),
        velocity=np.zeros((count, 2)),
        attribute=np.full(count, -1),
        score=table[:, 4],
        num_points=np.full(count, -1),
    )


def matched(predictions, truth, limit):
    order = order_by_score(predictions.score)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    pairs = pairs_within(predictions, np.arange(len(order)), truth, 4.0)
    found = match_greedily(pairs, rank, len(truth.score), limit)
    return set(zip(*(part.tolist() for part in found), strict=True))


def rows(most):
    # A lattice of halves: sums of squares are exact, so the slow version meets the same equal distances.
    place = st.integers(0, 12).map(lambda step: step / 2)
    row = st.tuples(st.integers(0, 2), st.integers(0, 1), place, place, st.sampled_from([0.1, 0.5, 0.9]))
    return st.lists(row, max_size=most).map(boxes)


@settings(max_examples=300, deadline=None)
@given(rows(30), rows(20), st.sampled_from([0.5, 1.0, 2.0, 4.0]))
def test_equals_one_by_one(predictions, truth, limit):
    assert matched(predictions, truth, limit) == match_one_by_one(predictions, truth, limit)


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_blocks_of_any_size_give_the_same(monkeypatch, block):
    rng = np.random.default_rng(0)
    predictions, truth = (
        boxes(np.column_stack([rng.integers(0, 3, (n, 2)), rng.integers(0, 20, (n, 2)), rng.random(n)]))
        for n in (300, 80)
    )
    whole = matched(predictions, truth, 2.0)
    assert len(whole) > 20
    monkeypatch.setattr(box_matching, "_BLOCK_PAIRS", block)
    assert matched(predictions, truth, 2.0) == whole == match_one_by_one(predictions, truth, 2.0)


def test_a_chain_in_which_each_turns_the_next_away():
    # Truths in a row; every prediction's nearest is the first truth, so the worst score ends at the last one.
    truth = boxes([(0, 0, 0.1 * i, 0, -1) for i in range(30)])
    predictions = boxes([(0, 0, -0.01, 0, 0.01 * (i + 1)) for i in range(30)])
    assert matched(predictions, truth, 4.0) == {(29 - i, i) for i in range(30)}


def test_no_predictions_and_no_truth():
    some = boxes([(0, 0, 0, 0, 0.5)])
    for predictions, truth in ((no_boxes(), some), (some, no_boxes()), (no_boxes(), no_boxes())):
        assert matched(predictions, truth, 4.0) == set()


def test_distances_are_those_of_numpys_norm_to_the_last_bit():
    rng = np.random.default_rng(1)
    centers = rng.uniform(500, 2000, 200_000), rng.uniform(500, 2000, 200_000)
    shift = rng.uniform(-2.8, 2.8, (2, 200_000))
    predictions = boxes(np.column_stack([np.arange(200_000), np.zeros(200_000), *centers, np.ones(200_000)]))
    moved = [center + step for center, step in zip(centers, shift, strict=True)]
    truth = boxes(np.column_stack([np.arange(200_000), np.zeros(200_000), *moved, np.ones(200_000)]))
    pairs = pairs_within(predictions, np.arange(200_000), truth, 4.0)
    assert len(pairs.distance) > 190_000
    for i, distance in zip(pairs.prediction[:20_000].tolist(), pairs.distance[:20_000].tolist(), strict=True):
        assert distance == np.linalg.norm(predictions.center[i, :2] - truth.center[i, :2])
