"""Transforms that move the whole scene: points, boxes and velocities together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from lidar_mt.structures.boxes import VX, VY, YAW, H, X, Y, Z, wrap_angle
from lidar_mt.structures.errors import ConfigError
from lidar_mt.structures.sample import Sample


class GlobalRotationScaling:
    """Turns the scene about the sensor's z axis and scales it, both at random.

    Args:
        max_rotation_rad: the angle is uniform in [-max, max].
        min_scaling: lower bound of the uniform factor.
        max_scaling: upper bound of the uniform factor.

    Raises:
        ConfigError: a bound is negative or the wrong way round.
    """

    def __init__(self, max_rotation_rad: float, min_scaling: float, max_scaling: float) -> None:
        if max_rotation_rad < 0 or not 0 < min_scaling <= max_scaling:
            raise ConfigError(
                f"rotation up to {max_rotation_rad} rad and scaling {min_scaling}..{max_scaling}: expected an angle "
                ">= 0 and 0 < min_scaling <= max_scaling"
            )
        self._max_rotation_rad = max_rotation_rad
        self._scaling = (min_scaling, max_scaling)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draws an angle, then a factor."""
        angle_rad = rng.uniform(-self._max_rotation_rad, self._max_rotation_rad)
        return rotate_and_scale(sample, angle_rad, rng.uniform(*self._scaling))


class RandomFlip:
    """Mirrors the scene, along each axis with its own probability.

    Args:
        probability_x: of negating x.
        probability_y: of negating y.
    """

    def __init__(self, probability_x: float, probability_y: float) -> None:
        if not (0 <= probability_x <= 1 and 0 <= probability_y <= 1):
            raise ConfigError(f"flip probabilities {probability_x} and {probability_y} must lie in [0, 1]")
        self._probabilities = (probability_x, probability_y)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draws one number per axis, whatever the probabilities."""
        flip_x, flip_y = rng.random(2) < self._probabilities
        return flip(sample, x=bool(flip_x), y=bool(flip_y))


def rotate_and_scale(sample: Sample, angle_rad: float, factor: float) -> Sample:
    """Turns a scene counter-clockwise about the sensor's z axis, then scales it from the sensor.

    Args:
        sample: the scene.
        angle_rad: angle [rad].
        factor: of all lengths and speeds.

    Returns:
        A sample with points, boxes and velocities moved. `ego_from_lidar` is kept: it belongs to the recorded scene.
    """
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    rotation = (np.array([[cos, -sin], [sin, cos]]) * factor).astype(np.float32)
    points, boxes = sample.points.copy(), sample.boxes.copy()
    # Not as a matrix product, which would start threads in every worker: ten times slower on a busy machine.
    x, y = sample.points[:, X], sample.points[:, Y]
    points[:, X] = rotation[0, 0] * x + rotation[0, 1] * y
    points[:, Y] = rotation[1, 0] * x + rotation[1, 1] * y
    points[:, 2] *= factor
    boxes[:, : Y + 1] = boxes[:, : Y + 1] @ rotation.T
    boxes[:, Z : H + 1] *= factor
    boxes[:, YAW] = wrap_angle(boxes[:, YAW] + angle_rad)
    boxes[:, VX:] = boxes[:, VX:] @ rotation.T
    moved = np.diag([factor, factor, factor, 1.0])
    moved[:2, :2] = np.array([[cos, -sin], [sin, cos]]) * factor
    return replace(sample, points=points, boxes=boxes, augmented_from_lidar=moved @ sample.augmented_from_lidar)


def flip(sample: Sample, x: bool, y: bool) -> Sample:
    """Mirrors a scene.

    Args:
        sample: the scene.
        x: negate x.
        y: negate y.

    Returns:
        A sample with points, boxes and velocities mirrored.
    """
    points, boxes = sample.points.copy(), sample.boxes.copy()
    if x:
        _negate(points, boxes, X, VX)
        boxes[:, YAW] = wrap_angle(np.pi - boxes[:, YAW])
    if y:
        _negate(points, boxes, Y, VY)
        boxes[:, YAW] = wrap_angle(-boxes[:, YAW])
    mirror = np.diag([-1.0 if x else 1.0, -1.0 if y else 1.0, 1.0, 1.0])
    return replace(sample, points=points, boxes=boxes, augmented_from_lidar=mirror @ sample.augmented_from_lidar)


def _negate(points: npt.NDArray[np.float32], boxes: npt.NDArray[np.float32], axis: int, velocity: int) -> None:
    points[:, axis] *= -1
    boxes[:, axis] *= -1
    boxes[:, velocity] *= -1
