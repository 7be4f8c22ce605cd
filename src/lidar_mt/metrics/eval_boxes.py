"""Boxes of a whole split as columns, and which of them the benchmark looks at."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lidar_mt.metrics.detection_protocol import CLASS_RANGE_M, DETECTION_NAMES, RACK_CLASSES

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class EvalBoxes(NamedTuple):
    """N predicted or true boxes in the global frame. Their order matters where scores or distances are equal.

    Attributes:
        sample: (N,) int64 index into the evaluated samples.
        label: (N,) int64 index into `DETECTION_NAMES`.
        center: (N, 3) float64 x y z [m].
        size: (N, 3) float64 w l h [m].
        rotation: (N, 4) float64 quaternion w x y z.
        velocity: (N, 2) float64 [m/s]; NaN where unknown.
        attribute: (N,) int64 index into `ATTRIBUTE_NAMES`; -1 for none.
        score: (N,) float64; -1 for a true box.
        num_points: (N,) int64 LiDAR and radar points inside; -1 where nobody counted.
    """

    sample: Integers
    label: Integers
    center: Floats
    size: Floats
    rotation: Floats
    velocity: Floats
    attribute: Integers
    score: Floats
    num_points: Integers

    def select(self, rows: npt.NDArray[Any] | slice) -> EvalBoxes:
        """The boxes of a mask, an index or a slice, in its order."""
        return EvalBoxes(*(column[rows] for column in self))  # type: ignore[arg-type]  # integer and float columns mixed

    @classmethod
    def concatenate(cls, parts: list[EvalBoxes]) -> EvalBoxes:
        """The boxes of all parts, one after the other."""
        return cls(*(np.concatenate(columns) for columns in zip(*([no_boxes(), *parts]), strict=True)))


class Racks(NamedTuple):
    """R bicycle racks in the global frame: sample (R,) int64, center (R, 3), size (R, 3) w l h, rotation (R, 4)."""

    sample: Integers
    center: Floats
    size: Floats
    rotation: Floats

    def select(self, rows: npt.NDArray[Any]) -> Racks:
        """The racks of a mask or an index."""
        return Racks(self.sample[rows], self.center[rows], self.size[rows], self.rotation[rows])


def no_boxes() -> EvalBoxes:
    """Columns without a row."""
    integers = np.zeros(0, dtype=np.int64)
    vector = np.zeros((0, 3))
    return EvalBoxes(
        integers, integers, vector, vector, np.zeros((0, 4)), np.zeros((0, 2)), integers, np.zeros(0), integers
    )


def counted_boxes(boxes: EvalBoxes, ego_xy: Floats, racks: Racks) -> Mask:
    """Which boxes take part: within their class's range, with points, and not a two-wheeler in a bicycle rack.

    Args:
        boxes: N predicted or true boxes.
        ego_xy: (S, 2) float64 ego position of each sample in the global frame [m].
        racks: bicycle racks of all samples.

    Returns:
        (N,) bool.

    Source: nuscenes-devkit 1.2.0, nuscenes.eval.common.loaders.filter_eval_boxes.
    """
    dx, dy = (boxes.center[:, axis] - ego_xy[boxes.sample, axis] for axis in (0, 1))
    class_range = np.array(list(CLASS_RANGE_M.values()), dtype=np.float64)
    keep: Mask = np.sqrt(dx * dx + dy * dy) < class_range[boxes.label]
    keep &= boxes.num_points != 0
    with_rack = np.zeros(len(ego_xy), dtype=bool)
    with_rack[racks.sample] = True
    two_wheelers = np.isin(boxes.label, [DETECTION_NAMES.index(name) for name in RACK_CLASSES])
    rows = np.flatnonzero(keep & two_wheelers & with_rack[boxes.sample])
    keep[rows[_in_a_rack(boxes.sample[rows], boxes.center[rows], racks)]] = False
    return keep


def _in_a_rack(sample: Integers, center: Floats, racks: Racks) -> Mask:
    inside = np.zeros(len(sample), dtype=bool)
    for rack_sample, rack_center, size, rotation in zip(*racks, strict=True):
        rows = np.flatnonzero(sample == rack_sample)
        inside[rows] |= _points_in_box(center[rows], rack_center, size, rotation)
    return inside


def _points_in_box(points: Floats, center: Floats, size: Floats, rotation: Floats) -> Mask:
    """Which points lie in a box, faces included, by the projections onto the three edges of one corner."""
    width, length, height = size
    axes = rotation_matrix(rotation) * np.array([length, width, height])  # columns: the edges of the box
    corner = center + axes.sum(axis=1) / 2
    along = (corner - points) @ axes
    result: Mask = ((along >= 0) & (along <= (axes * axes).sum(axis=0))).all(axis=1)
    return result


def rotation_matrix(quaternion: Floats) -> Floats:
    """(3, 3) rotation of a quaternion w x y z of any length but zero."""
    w, x, y, z = quaternion / np.sqrt(quaternion @ quaternion)
    return np.array(
        [
            [w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z],
        ]
    )


def heading(rotation: Floats) -> Floats:
    """(N,) angle on the ground of the boxes' x axes [rad], from (N, 4) quaternions of any length."""
    w, x, y, z = rotation.T
    angles: Floats = np.arctan2(2 * (x * y + w * z), w * w + x * x - y * y - z * z)
    return angles
