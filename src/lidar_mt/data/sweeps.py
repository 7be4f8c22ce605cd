"""Merges the sweeps before a keyframe into its frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

#: Returns from the ego vehicle's own roof: |x| and |y| both below this in the sweep's own frame [m].
CLOSE_M = 1.0
#: Column of the time lag in merged points; raw points hold the ring there.
TIME_LAG = 4


class Sweep(NamedTuple):
    """A raw sweep and how it relates to the keyframe.

    Attributes:
        points: (P, 5) float32 x y z [m] in the sweep's own LiDAR frame, intensity [0, 255], ring.
        keyframe_from_sweep: (4, 4) float64 transform.
        time_lag_s: keyframe time minus sweep time, positive [s].
    """

    points: npt.NDArray[np.float32]
    keyframe_from_sweep: npt.NDArray[np.float64]
    time_lag_s: float


def choose_sweeps(available: int, wanted: int, rng: np.random.Generator | None) -> list[int]:
    """Which of a keyframe's sweeps to merge.

    Args:
        available: number of sweeps the keyframe refers to.
        wanted: number to take.
        rng: draws at random, as in training; None takes the nearest, as in evaluation.

    Returns:
        Indices in [0, available), nearest first; all of them when there are no more than `wanted`.
    """
    if available <= wanted:
        return list(range(available))
    if rng is None:
        return list(range(wanted))
    # In order of time, so that the voxelizer, which keeps the first points of a pillar, prefers near sweeps as it
    # does in evaluation.
    return sorted(rng.choice(available, wanted, replace=False).tolist())


def merge_sweeps(
    keyframe_points: npt.NDArray[np.float32], sweeps: Sequence[Sweep], num_sweeps: int
) -> npt.NDArray[np.float32]:
    """Puts a keyframe and its sweeps into one point cloud.

    Points near the sensor are dropped from sweeps, never from the keyframe, whose points stay aligned with its
    lidarseg labels. A keyframe without any sweep repeats itself, so that its density is that of the others.

    Args:
        keyframe_points: (P, 5) float32, raw: the last column is the ring.
        sweeps: the chosen sweeps, in the order they are to follow.
        num_sweeps: how often the keyframe is repeated when `sweeps` is empty.

    Returns:
        (Q, 5) float32: x y z [m] in the keyframe's LiDAR frame, intensity [0, 255], time lag [s]. The keyframe's P
        points come first, with time lag 0.
    """
    if not sweeps and num_sweeps:
        sweeps = [Sweep(keyframe_points, np.eye(4), 0.0)] * num_sweeps
    kept = [np.flatnonzero(~_is_close(sweep.points, CLOSE_M)) for sweep in sweeps]
    merged = np.empty((len(keyframe_points) + sum(map(len, kept)), 5), dtype=np.float32)
    start = len(keyframe_points)
    # Column by column: stored sweeps come that way, and no sweep is written twice.
    for i in range(TIME_LAG):
        merged[:start, i] = keyframe_points[:, i]
    merged[:start, TIME_LAG] = 0.0
    for sweep, rows in zip(sweeps, kept, strict=True):
        _write_into_keyframe(sweep, rows, merged[start : start + len(rows)])
        start += len(rows)
    return merged


def remove_close(points: npt.NDArray[np.float32], radius_m: float = CLOSE_M) -> npt.NDArray[np.float32]:
    """Drops points near the sensor.

    Args:
        points: (P, >=2) float32 in the frame of the sweep they belong to.
        radius_m: half the side of the square around the sensor [m].

    Returns:
        A copy without the points whose |x| and |y| are both below the radius.
    """
    kept: npt.NDArray[np.float32] = points[~_is_close(points, radius_m)]
    return kept


def _is_close(points: npt.NDArray[np.float32], radius_m: float) -> npt.NDArray[np.bool_]:
    close: npt.NDArray[np.bool_] = (np.abs(points[:, 0]) < radius_m) & (np.abs(points[:, 1]) < radius_m)
    return close


def _write_into_keyframe(sweep: Sweep, rows: npt.NDArray[np.intp], out: npt.NDArray[np.float32]) -> None:
    """Writes points of a sweep into `out`, (len(rows), 5), in the keyframe's frame."""
    # The transform spans metres, not the map: float32 is exact to 1e-5 m here.
    transform = sweep.keyframe_from_sweep.astype(np.float32)
    xyz = np.empty((3, len(rows)), dtype=np.float32)
    for i in range(3):
        np.take(sweep.points[:, i], rows, out=xyz[i], mode="clip")
    xyz = transform[:3, :3] @ xyz
    for i in range(3):
        np.add(xyz[i], transform[i, 3], out=out[:, i])
    out[:, 3] = np.take(sweep.points[:, 3], rows, mode="clip")
    out[:, TIME_LAG] = sweep.time_lag_s
