"""Precision, confidence and errors over recall for each class and distance, and the numbers drawn from them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lidar_mt.metrics.box_matching import match_greedily, order_by_score, pairs_within
from lidar_mt.metrics.detection_protocol import (
    DETECTION_NAMES,
    DISTANCES_M,
    ERROR_NAMES,
    HALF_TURN_CLASS,
    MIN_PRECISION,
    MIN_RECALL,
    NUM_RECALLS,
)
from lidar_mt.metrics.eval_boxes import EvalBoxes, Floats, Integers, Mask, heading
from lidar_mt.structures.errors import ResultError


class Curve(NamedTuple):
    """What a detector does at 101 recalls, each (101,) float64.

    Beyond the highest recall that it reaches, precision and confidence are 0 and the errors stay as they are there.

    Attributes:
        recall: 0 to 1.
        precision: 0 to 1.
        confidence: score of the last detection that is needed, descending.
        trans_err: mean distance of the matches so far on the ground [m].
        vel_err: mean length of the difference of the velocities [m/s].
        scale_err: mean of 1 - IoU of the boxes put onto each other.
        orient_err: mean angle between the headings [rad].
        attr_err: share of wrong attributes.
    """

    recall: Floats
    precision: Floats
    confidence: Floats
    trans_err: Floats
    vel_err: Floats
    scale_err: Floats
    orient_err: Floats
    attr_err: Floats

    @property
    def max_recall_index(self) -> int:
        """Index of the highest recall reached, the last with a confidence other than 0."""
        reached = np.flatnonzero(self.confidence)
        return int(reached[-1]) if len(reached) else 0


#: The curve of each class and distance [m].
Curves = dict[tuple[str, float], Curve]


def empty_curve() -> Curve:
    """The curve of a class without truth or without a match: no precision, and every error counts as 1."""
    zeros, ones = np.zeros(NUM_RECALLS), np.ones(NUM_RECALLS)
    return Curve(np.linspace(0, 1, NUM_RECALLS), zeros, zeros, ones, ones, ones, ones, ones)


def detection_curves(predictions: EvalBoxes, counted: Mask, truth: EvalBoxes) -> Curves:
    """Matches predictions with truth and follows each class down its scores.

    Args:
        predictions: N boxes in the order of the result file.
        counted: (N,) which of them take part.
        truth: boxes that take part, those of a sample in the order of the tables.

    Returns:
        A curve for each of the ten classes and four distances, in the benchmark's order.

    Raises:
        ResultError: scores below 0 make a curve that rises, which the benchmark refuses.

    Source: nuscenes-devkit 1.2.0, nuscenes.eval.detection.algo.accumulate.
    """
    # Millions of predictions are not copied: all that follows are rows of them.
    rows = np.flatnonzero(counted)
    order = rows[order_by_score(predictions.score[rows])]
    rank = np.zeros(len(counted), dtype=np.int64)
    rank[order] = np.arange(len(order))
    by_class = _split_by_label(order, predictions.label[order])
    num_truth = list(labels_counted(truth.label).values())
    pairs = pairs_within(predictions, rows, truth, max(DISTANCES_M))
    curves: Curves = {}
    for distance in DISTANCES_M:
        matched, found = match_greedily(pairs, rank, len(truth.label), distance)
        sort = np.lexsort((rank[matched], predictions.label[matched]))
        matched, found = matched[sort], found[sort]
        is_hit = np.zeros(len(counted), dtype=bool)
        is_hit[matched] = True
        errors = match_errors(predictions.select(matched), truth.select(found))
        hits = _split_by_label(np.arange(len(matched)), predictions.label[matched])
        for name, members, places, total in zip(DETECTION_NAMES, by_class, hits, num_truth, strict=True):
            of_class = {error: values[places] for error, values in errors.items()}
            curves[name, distance] = curve_of(is_hit[members], predictions.score[members], of_class, total)
            _check_descending(curves[name, distance], name)
    return {(name, distance): curves[name, distance] for name in DETECTION_NAMES for distance in DISTANCES_M}


def _split_by_label(values: Integers, label: Integers) -> list[Integers]:
    """The values of each class, in the order they come in."""
    short = label.astype(np.int8)  # which numpy sorts by counting
    edges = np.cumsum(np.bincount(label, minlength=len(DETECTION_NAMES)))[:-1]
    return np.split(values[np.argsort(short, kind="stable")], edges)


def _check_descending(curve: Curve, name: str) -> None:
    if (np.diff(curve.confidence) > 0).any():
        raise ResultError(f"class {name} has detection scores below 0; give scores between 0 and 1")


def match_errors(predictions: EvalBoxes, truth: EvalBoxes) -> dict[str, Floats]:
    """Errors of M predictions against their truths, (M,) float64 under each of `ERROR_NAMES`.

    Velocity and attribute errors are NaN where the truth does not say.
    """
    shift = predictions.center[:, :2] - truth.center[:, :2]
    # Beside the unknown velocity, tables may hold one that is infinite.
    with np.errstate(invalid="ignore"):
        drift = predictions.velocity - truth.velocity
        speed = np.sqrt((drift * drift).sum(axis=1))
    overlap = np.minimum(predictions.size, truth.size).prod(axis=1)
    union = predictions.size.prod(axis=1) + truth.size.prod(axis=1) - overlap
    half_turn = truth.label == DETECTION_NAMES.index(HALF_TURN_CLASS)
    turn = angle_between(heading(truth.rotation), heading(predictions.rotation), np.where(half_turn, np.pi, 2 * np.pi))
    wrong = (truth.attribute != predictions.attribute).astype(np.float64)
    return {
        "trans_err": np.sqrt((shift * shift).sum(axis=1)),
        "scale_err": 1 - overlap / union,
        "orient_err": turn,
        "vel_err": speed,
        "attr_err": np.where(truth.attribute < 0, np.nan, wrong),
    }


def angle_between(first_rad: Floats, second_rad: Floats, period_rad: Floats) -> Floats:
    """Smallest angle between two directions that repeat after a period [rad], from 0 to half the period.

    Example:
        >>> angle_between(np.array([3.0]), np.array([0.0]), np.array([np.pi])).round(4).tolist()
        [0.1416]
    """
    return np.abs((first_rad - second_rad + period_rad / 2) % period_rad - period_rad / 2)


def curve_of(is_hit: Mask, score: Floats, errors: dict[str, Floats], num_truth: int) -> Curve:
    """The curve of one class at one distance.

    Args:
        is_hit: (N,) whether each prediction, best score first, has a match.
        score: (N,) scores in that order.
        errors: (M,) errors of the M matches in that order, under each of `ERROR_NAMES`.
        num_truth: how many boxes there are to find.
    """
    if num_truth == 0 or not is_hit.any():
        return empty_curve()
    hits = np.cumsum(is_hit).astype(np.float64)
    precision, recall = hits / np.arange(1.0, len(hits) + 1), hits / float(num_truth)
    recalls = np.linspace(0, 1, NUM_RECALLS)
    confidence = np.interp(recalls, recall, score, right=0)
    # np.interp wants ascending arguments, scores descend.
    at, known = confidence[::-1], score[is_hit][::-1]
    sampled = {name: np.interp(at, known, running_mean(errors[name])[::-1])[::-1] for name in ERROR_NAMES}
    return Curve(recalls, np.interp(recalls, recall, precision, right=0), confidence, **sampled)


def running_mean(values: Floats) -> Floats:
    """Mean of each value and those before it, NaN left out: 0 before the first that counts, 1 where none does.

    Example:
        >>> running_mean(np.array([np.nan, 2.0, 4.0])).tolist()
        [0.0, 2.0, 3.0]
    """
    known = ~np.isnan(values)
    if not known.any():
        return np.ones(len(values))
    counts = np.cumsum(known)
    return np.divide(np.nancumsum(values), counts, out=np.zeros(len(values)), where=counts > 0)


def average_precision(curve: Curve) -> float:
    """Mean precision above the least that counts, at the recalls that count, scaled to 0 to 1."""
    precision = np.maximum(curve.precision[_first_recall() :] - MIN_PRECISION, 0)
    return float(np.mean(precision)) / (1.0 - MIN_PRECISION)


def mean_error(curve: Curve, error: str) -> float:
    """Mean of an error from the first recall that counts to the highest reached; 1 where that lies lower."""
    first, last = _first_recall(), curve.max_recall_index
    return 1.0 if last < first else float(np.mean(getattr(curve, error)[first : last + 1]))


def _first_recall() -> int:
    return round(100 * MIN_RECALL) + 1  # without the least recall itself


def labels_counted(label: Integers) -> dict[str, int]:
    """How many boxes of each class there are."""
    counts: npt.NDArray[np.int64] = np.bincount(label, minlength=len(DETECTION_NAMES))
    return dict(zip(DETECTION_NAMES, counts.tolist(), strict=True))
