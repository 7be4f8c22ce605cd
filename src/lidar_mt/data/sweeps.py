"""Merges the sweeps before a keyframe into its frame."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lidar_mt.data.lmdb_store.points import PointColumns

#: Returns from the ego vehicle's own roof: |x| and |y| both below this in the sweep's own frame [m].
CLOSE_M = 1.0
#: Column of the time lag in merged points; raw points hold the ring there.
TIME_LAG = 4
_INTENSITY = 3
# Rows of a block of points that is multiplied with the columns of the result.
_BLOCK_ONE, _BLOCK_INTENSITY = 3, 4
#: Points that are moved at once: they stay in the cache, and the matrix product is too small for OpenBLAS to start
#: threads (5 x 5 x points up to 2^18), which would fight over the cores in every worker.
_BLOCK = 8192


class Sweep(NamedTuple):
    """A raw sweep and how it relates to the keyframe.

    Attributes:
        points: in the sweep's own LiDAR frame.
        keyframe_from_sweep: (4, 4) float64 transform.
        time_lag_s: keyframe time minus sweep time, positive [s].
    """

    points: PointColumns
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


def merge_sweeps(keyframe: PointColumns, sweeps: Iterable[Sweep], num_sweeps: int) -> npt.NDArray[np.float32]:
    """Puts a keyframe and its sweeps into one point cloud.

    Points near the sensor are dropped from sweeps, never from the keyframe, whose points stay aligned with its
    lidarseg labels. A keyframe without any sweep repeats itself, so that its density is that of the others.

    Args:
        keyframe: P points.
        sweeps: the chosen sweeps, in the order they are to follow. One that is read when it is asked for is still in
            the processor's cache when it is merged.
        num_sweeps: how many there are about; how often the keyframe is repeated when there are none.

    Returns:
        (Q, 5) float32: x y z [m] in the keyframe's LiDAR frame, intensity [0, 255], time lag [s]. The keyframe's P
        points come first, with time lag 0.
    """
    # Sweeps are about as long as their keyframe, and lose some points.
    merged = _Merged(len(keyframe) * (1 + num_sweeps))
    merged.add_keyframe(keyframe)
    alone = True
    for sweep in sweeps:
        merged.add_sweep(sweep)
        alone = False
    for _ in range(num_sweeps if alone else 0):
        merged.add_sweep(Sweep(keyframe, np.eye(4), 0.0))
    return merged.points()


def remove_close(points: npt.NDArray[np.float32], radius_m: float = CLOSE_M) -> npt.NDArray[np.float32]:
    """Drops points near the sensor.

    Args:
        points: (P, >=2) float32 in the frame of the sweep they belong to.
        radius_m: half the side of the square around the sensor [m].

    Returns:
        A copy without the points whose |x| and |y| are both below the radius.
    """
    kept: npt.NDArray[np.float32] = points[~_is_close(points[:, 0], points[:, 1], radius_m)]
    return kept


def _is_close(x: npt.NDArray[np.float32], y: npt.NDArray[np.float32], radius_m: float) -> npt.NDArray[np.bool_]:
    larger = np.abs(x)
    close: npt.NDArray[np.bool_] = np.maximum(larger, np.abs(y), out=larger) < np.float32(radius_m)
    return close


class _Scratch(threading.local):
    """Where a block of points is gathered, one per thread: fresh memory costs more than the work done in it."""

    def __init__(self) -> None:
        # Rows x, y, z, 1, intensity. The ones are never written again.
        self.block = np.ones((5, _BLOCK), dtype=np.float32)


_SCRATCH = _Scratch()


class _Merged:
    """A merged cloud that grows sweep by sweep.

    Args:
        capacity: number of points that there is room for at first.
    """

    def __init__(self, capacity: int) -> None:
        self._points = np.empty((capacity, 5), dtype=np.float32)
        self._count = 0

    def add_keyframe(self, points: PointColumns) -> None:
        """Adds all points, with time lag 0."""
        out = self._room(len(points))
        for axis in range(3):
            out[:, axis] = points.xyz[axis]
        out[:, _INTENSITY] = points.intensity
        out[:, TIME_LAG] = 0.0

    def add_sweep(self, sweep: Sweep) -> None:
        """Adds the points that are not close, in the keyframe's frame."""
        xyz, intensity = sweep.points.xyz, sweep.points.intensity
        rows = np.flatnonzero(~_is_close(xyz[0], xyz[1], CLOSE_M))
        out, columns = self._room(len(rows)), _output_columns(sweep)
        for start in range(0, len(rows), _BLOCK):
            part = rows[start : start + _BLOCK]
            block = _SCRATCH.block[:, : len(part)]
            for axis in range(3):
                # "clip" because numpy goes through a buffer to leave `out` alone after an error; there can be none.
                xyz[axis].take(part, out=block[axis], mode="clip")
            block[_BLOCK_INTENSITY] = intensity.take(part)
            np.matmul(block.T, columns, out=out[start : start + len(part)])

    def points(self) -> npt.NDArray[np.float32]:
        """(Q, 5) the cloud; nothing may be added afterwards."""
        self._resize(self._count)
        return self._points

    def _room(self, count: int) -> npt.NDArray[np.float32]:
        """(count, 5) view of the next points, to be written."""
        start, self._count = self._count, self._count + count
        if self._count > len(self._points):
            self._resize(self._count + self._count // 4)
        return self._points[start : self._count]

    def _resize(self, length: int) -> None:
        # In place where the C library can; no view of the array is in use between two sweeps.
        self._points.resize((length, 5), refcheck=False)


def _output_columns(sweep: Sweep) -> npt.NDArray[np.float32]:
    """(5, 5) float32: the merged columns of a sweep as sums of x, y, z, 1 and intensity."""
    # The transform spans metres, not the map: float32 is exact to 1e-5 m here.
    columns = np.zeros((5, 5), dtype=np.float32)
    columns[:4, :3] = sweep.keyframe_from_sweep[:3].T
    columns[_BLOCK_INTENSITY, _INTENSITY] = 1.0
    columns[_BLOCK_ONE, TIME_LAG] = sweep.time_lag_s
    return columns
