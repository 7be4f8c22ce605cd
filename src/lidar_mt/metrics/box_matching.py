"""Which prediction gets which truth: greedy by score, nearest first, for a whole split at once.

The benchmark goes through the predictions of a class from the best score down and gives each the nearest truth of its
sample that is still free and near enough. That is the one stable matching in which every prediction prefers near
truths and every truth prefers good scores: would a prediction rather have another truth, that one went to a better
score. So it can be found the other way round, by letting all predictions ask at once: each asks its nearest truth,
a truth keeps the best that has asked so far, and whoever is turned down asks the next. A handful of rounds over
arrays settles what takes the one-by-one way a step per prediction.

Source: Gale and Shapley 1962, College admissions and the stability of marriage.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lidar_mt.metrics.detection_protocol import DETECTION_NAMES
from lidar_mt.metrics.eval_boxes import EvalBoxes, Floats, Integers

# Pairs looked at together: a few arrays of them stay within the processor's cache and far from the memory's end.
_BLOCK_PAIRS = 1 << 18
# The quick distance may differ from the exact one in the last bit.
_SLACK = 1 + 1e-9


class Pairs(NamedTuple):
    """Predictions with truths of the same sample and class within reach, by prediction, then nearest first.

    Attributes:
        prediction: (M,) int64.
        truth: (M,) int64; of two truths equally near the lower comes first.
        distance: (M,) float64 between the centres on the ground [m].
    """

    prediction: Integers
    truth: Integers
    distance: Floats


def order_by_score(score: Floats) -> Integers:
    """Best score first; of equal scores the one that stands later, as the benchmark orders them.

    Example:
        >>> order_by_score(np.array([0.5, 0.9, 0.5])).tolist()
        [1, 2, 0]
    """
    return np.argsort(score, kind="stable")[::-1]


def pairs_within(predictions: EvalBoxes, rows: Integers, truth: EvalBoxes, reach_m: float) -> Pairs:
    """All pairs of a prediction and a truth of the same sample and class that are nearer than `reach_m`.

    Args:
        predictions: N boxes.
        rows: those of them that take part.
        truth: G boxes.
        reach_m: exclusive limit of the distance on the ground [m].
    """
    classes = len(DETECTION_NAMES)
    group = predictions.sample[rows] * classes + predictions.label[rows]
    truth_group = truth.sample * classes + truth.label
    sizes = np.bincount(truth_group, minlength=int(group.max(initial=0)) + 1)
    by_group = np.argsort(truth_group, kind="stable")
    count, first = sizes[group], (np.cumsum(sizes) - sizes)[group]
    asking = np.flatnonzero(count)
    # Blocks of predictions that have about as many pairs each.
    total = np.cumsum(count[asking])
    edges = np.searchsorted(total, np.arange(_BLOCK_PAIRS, total[-1] if len(total) else 0, _BLOCK_PAIRS))
    blocks = [
        _pairs_of_block(rows[block], first[block], count[block], by_group, predictions.center, truth.center, reach_m)
        for block in np.split(asking, edges)
    ]
    prediction, found, distance = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    order = np.lexsort((found, distance, prediction))
    return Pairs(prediction[order], found[order], distance[order])


def _pairs_of_block(
    rows: Integers, first: Integers, count: Integers, by_group: Integers, center: Floats, truth: Floats, reach_m: float
) -> tuple[Integers, Integers, Floats]:
    ends = np.cumsum(count)
    total = int(ends[-1]) if len(ends) else 0
    found = by_group[np.arange(total) + np.repeat(first - (ends - count), count)]
    prediction = np.repeat(rows, count)
    dx, dy = (center[prediction, axis] - truth[found, axis] for axis in (0, 1))
    near = np.flatnonzero(dx * dx + dy * dy < (reach_m * _SLACK) ** 2)
    prediction, found = prediction[near], found[near]
    distance = _norm(dx[near], dy[near])
    within = distance < reach_m
    return prediction[within], found[within], distance[within]


def _norm(dx: Floats, dy: Floats) -> Floats:
    """Lengths of vectors by the same dot product as `numpy.linalg.norm` of each, to the last bit.

    A prediction at exactly the limit, or between two truths, must fall on the same side as in the benchmark's own code.
    """
    vectors = np.stack([dx, dy], axis=1)
    lengths: Floats = np.sqrt((vectors[:, None, :] @ vectors[:, :, None])[:, 0, 0])
    return lengths


def match_greedily(pairs: Pairs, rank: Integers, num_truth: int, limit_m: float) -> tuple[Integers, Integers]:
    """Gives each prediction, from the best down, its nearest free truth below the limit.

    Args:
        pairs: at least all pairs below the limit.
        rank: (N,) int64 place of each prediction in the order of the scores, 0 is the best.
        num_truth: G.
        limit_m: exclusive limit of the distance [m].

    Returns:
        (M,) int64 matched predictions and (M,) int64 their truths, each in no order.
    """
    near = pairs.distance < limit_m
    prediction, truth = pairs.prediction[near], pairs.truth[near]
    nobody = len(prediction)
    place = rank[prediction]
    starts = np.flatnonzero(np.diff(prediction, prepend=-1))
    best = np.full(num_truth, np.iinfo(np.int64).max)  # rank of the best that has asked each truth
    held = np.full(num_truth, nobody)  # and the pair by which it asked
    is_last = np.append(np.diff(prediction) != 0, True)
    asking = starts
    while len(asking):
        asked = truth[asking]
        np.minimum.at(best, asked, place[asking])
        won = best[asked] == place[asking]
        winners = asking[won]
        displaced = held[truth[winners]]
        held[truth[winners]] = winners
        refused = np.concatenate([asking[~won], displaced[displaced != nobody]])
        asking = refused[~is_last[refused]] + 1
    taken = held[held != nobody]
    return prediction[taken], truth[taken]
