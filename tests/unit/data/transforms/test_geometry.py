from __future__ import annotations

import copy
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helpers.samples import random_sample

from lidar_mt.data.transforms.geometry import GlobalRotationScaling, RandomFlip, flip, rotate_and_scale
from lidar_mt.structures.boxes import points_in_boxes
from lidar_mt.structures.errors import ConfigError

ANGLES = st.floats(-np.pi, np.pi)
FACTORS = st.floats(0.5, 2.0)
FLIPS = st.tuples(st.booleans(), st.booleans())


def move(sample, angle, factor, flips):
    return flip(rotate_and_scale(sample, angle, factor), *flips)


def heading(boxes):
    return np.stack([np.cos(boxes[:, 6]), np.sin(boxes[:, 6])], axis=1)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9), ANGLES, FACTORS, FLIPS)
def test_points_stay_in_their_boxes_and_out_of_others(seed, angle, factor, flips):
    before = random_sample(seed)
    after = move(before, angle, factor, flips)
    inside = points_in_boxes(before.points, before.boxes)
    assert inside.sum() >= 60
    # Points within a millimetre of a face may cross it by rounding.
    shrunk, grown = after.boxes.copy(), after.boxes.copy()
    shrunk[:, 3:6] -= 2e-3
    grown[:, 3:6] += 2e-3
    assert not (points_in_boxes(after.points, shrunk) & ~inside).any()
    assert not (inside & ~points_in_boxes(after.points, grown)).any()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9), ANGLES, FACTORS, FLIPS)
def test_velocity_is_the_displacement_of_a_moving_centre(seed, angle, factor, flips):
    before = random_sample(seed)
    later = copy.deepcopy(before)
    later.boxes[:, :2] += np.nan_to_num(before.boxes[:, 7:])  # one second later
    now, then = move(before, angle, factor, flips), move(later, angle, factor, flips)
    np.testing.assert_allclose(np.nan_to_num(now.boxes[:, 7:]), then.boxes[:, :2] - now.boxes[:, :2], atol=1e-3)
    np.testing.assert_array_equal(np.isnan(now.boxes), np.isnan(before.boxes))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9), ANGLES, FACTORS, FLIPS)
def test_heading_is_the_direction_to_a_point_ahead(seed, angle, factor, flips):
    before = random_sample(seed)
    ahead = copy.deepcopy(before)
    ahead.boxes[:, :2] += heading(before.boxes)
    now, then = move(before, angle, factor, flips), move(ahead, angle, factor, flips)
    np.testing.assert_allclose(heading(now.boxes), (then.boxes - now.boxes)[:, :2] / factor, atol=1e-4)
    assert (np.abs(now.boxes[:, 6]) <= np.float32(np.pi)).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 9), ANGLES, FACTORS)
def test_the_inverse_restores(seed, angle, factor):
    before = random_sample(seed)
    after = rotate_and_scale(rotate_and_scale(before, angle, factor), -angle, 1 / factor)
    np.testing.assert_allclose(after.points, before.points, atol=1e-4)
    np.testing.assert_allclose(np.delete(after.boxes, 6, 1), np.delete(before.boxes, 6, 1), atol=1e-4)
    np.testing.assert_allclose(heading(after.boxes), heading(before.boxes), atol=1e-5)


@pytest.mark.parametrize(("x", "y"), [(True, False), (False, True), (True, True), (False, False)])
def test_flipping_twice_restores(x, y):
    before = random_sample(3)
    after = flip(flip(before, x, y), x, y)
    np.testing.assert_array_equal(after.points, before.points)
    np.testing.assert_allclose(after.boxes, before.boxes, atol=1e-6)


def test_flipping_both_axes_is_half_a_turn():
    sample = random_sample(4)
    both, turned = flip(sample, True, True), rotate_and_scale(sample, np.pi, 1.0)
    np.testing.assert_allclose(both.points, turned.points, atol=1e-4)
    np.testing.assert_allclose(heading(both.boxes), heading(turned.boxes), atol=1e-5)


def test_a_quarter_turn_takes_right_to_forward():
    sample = random_sample(0, boxes=1)
    sample.boxes[0] = [10, 0, 1, 2, 4, 1.5, 0, 3, 0]
    after = rotate_and_scale(sample, np.pi / 2, 1.0)
    np.testing.assert_allclose(after.boxes[0], [0, 10, 1, 2, 4, 1.5, np.pi / 2, 0, 3], atol=1e-5)


def test_the_rest_of_the_sample_is_kept_and_the_input_too():
    before = random_sample(5)
    kept = copy.deepcopy(before)
    after = move(before, 0.3, 1.05, (True, True))
    for name in (field.name for field in fields(before)):
        np.testing.assert_array_equal(getattr(before, name), getattr(kept, name))
        if name not in ("points", "boxes", "augmented_from_lidar"):
            np.testing.assert_array_equal(getattr(after, name), getattr(kept, name))
    np.testing.assert_array_equal(after.points[:, 3:], before.points[:, 3:])  # intensity and time lag


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 9), ANGLES, FACTORS, FLIPS, ANGLES)
def test_the_transform_that_is_kept_is_the_one_that_was_applied(seed, angle, factor, flips, again):
    before = random_sample(seed)
    after = rotate_and_scale(move(before, angle, factor, flips), again, 1.1)
    xyz = np.c_[before.points[:, :3], np.ones(len(before.points))] @ after.augmented_from_lidar.T
    np.testing.assert_allclose(xyz[:, :3], after.points[:, :3], atol=1e-4)
    np.testing.assert_array_equal(xyz[:, 3], 1)


def test_samples_without_boxes_move():
    after = move(random_sample(1, boxes=0), 0.1, 1.0, (True, False))
    assert after.boxes.shape == (0, 9)


def test_draws_fill_the_configured_range():
    transform = GlobalRotationScaling(0.3925, 0.95, 1.05)
    sample = random_sample(0, boxes=1)
    sample.boxes[0] = [10, 0, 0, 1, 1, 1, 0, 0, 0]
    rng = np.random.default_rng(0)
    boxes = np.concatenate([transform(sample, rng).boxes for _ in range(500)])
    yaw, factor = boxes[:, 6], boxes[:, 3]
    assert -0.3926 < yaw.min() < -0.38
    assert 0.38 < yaw.max() < 0.3926
    assert 0.9499 < factor.min() < 0.952
    assert 1.048 < factor.max() < 1.0501
    np.testing.assert_allclose(np.hypot(boxes[:, 0], boxes[:, 1]), 10 * factor, rtol=1e-5)


@pytest.mark.parametrize(("px", "py"), [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.5, 0.2)])
def test_flips_come_as_often_as_configured(px, py):
    transform = RandomFlip(px, py)
    sample = random_sample(0, boxes=1)
    sample.boxes[0, :2] = [10, 20]
    rng = np.random.default_rng(0)
    signs = np.sign([transform(sample, rng).boxes[0, :2] for _ in range(1000)])
    np.testing.assert_allclose((signs < 0).mean(axis=0), [px, py], atol=0.05)


@pytest.mark.parametrize("arguments", [(-0.1, 1, 1), (0.1, 0, 1), (0.1, 1.1, 0.9)])
def test_impossible_ranges_are_refused(arguments):
    with pytest.raises(ConfigError, match="expected an angle"):
        GlobalRotationScaling(*arguments)


def test_impossible_probabilities_are_refused():
    with pytest.raises(ConfigError, match="must lie in"):
        RandomFlip(1.2, 0)
