"""Curves and scores against the devkit's own functions on generated boxes."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidar_mt.metrics.detection_curves import (
    angle_between,
    curve_of,
    detection_curves,
    empty_curve,
    labels_counted,
    match_errors,
    running_mean,
)
from lidar_mt.metrics.detection_protocol import ATTRIBUTE_NAMES, DETECTION_NAMES, ERROR_NAMES
from lidar_mt.metrics.detection_scores import scores_of
from lidar_mt.structures.errors import ResultError
from tests.helpers.devkit_scores import assert_same, columns, devkit_boxes, devkit_scores

TOKENS = ["a", "b", "c"]
FACTS = {"num_samples": 3, "version": "v", "eval_set": "s", "is_partial": False}
# A coarse grid: equal distances, distances of exactly 0.5, 1, 2 and 4 m (3-4-5 triangles among them), boxes on boxes.
COORDINATES = st.sampled_from([600.0 + 0.3 * i for i in range(4)] + [600.0 + 0.5 * i for i in range(12)])
SCORES = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.5000000000000001, 0.9, 1.0]) | st.floats(0, 1)
SIZES = st.floats(0.1, 20)


def box(name, score, attribute, velocity):
    return st.fixed_dictionaries(
        {
            "sample": st.integers(0, 2),
            "name": name,
            "center": st.tuples(COORDINATES, COORDINATES, st.just(1.0)),
            "size": st.tuples(SIZES, SIZES, SIZES),
            "rotation": st.tuples(*[st.floats(-1, 1).filter(lambda value: abs(value) > 1e-3)] * 4),
            "velocity": st.tuples(velocity, velocity),
            "attribute": attribute,
            "score": score,
        }
    )


def some_boxes(score, names, most):
    attribute = st.sampled_from(["", *ATTRIBUTE_NAMES[5:]])
    velocity = st.floats(-20, 20) | st.just(math.nan)
    kinds = box(st.sampled_from(names), score, attribute, velocity)
    # Sorted by sample, as a result file groups its boxes.
    return st.lists(kinds, max_size=most).map(lambda rows: sorted(rows, key=lambda row: row["sample"]))


def all_curves(predictions, truth):
    """Curves of the predictions among as many others of better scores that do not count."""
    rows = [row for pair in zip(predictions, predictions, strict=True) for row in pair]
    boxes = columns(rows)
    counted = np.arange(len(rows)) % 2 == 1
    boxes.score[~counted] = 2.0
    return detection_curves(boxes, counted, columns(truth))


def compare(predictions, truth):
    curves = all_curves(predictions, truth)
    scores = scores_of(curves, labels_counted(columns(truth).label), **FACTS)
    summary, details = devkit_scores(devkit_boxes(predictions, TOKENS), devkit_boxes(truth, TOKENS))
    ours = {f"{name}:{distance}": curve._asdict() for (name, distance), curve in curves.items()}
    for key, curve in details.items():
        for field, values in curve.items():
            assert_same(ours[key][field].tolist(), values, f"{key}/{field}")
    assert list(ours) == list(details)
    summary = {key: summary[key] for key in scores.summary()}
    assert_same(json.loads(json.dumps(scores.summary())), summary)
    return scores


@settings(max_examples=60, deadline=None)
@given(some_boxes(SCORES, ["car", "barrier"], 40), some_boxes(st.just(-1.0), ["car", "barrier"], 12))
def test_few_classes_many_ties(predictions, truth):
    compare(predictions, truth)


@settings(max_examples=20, deadline=None)
@given(some_boxes(SCORES, DETECTION_NAMES, 60), some_boxes(st.just(-1.0), DETECTION_NAMES, 40))
def test_all_classes(predictions, truth):
    compare(predictions, truth)


def crowd(count, seed, **changes):
    """Boxes on a coarse lattice that all lie within reach of each other, with few different scores."""
    rng = np.random.default_rng(seed)
    return [
        {
            "sample": sample,
            "name": "pedestrian",
            "center": (*(600.0 + 0.25 * rng.integers(0, 24, 2)).tolist(), 1.0),
            "size": tuple(rng.uniform(0.3, 2, 3).tolist()),
            "rotation": tuple(rng.normal(size=4).tolist()),
            "velocity": (1.0, math.nan) if rng.random() < 0.2 else tuple(rng.normal(size=2).tolist()),
            "attribute": str(rng.choice(["", "pedestrian.moving", "pedestrian.standing"])),
            "score": float(rng.choice([0.2, 0.4, 0.6, 0.8])),
            **changes,
        }
        for sample in np.sort(rng.integers(0, 3, count)).tolist()
    ]


@pytest.mark.parametrize("seed", range(4))
def test_crowds_where_almost_every_prediction_is_turned_down_somewhere(seed):
    scores = compare(crowd(400, seed), crowd(90, seed + 100, score=-1.0))
    assert 0.1 < scores.class_ap["pedestrian"] < 0.9


def test_nothing_predicted_nothing_true_nothing_at_all():
    rows = crowd(20, 0)
    assert compare([], rows).mean_ap == 0
    assert compare(rows, []).nds == 0
    assert set(compare([], []).tp_errors.values()) == {1.0}


def test_distance_of_exactly_the_limit_is_no_match():
    base = crowd(1, 0)[0]
    for limit in (0.5, 1.0, 2.0, 4.0):
        # The same distance along an axis and as a 3-4-5 triangle; in floats it may come out on either side.
        for dx, dy in ((limit, 0.0), (0.6 * limit, 0.8 * limit), (0.8 * limit, -0.6 * limit)):
            shifted = {**base, "center": (base["center"][0] + dx, base["center"][1] + dy, 1.0)}
            compare([shifted], [base])


def test_attributes_that_no_truth_has_and_velocities_that_none_knows_count_as_one():
    truth = crowd(30, 1, attribute="", velocity=(math.nan, math.nan), score=-1.0)
    predictions = [{**row, "score": 0.1 + 0.02 * i} for i, row in enumerate(truth)]
    scores = compare(predictions, truth)
    assert scores.class_ap["pedestrian"] > 0.99
    assert scores.class_tp_errors["pedestrian"]["mAVE"] == scores.class_tp_errors["pedestrian"]["mAAE"] == 1.0


def test_truth_of_infinite_speed_is_as_bad_as_it_is_for_the_devkit():
    # Two keyframes of one time stamp make a velocity of infinity.
    truth = crowd(30, 1, velocity=(math.inf, 0.0), score=-1.0)
    with np.errstate(all="ignore"):
        compare([{**row, "score": 0.1 + 0.02 * i, "velocity": (0.0, 0.0)} for i, row in enumerate(truth)], truth)


def test_scores_below_zero_are_refused_where_the_devkit_fails():
    truth = crowd(4, 0, score=-1.0)
    predictions = [{**truth[0], "score": -0.5}]
    with pytest.raises(AssertionError):
        devkit_scores(devkit_boxes(predictions, TOKENS), devkit_boxes(truth, TOKENS))
    with pytest.raises(ResultError, match="pedestrian has detection scores below 0"):
        all_curves(predictions, truth)


def test_turns_of_barriers_count_up_to_half_a_turn():
    first, second = np.array([0.1, 3.0, -3.0, 0.0]), np.array([-0.1, -3.0, 0.14, np.pi])
    np.testing.assert_allclose(
        angle_between(first, second, np.full(4, 2 * np.pi)), [0.2, 2 * np.pi - 6, np.pi - 0.0016, np.pi], atol=1e-3
    )
    np.testing.assert_allclose(
        angle_between(first, second, np.full(4, np.pi)), [0.2, 2 * np.pi - 6, 0.0016, 0], atol=1e-3
    )


def test_errors_of_a_match_by_hand():
    truth = crowd(1, 0)[0] | {
        "center": (600.0, 0.0, 0.0),
        "size": (2.0, 4.0, 1.0),
        "rotation": (1, 0, 0, 0),
        "velocity": (1.0, 0.0),
        "attribute": "vehicle.parked",
    }
    guess = truth | {
        "center": (600.3, 0.4, 9.0),
        "size": (1.0, 4.0, 1.0),
        "rotation": (3 * math.cos(0.25), 0, 0, 3 * math.sin(0.25)),  # a quaternion of length 3
        "velocity": (1.0, -2.0),
        "attribute": "vehicle.moving",
    }
    errors = match_errors(columns([guess]), columns([truth]))
    found = [errors[name].item() for name in ERROR_NAMES]
    np.testing.assert_allclose(found, [0.5, 0.5, 0.5, 2.0, 1.0], atol=1e-12)


def test_running_mean_leaves_unknown_values_out():
    assert running_mean(np.array([np.nan, 1.0, np.nan, 4.0])).tolist() == [0.0, 1.0, 1.0, 2.5]
    assert running_mean(np.full(3, np.nan)).tolist() == [1.0, 1.0, 1.0]
    assert running_mean(np.zeros(0)).tolist() == []


def test_class_without_a_match_has_the_empty_curve():
    no_errors = {name: np.zeros(0) for name in ERROR_NAMES}
    for curve in (
        curve_of(np.zeros(3, dtype=bool), np.array([0.9, 0.5, 0.1]), no_errors, 5),
        curve_of(np.zeros(0, dtype=bool), np.zeros(0), no_errors, 0),
    ):
        for ours, empty in zip(curve, empty_curve(), strict=True):
            np.testing.assert_array_equal(ours, empty)
    assert empty_curve().max_recall_index == 0
