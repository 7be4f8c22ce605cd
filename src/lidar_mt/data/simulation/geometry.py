"""Rotations, box overlap and the devkit's point-in-box test, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


def yaw_quaternion(yaw_rad: float) -> list[float]:
    """Unit quaternion w x y z of a rotation about z."""
    return [float(np.cos(yaw_rad / 2)), 0.0, 0.0, float(np.sin(yaw_rad / 2))]


def euler_quaternion(roll_rad: float, pitch_rad: float, yaw_rad: float) -> list[float]:
    """Unit quaternion w x y z of roll about x, then pitch about y, then yaw about z."""
    (cr, cp, cy), (sr, sp, sy) = (f(np.array([roll_rad, pitch_rad, yaw_rad]) / 2) for f in (np.cos, np.sin))
    w, x = cr * cp * cy + sr * sp * sy, sr * cp * cy - cr * sp * sy
    y, z = cr * sp * cy + sr * cp * sy, cr * cp * sy - sr * sp * cy
    return [float(value) for value in (w, x, y, z)]


def rotation_matrix(quaternion: list[float]) -> Float64:
    """(3, 3) rotation of a quaternion w x y z, which is normalised first."""
    w, x, y, z = np.array(quaternion, dtype=np.float64) / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def to_global(points: Float64, pose: dict[str, Any], calibration: dict[str, Any]) -> Float64:
    """Moves points from the sensor's frame to the global one through table records.

    Args:
        points: (P, 3) float64 [m].
        pose: ego_pose record.
        calibration: calibrated_sensor record.
    """
    ego = points @ rotation_matrix(calibration["rotation"]).T + np.array(calibration["translation"])
    out: Float64 = ego @ rotation_matrix(pose["rotation"]).T + np.array(pose["translation"])
    return out


def box_clearance(points: Float64, annotation: dict[str, Any]) -> Float64:
    """How far points are inside an annotated box: the distance to its nearest face, negative outside.

    Args:
        points: (P, 3) float64 in the global frame [m].
        annotation: sample_annotation record with translation, size (w, l, h) and rotation.

    Returns:
        (P,) float64 [m]; a point is in the box, as the devkit counts, where this is not negative.
    """
    width, length, height = annotation["size"]
    local = (points - np.array(annotation["translation"])) @ rotation_matrix(annotation["rotation"])
    clearance: Float64 = (np.array([length, width, height]) / 2 - np.abs(local)).min(axis=1)
    return clearance


def rectangles_overlap(first: Float64, second: Float64) -> Bool:
    """Whether pairs of rectangles overlap, by separating axes.

    Args:
        first: (N, 5) float64 x, y, length, width, yaw.
        second: (N, 5) float64 likewise.

    Returns:
        (N,) bool.
    """
    apart = np.zeros(len(first), dtype=bool)
    between = second[:, :2] - first[:, :2]
    for one, other in ((first, second), (second, first)):
        turn = other[:, 4] - one[:, 4]
        cos, sin = np.abs(np.cos(turn)), np.abs(np.sin(turn))
        axis = np.stack([np.cos(one[:, 4]), np.sin(one[:, 4])], axis=1)
        along = np.abs((between * axis).sum(axis=1))
        across = np.abs(between[:, 1] * axis[:, 0] - between[:, 0] * axis[:, 1])
        apart |= along > (one[:, 2] + other[:, 2] * cos + other[:, 3] * sin) / 2
        apart |= across > (one[:, 3] + other[:, 3] * cos + other[:, 2] * sin) / 2
    return ~apart
