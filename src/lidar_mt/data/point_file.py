"""Reads one point cloud file, without any tables.

    name         content                                      fifth column
    *.pcd.bin    nuScenes: float32 x y z intensity ring       replaced by time lag 0
    *.bin        the same, or KITTI-like x y z intensity      replaced by time lag 0
    *.npy        (P, 3..5) x y z [intensity [time lag]]       the time lag [s], kept

A `.bin` file does not say how many columns it has. Without `columns`, a size that is a multiple of 20 bytes is read
as five columns, any other multiple of 16 bytes as four. A file of four columns whose number of points is a multiple
of five fits both and is read as five: say `columns=4` for KITTI-like files.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lidar_mt.data.sweeps import TIME_LAG
from lidar_mt.structures.errors import DataError

FloatArray = npt.NDArray[np.float32]

_logger = logging.getLogger(__name__)

_FLOAT_BYTES = 4
# In this order: a size that fits both is read as the first.
_BIN_COLUMNS = (5, 4)
_BOTH_BYTES = 80
# Ten sweeps span half a second. A ring index saved as the fifth column of a .npy file reaches far beyond this.
_MAX_TIME_LAG_S = 2.0


def read_point_file(path: str | os.PathLike[str], columns: int | None = None) -> FloatArray:
    """Reads a point cloud; points with a non-finite value are dropped with a warning that says how many.

    Args:
        path: a `.pcd.bin`, `.bin` or `.npy` file, see the module's table. Little endian.
        columns: values per point of a `.bin` file, 4 or 5; None decides by the file's size.

    Returns:
        (P, 5) float32, P >= 1: x, y, z [m] in the LiDAR frame, intensity (0 where the file has none), time lag [s].

    Raises:
        DataError: the file is missing, unreadable, empty, of an unknown kind, of a size, shape or type that holds no
            points, or holds no finite point.
    """
    path = Path(path)
    name = path.name.lower()
    if not path.is_file():
        raise DataError(f"{path}: no such file; give the path of a .pcd.bin, .bin or .npy point cloud")
    try:
        if name.endswith(".npy"):
            points = _read_npy(path)
        elif name.endswith(".bin"):
            points = _read_bin(path, 5 if name.endswith(".pcd.bin") else columns)
        else:
            raise DataError(f"{path}: unknown kind of point file; expected .pcd.bin, .bin or .npy")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    return _finite(points, path)


def _read_bin(path: Path, columns: int | None) -> FloatArray:
    size = path.stat().st_size
    if size == 0:
        raise DataError(f"{path}: the file is empty; expected float32 points")
    count = _count_columns(size) if columns is None else columns
    if count not in _BIN_COLUMNS:
        raise DataError(f"{path}: columns={count}; a .bin file has 4 (x y z intensity) or 5 (and ring) per point")
    if size % (count * _FLOAT_BYTES):
        raise DataError(
            f"{path}: {size} bytes are no multiple of {count * _FLOAT_BYTES} ({count} float32 per point); "
            f"the file is cut short or has another number of columns"
        )
    values = np.fromfile(path, dtype="<f4").reshape(-1, count)
    if columns is None and size % _BOTH_BYTES == 0 and not _are_rings(values[:, 4]):
        _logger.warning("%s: read as 5 values per point, but 4 fit as well; say columns=4 if it is KITTI-like", path)
    points = np.zeros((len(values), 5), dtype=np.float32)
    points[:, :4] = values[:, :4]
    return points


def _count_columns(size_bytes: int) -> int:
    fits = [count for count in _BIN_COLUMNS if size_bytes % (count * _FLOAT_BYTES) == 0]
    return fits[0] if fits else _BIN_COLUMNS[0]


def _are_rings(values: FloatArray) -> bool:
    return bool(np.all((values >= 0) & (values == np.floor(values))))


def _read_npy(path: Path) -> FloatArray:
    try:
        # Mapped, so that a header that promises more than the file holds is refused before memory is taken.
        values: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(f"{path}: not a plain numpy array: {error}; write it with numpy.save") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
        kind = values.dtype if isinstance(values, np.ndarray) else "an archive"
        raise DataError(f"{path}: holds {kind}; expected an array of floats, (P, 3) to (P, 5)")
    if values.ndim != 2 or not 3 <= values.shape[1] <= 5 or len(values) == 0:
        raise DataError(
            f"{path}: shape {values.shape}; expected (P, 3) to (P, 5), P >= 1: x y z [intensity [time lag]]"
        )
    points = np.zeros((len(values), 5), dtype=np.float32)
    with np.errstate(over="ignore"):  # what does not fit float32 becomes infinite and is dropped
        points[:, : values.shape[1]] = values
    lag = points[:, TIME_LAG]
    if np.any((lag < 0) | (lag > _MAX_TIME_LAG_S)):
        raise DataError(
            f"{path}: the fifth column reaches from {lag.min():g} to {lag.max():g}; expected a time lag of 0 to "
            f"{_MAX_TIME_LAG_S:g} s. If it is a ring index, save the first four columns only"
        )
    return points


def _finite(points: FloatArray, path: Path) -> FloatArray:
    finite = np.isfinite(points).all(axis=1)
    dropped = len(points) - int(finite.sum())
    if dropped == len(points):
        raise DataError(f"{path}: none of its {len(points)} points is finite; expected float32 x y z intensity")
    if dropped:
        _logger.warning("%s: dropped %d of %d points that are not finite", path, dropped, len(points))
    kept: FloatArray = points[finite]
    return kept
