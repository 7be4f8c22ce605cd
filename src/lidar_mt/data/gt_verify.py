"""Checks a GT database that lies beside a packed store: its two lists and every file of points."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from lidar_mt.data.gt_database import (
    database_name,
    dbinfos_name,
    infos_name,
    load_dbinfos,
    load_infos,
    read_object_points,
)
from lidar_mt.data.gt_origin import check_origin, read_origin
from lidar_mt.data.lmdb_store.manifest import Manifest
from lidar_mt.structures.errors import DataError

log = logging.getLogger(__name__)


def verify_database(folder: Path, manifest: Manifest) -> list[tuple[str, str]]:
    """Reads a whole GT database; nothing is wrong where there is none.

    Args:
        folder: of the store and the database.
        manifest: of the store.

    Returns:
        Path of each bad file and what is wrong with it.
    """
    split = manifest.split
    index, points = folder / dbinfos_name(split), folder / database_name(split)
    if not index.exists():
        return []
    if not points.is_dir():
        return [(str(points), "the folder of the GT database's points is missing")]
    bad = _problems(index, lambda: check_origin(folder, index.name, manifest))
    bad += _problems(folder / infos_name(split), lambda: _check_infos(folder, split))
    try:
        dbinfos = load_dbinfos(folder, split)
        origin = read_origin(folder, split)
    except DataError as error:
        return [*bad, (str(index), str(error))]
    counts = {name: len(entries) for name, entries in dbinfos.items()}
    if origin is not None and origin.objects != counts:
        bad.append((str(index), f"holds {sum(counts.values())} objects, not the {sum(origin.objects.values())} made"))
    log.info("checking the points of %d objects in %s", sum(counts.values()), points)
    for entry in (entry for entries in dbinfos.values() for entry in entries):
        try:
            read_object_points(folder, entry)
        except DataError as error:
            bad.append((str(folder / entry["path"]), str(error)))
    return bad


def _check_infos(folder: Path, split: str) -> None:
    infos, origin = load_infos(folder, split), read_origin(folder, split)
    if origin is not None and origin.keyframes != len(infos):
        raise DataError(f"it holds {len(infos)} keyframes, not the {origin.keyframes} of the packed split")


def _problems(path: Path, check: Callable[[], None]) -> list[tuple[str, str]]:
    try:
        check()
    except DataError as error:
        return [(str(path), str(error))]
    return []
