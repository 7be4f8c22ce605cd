"""Ties a GT database and its list of keyframes to the packed store they were made of, so that stale files are noticed.

<folder>/gt_database_train.json, written by `create_data` beside its other files.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from lidar_mt.data.lmdb_store.manifest import Manifest
from lidar_mt.structures.errors import DataError

log = logging.getLogger(__name__)


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What a GT database was made of, and how much it holds.

    Attributes:
        source_version: nuScenes version of the store.
        split: of the store.
        records_hash: of the store's manifest.
        keyframes: number of entries of `nuscenes_infos_<split>.pkl`.
        objects: number of entries of `nuscenes_dbinfos_<split>.pkl` by detection class.
    """

    source_version: str
    split: str
    records_hash: str
    keyframes: int
    objects: dict[str, int]


def origin_name(split: str = "train") -> str:
    """Name of the file that says what the database of a split was made of."""
    return f"gt_database_{split}.json"


def write_origin(path: Path, origin: Origin) -> None:
    """Writes the file; the same bytes for the same store."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(origin), indent=2) + b"\n")


def read_origin(folder: Path, split: str = "train") -> Origin | None:
    """Reads the file; None where there is none, as beside files of another toolkit.

    Raises:
        DataError: the file is damaged.
    """
    path = folder / origin_name(split)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Origin)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}; make it again: {_command(folder, split)}") from error


def check_origin(folder: Path, name: str, manifest: Manifest) -> None:
    """Checks that a file beside a store was made of the store as it is now; warns where nobody can tell.

    Args:
        folder: of the file and the store.
        name: of the file: the list of keyframes or the index of the database.
        manifest: of the store.

    Raises:
        DataError: the file was made of other records; the message names it and the command.
    """
    origin = read_origin(folder, manifest.split)
    if origin is None:
        log.warning(
            "%s has no %s beside it: it cannot be told whether it belongs to the packed split",
            folder / name,
            origin_name(manifest.split),
        )
    elif origin.records_hash != manifest.records_hash:
        raise DataError(
            f"{folder / name} is stale: it was made of a packed split with records {origin.records_hash[:16]}, "
            f"the split beside it has {manifest.records_hash[:16]}; make it again: {_command(folder, manifest.split)}"
        )


def _command(folder: Path, split: str) -> str:
    return f"`python -m lidar_mt.create_data packed={folder.parent} version={folder.name} split={split} overwrite=true`"
