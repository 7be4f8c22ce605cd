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
    keyframe = keyframe_points.copy()
    keyframe[:, TIME_LAG] = 0.0
    if not sweeps and num_sweeps:
        parts = [remove_close(keyframe)] * num_sweeps
    else:
        parts = [_into_keyframe(sweep) for sweep in sweeps]
    return np.concatenate([keyframe, *parts])


def remove_close(points: npt.NDArray[np.float32], radius_m: float = CLOSE_M) -> npt.NDArray[np.float32]:
    """Drops points near the sensor.

    Args:
        points: (P, >=2) float32 in the frame of the sweep they belong to.
        radius_m: half the side of the square around the sensor [m].

    Returns:
        A copy without the points whose |x| and |y| are both below the radius.
    """
    close = (np.abs(points[:, 0]) < radius_m) & (np.abs(points[:, 1]) < radius_m)
    kept: npt.NDArray[np.float32] = points[~close]
    return kept


def _into_keyframe(sweep: Sweep) -> npt.NDArray[np.float32]:
    points = remove_close(sweep.points)
    # The transform spans metres, not the map: float32 is exact to 1e-5 m here.
    transform = sweep.keyframe_from_sweep.astype(np.float32)
    points[:, :3] = points[:, :3] @ transform[:3, :3].T + transform[:3, 3]
    points[:, TIME_LAG] = sweep.time_lag_s
    return points
