"""Whether the disk has room for a GT database, before hours are spent on it."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from lidar_mt.data.gt_database import POINT_COLUMNS
from lidar_mt.data.lmdb_store.disk import free_bytes
from lidar_mt.data.lmdb_store.reader import StoreReader
from lidar_mt.data.lmdb_store.records import KeyframeRecord
from lidar_mt.structures.errors import DataError

#: Keyframes that are looked at, evenly spread.
_LOOKED_AT = 256
#: What a file takes at least on common file systems.
_BLOCK_BYTES = 4096
#: Objects that move leave other numbers of points in the sweeps than in the keyframe, and samples differ.
_MARGIN = 1.2


def check_space(store: Path, folder: Path, classes: Collection[str], keyframes: Sequence[int]) -> None:
    """Compares what is free with what the objects of keyframes will take, from the annotated numbers of points.

    Args:
        store: packed split.
        folder: where the database is written.
        classes: detection classes that are stored.
        keyframes: indices of those still to do, in the order of the split.

    Raises:
        DataError: there are too few bytes, or the file system can hold too few files.
    """
    if not keyframes:
        return
    reader = StoreReader(store)
    tokens = reader.sample_tokens
    chosen = keyframes[:: max(1, len(keyframes) // _LOOKED_AT)]
    found = np.array([_objects_and_bytes(reader.keyframe(tokens[i].decode()), classes) for i in chosen])
    objects, wanted_bytes = (_MARGIN * len(keyframes) * found.mean(axis=0)).astype(int).tolist()
    free = free_bytes(folder)
    if free < wanted_bytes:
        raise DataError(
            f"not enough space: the objects of {len(keyframes)} keyframes take about {wanted_bytes / 1e9:.1f} GB, "
            f"{free / 1e9:.1f} GB are free for {folder}; make room or pass another out="
        )
    free_files = _free_files(folder)
    if free_files is not None and free_files < objects:
        raise DataError(
            f"not enough room for files: {len(keyframes)} keyframes hold about {objects} objects, a file each, and the "
            f"file system of {folder} can take {free_files} more (df -i); pass an out= on another one"
        )


def _objects_and_bytes(record: KeyframeRecord, classes: Collection[str]) -> tuple[int, int]:
    """How many objects a keyframe gives, and the bytes of their files in whole blocks."""
    wanted = record.valid.numpy() & np.array([name in classes for name in record.detection_names], dtype=bool)
    points = record.num_lidar_pts.numpy()[wanted] * (1 + len(record.sweeps))
    blocks = np.maximum(1, -(-points * 4 * POINT_COLUMNS // _BLOCK_BYTES))
    return int(wanted.sum()), int(blocks.sum()) * _BLOCK_BYTES


def _free_files(folder: Path) -> int | None:
    """How many more files the file system can take; None where it knows no such limit."""
    status = os.statvfs(folder)
    return status.f_favail if status.f_files else None
