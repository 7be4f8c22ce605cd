"""Reads one point cloud file, without any tables.

    name         content                                      fifth column
    *.pcd.bin    nuScenes: float32 x y z intensity ring       replaced by time lag 0
    *.bin        the same, or KITTI-like x y z intensity      replaced by time lag 0
    *.npy        (P, 3..5) x y z [intensity [time lag]]       the time lag [s], kept
    *.pcd        fields x y z [intensity] by their names      replaced by time lag 0

`columns` as names says what the values of a point are, in any of these files: x, y and z, and where there are any
intensity, time_lag, ring and skip; the last two are left out.

A `.bin` file does not say how many columns it has. Without `columns`, a size that is a multiple of 20 bytes is read
as five columns, any other multiple of 16 bytes as four. A file of four columns whose number of points is a multiple
of five fits both and is read as five: say `columns=4` for KITTI-like files.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lidar_mt.data.pcd_file import read_pcd
from lidar_mt.data.point_values import damage
from lidar_mt.data.sweeps import TIME_LAG
from lidar_mt.structures.errors import ConfigError, DataError

FloatArray = npt.NDArray[np.float32]

_logger = logging.getLogger(__name__)

_FLOAT_BYTES = 4
# In this order: a size that fits both is read as the first.
_BIN_COLUMNS = (5, 4)
_BOTH_BYTES = 80
# Ten sweeps span half a second. A ring index saved as the fifth column of a .npy file reaches far beyond this.
_MAX_TIME_LAG_S = 2.0


#: Endings of the files that can be read, the longer one first.
SUFFIXES = (".pcd.bin", ".bin", ".npy", ".pcd")
#: Names of columns, and where they go; -1 is left out.
_PLACES = {"x": 0, "y": 1, "z": 2, "intensity": 3, "time_lag": TIME_LAG, "ring": -1, "skip": -1}
#: What PCD files call the intensity.
_PCD_INTENSITY = ("intensity", "i", "reflectivity", "reflectance")


def read_point_file(path: str | os.PathLike[str], columns: Sequence[str] | int | None = None) -> FloatArray:
    """Reads a point cloud; points with a non-finite value are dropped with a warning that says how many.

    Args:
        path: a `.pcd.bin`, `.bin`, `.npy` or `.pcd` file, see the module's table. Little endian.
        columns: names of the values per point; or their number in a `.bin` file, 4 or 5; None decides by the file.

    Returns:
        (P, 5) float32, P >= 1: x, y, z [m] in the LiDAR frame, intensity (0 where the file has none), time lag [s].

    Raises:
        DataError: the file is missing, unreadable, empty, of an unknown kind, of a size, shape or type that holds no
            points, or holds values that are no points, see `data.point_values`.
        ConfigError: the columns' names are unknown, double, or lack x, y or z.
    """
    path = Path(path)
    names = check_columns(columns)
    count = columns if isinstance(columns, int) else None
    if not path.is_file():
        raise DataError(f"{path}: no such file; give the path of a {', '.join(SUFFIXES[:-1])} or .pcd point cloud")
    try:
        points = _read(path, names, count)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    _check_values(points[:, :TIME_LAG], path)
    _check_time_lag(points, path)
    return _finite(points, path)


def check_columns(columns: Sequence[str] | int | None) -> tuple[str, ...] | None:
    """The names of columns, None where there are none.

    Raises:
        ConfigError: they are unknown or double, or x, y or z is not among them.
    """
    if columns is None or (isinstance(columns, int) and not isinstance(columns, bool)):
        return None
    names = () if isinstance(columns, str | bool) else tuple(columns)
    used = [name for name in names if _PLACES.get(name, 0) >= 0]
    if not set(names) <= set(_PLACES) or len(set(used)) != len(used) or not {"x", "y", "z"} <= set(names):
        given = ",".join(names) if names else columns
        raise ConfigError(
            f"columns=[{given}]: expected the names of a point's values in order, x y z and any of "
            f"{', '.join(list(_PLACES)[3:])}, such as columns=[x,y,z,intensity,skip]"
        )
    return names


def point_name(path: Path) -> str:
    """A point file's name without its ending: `a.b.pcd.bin` gives `a.b`."""
    ending = next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), "")
    return path.name[: len(path.name) - len(ending)] or path.name


def _read(path: Path, names: tuple[str, ...] | None, count: int | None) -> FloatArray:
    name = path.name.lower()
    if name.endswith(".npy"):
        return _read_npy(path) if names is None else _arrange(_load(path), names, path)
    if name.endswith(".bin"):
        if names is None:
            return _read_bin(path, 5 if name.endswith(".pcd.bin") else count)
        return _arrange(_rows(path, len(names)), names, path)
    if name.endswith(".pcd"):
        found, values = read_pcd(path)
        return _arrange(values, _pcd_columns(found, path) if names is None else names, path)
    raise DataError(f"{path}: unknown kind of point file; expected {', '.join(SUFFIXES[:-1])} or .pcd")


def _pcd_columns(fields: Sequence[str], path: Path) -> tuple[str, ...]:
    lower = [field.lower() for field in fields]
    if any(lower.count(axis) != 1 for axis in "xyz"):
        raise DataError(f"{path}: has the fields {' '.join(fields)}; expected one each of x, y and z")
    intensity = next((lower.index(name) for name in _PCD_INTENSITY if name in lower), None)
    return tuple(
        "intensity" if i == intensity else name if name in ("x", "y", "z") else "skip" for i, name in enumerate(lower)
    )


def _arrange(values: npt.NDArray[Any], names: Sequence[str], path: Path) -> FloatArray:
    """(P, 5) of the columns that are wanted. `values`: (P, C) numbers in the order of `names`."""
    if values.ndim != 2 or values.shape[1] != len(names) or len(values) == 0:
        raise DataError(f"{path}: shape {values.shape}; columns=[{','.join(names)}] needs (P, {len(names)}), P >= 1")
    points = np.zeros((len(values), 5), dtype=np.float32)
    with np.errstate(over="ignore"):  # what does not fit float32 becomes infinite and is dropped
        for column, name in enumerate(names):
            if _PLACES[name] >= 0:
                points[:, _PLACES[name]] = values[:, column]
    return points


def _rows(path: Path, count: int) -> FloatArray:
    size = path.stat().st_size
    if size == 0:
        raise DataError(f"{path}: the file is empty; expected float32 points")
    if size % (count * _FLOAT_BYTES):
        raise DataError(
            f"{path}: {size} bytes are no multiple of {count * _FLOAT_BYTES} ({count} float32 per point); "
            f"the file is cut short or has another number of columns"
        )
    return np.fromfile(path, dtype="<f4").reshape(-1, count)


def _read_bin(path: Path, columns: int | None) -> FloatArray:
    size = path.stat().st_size
    if size == 0:
        raise DataError(f"{path}: the file is empty; expected float32 points")
    count = _count_columns(size) if columns is None else columns
    if count not in _BIN_COLUMNS:
        raise DataError(f"{path}: columns={count}; a .bin file has 4 (x y z intensity) or 5 (and ring) per point")
    values = _rows(path, count)
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


def _load(path: Path) -> npt.NDArray[Any]:
    try:
        # Mapped, so that a header that promises more than the file holds is refused before memory is taken.
        values: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(f"{path}: not a plain numpy array: {error}; write it with numpy.save") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
        kind = values.dtype if isinstance(values, np.ndarray) else "an archive"
        raise DataError(f"{path}: holds {kind}; expected an array of floats, (P, 3) to (P, 5)")
    return values


def _read_npy(path: Path) -> FloatArray:
    values = _load(path)
    if values.ndim != 2 or not 3 <= values.shape[1] <= 5 or len(values) == 0:
        raise DataError(
            f"{path}: shape {values.shape}; expected (P, 3) to (P, 5), P >= 1: x y z [intensity [time lag]]"
        )
    return _arrange(values, ("x", "y", "z", "intensity", "time_lag")[: values.shape[1]], path)


def _check_values(points: FloatArray, path: Path) -> None:
    found = damage(points)
    if found and np.isfinite(points).any():  # a file without any number has words of its own, see `_finite`
        raise DataError(f"{path}: {found}; the file is damaged, or its columns are not what they are taken for")


def _check_time_lag(points: FloatArray, path: Path) -> None:
    lag = points[:, TIME_LAG]
    if np.any((lag < 0) | (lag > _MAX_TIME_LAG_S)):
        raise DataError(
            f"{path}: the fifth column reaches from {lag.min():g} to {lag.max():g}; expected a time lag of 0 to "
            f"{_MAX_TIME_LAG_S:g} s. If it is a ring index, say columns=[x,y,z,intensity,ring]"
        )


def _finite(points: FloatArray, path: Path) -> FloatArray:
    finite = np.isfinite(points).all(axis=1)
    dropped = len(points) - int(finite.sum())
    if dropped == len(points):
        raise DataError(f"{path}: none of its {len(points)} points is finite; expected float32 x y z intensity")
    if dropped:
        _logger.warning("%s: dropped %d of %d points that are not finite", path, dropped, len(points))
    kept: FloatArray = points[finite]
    return kept
