"""The GT database: the points of every annotated object, cut out of the keyframes they were measured in.

<folder>/nuscenes_gt_database/<sample token>_<class>_<i>.bin   (k, 5) float32
<folder>/nuscenes_dbinfos_train.pkl                            class -> list of entries, see `DbInfo`
<folder>/nuscenes_infos_train.pkl                              list of keyframes, see `Info`

File names, keys and layout are those that other toolkits for nuScenes use; `DbInfo.xxh3_64` is ours alone.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
import xxhash

from lidar_mt.data.plain_pickle import read_pickle
from lidar_mt.structures.boxes import BOX_SIZE
from lidar_mt.structures.errors import DataError

#: x y z intensity lag, float32 each.
POINT_COLUMNS = 5
_POINT_BYTES = 4 * POINT_COLUMNS
_AGAIN = "run `make create-data` again"
_REPLACE = "make the database again: `python -m lidar_mt.create_data ... overwrite=true`"


class _Known(TypedDict):
    """What every toolkit writes."""

    name: str
    path: str
    image_idx: str
    gt_idx: int
    box3d_lidar: npt.NDArray[np.float32]
    num_points_in_gt: int
    difficulty: int
    group_id: int


class DbInfo(_Known, total=False):
    """One object of the GT database.

    Attributes:
        name: detection class.
        path: of its points, relative to the folder of the index, with `/`.
        image_idx: sample token of its keyframe.
        gt_idx: which annotation of the keyframe it is, an index into `Info.gt_names`.
        box3d_lidar: (9,) float32 in the keyframe's LiDAR frame, see `structures.boxes`; velocity NaN where unknown.
        num_points_in_gt: number of its points, at least 1.
        difficulty: 0; nuScenes has no levels.
        group_id: number of the object in the whole database.
        xxh3_64: checksum of the file, XXH3 in 64 bits; absent where another toolkit wrote the index.
    """

    xxh3_64: int


class Info(TypedDict):
    """One keyframe, in the order of the packed split.

    Attributes:
        sample_token: nuScenes sample token.
        gt_names: (N,) str, detection class of each annotation, its nuScenes category where it belongs to none.
        valid_flag: (N,) bool, any LiDAR or radar point inside.
    """

    sample_token: str
    gt_names: npt.NDArray[np.str_]
    valid_flag: npt.NDArray[np.bool_]


def database_name(split: str = "train") -> str:
    """Name of the folder of points of a split."""
    return "nuscenes_gt_database" if split == "train" else f"nuscenes_gt_database_{split}"


def dbinfos_name(split: str = "train") -> str:
    """Name of the index of the database of a split."""
    return f"nuscenes_dbinfos_{split}.pkl"


def infos_name(split: str = "train") -> str:
    """Name of the list of keyframes of a split."""
    return f"nuscenes_infos_{split}.pkl"


def load_dbinfos(folder: str | Path, split: str = "train") -> dict[str, list[DbInfo]]:
    """Reads the index of a GT database.

    Args:
        folder: where `create_data` wrote, `<packed>/<version>`.
        split: 'train', or what the database was made of.

    Returns:
        Entries by detection class, in the order of keyframes and annotations.

    Raises:
        DataError: the file is missing, damaged, holds anything but plain values, or lacks what an entry must have.
    """
    path = Path(folder) / dbinfos_name(split)
    content = read_pickle(path)
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}, expected class -> list of entries; {_AGAIN}")
    for name, entries in content.items():
        if not isinstance(name, str) or not isinstance(entries, list):
            raise DataError(f"{path}: class {name!r} has no list of entries; {_AGAIN}")
        for number, entry in enumerate(entries):
            problem = _entry_problem(entry)
            if problem:
                raise DataError(f"{path}: entry {number} of class {name!r} {problem}; {_AGAIN}")
    return content


def load_infos(folder: str | Path, split: str = "train") -> list[Info]:
    """Reads the list of keyframes that belongs to a GT database.

    Args:
        folder: where `create_data` wrote, `<packed>/<version>`.
        split: 'train', or what the database was made of.

    Raises:
        DataError: the file is missing, damaged, holds anything but plain values, or lacks what a keyframe must have.
    """
    path = Path(folder) / infos_name(split)
    content = read_pickle(path)
    if not isinstance(content, list):
        raise DataError(f"{path} holds a {type(content).__name__}, expected a list of keyframes; {_AGAIN}")
    for number, info in enumerate(content):
        problem = _info_problem(info)
        if problem:
            raise DataError(f"{path}: keyframe {number} {problem}; {_AGAIN}")
    return content


def read_object_points(folder: str | Path, info: DbInfo) -> npt.NDArray[np.float32]:
    """Reads the points of one object.

    Args:
        folder: of the index.
        info: its entry.

    Returns:
        (k, 5) float32: x y z [m] relative to the centre of `box3d_lidar`, in the directions of the keyframe's LiDAR
        frame; intensity [0, 255]; time lag [s]. Adding the centre gives the points as they were measured.

    Raises:
        DataError: the file is missing, unreadable, of another size or checksum; the message names it.
    """
    relative = PurePosixPath(info["path"])
    if relative.is_absolute() or ".." in relative.parts:
        raise DataError(f"the GT database refers to {info['path']!r}, which is outside of {folder}; {_AGAIN}")
    path = Path(folder) / relative
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"missing file of the GT database: {path} ({error.strerror or error}); {_REPLACE}") from error
    wanted = info["num_points_in_gt"] * _POINT_BYTES
    if len(data) != wanted:
        raise DataError(f"{path} has {len(data)} bytes, the index of the GT database says {wanted}; {_REPLACE}")
    checksum = info.get("xxh3_64")
    if checksum is not None and xxhash.xxh3_64_intdigest(data) != checksum:
        raise DataError(f"{path} is damaged: its points do not have the checksum in the index; {_REPLACE}")
    return np.frombuffer(data, dtype="<f4").astype(np.float32).reshape(-1, POINT_COLUMNS)


def _entry_problem(entry: Any) -> str:
    """What is wrong with an entry of the index, '' if nothing is."""
    if not isinstance(entry, dict):
        return "is no dict"
    missing = _Known.__annotations__.keys() - entry.keys()
    if missing:
        return f"lacks {sorted(missing)}"
    box = entry["box3d_lidar"]
    if not isinstance(box, np.ndarray) or box.shape != (BOX_SIZE,) or box.dtype.kind != "f":
        return f"has no box of {BOX_SIZE} numbers"
    if not isinstance(entry["path"], str) or not isinstance(entry["num_points_in_gt"], int):
        return "has a path that is no text or a number of points that is none"
    if not isinstance(entry.get("xxh3_64", 0), int):
        return "has a checksum that is no number"
    return ""


def _info_problem(info: Any) -> str:
    """What is wrong with a keyframe of the list, '' if nothing is."""
    if not isinstance(info, dict):
        return "is no dict"
    missing = Info.__annotations__.keys() - info.keys()
    if missing:
        return f"lacks {sorted(missing)}"
    names, valid = info["gt_names"], info["valid_flag"]
    arrays = isinstance(names, np.ndarray) and isinstance(valid, np.ndarray)
    if (
        not arrays
        or names.dtype.kind != "U"
        or valid.dtype.kind != "b"
        or names.shape != valid.shape
        or names.ndim != 1
    ):
        return "has gt_names and valid_flag that are no lists of the same length"
    return ""
