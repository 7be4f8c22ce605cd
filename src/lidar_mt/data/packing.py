"""Packs a split of raw nuScenes into one lmdb, and copies the tables that evaluation needs beside it.

<out>/<version>/train_lmdb/   data.mdb, manifest.json
<out>/<version>/val_lmdb/
<out>/<version>/meta/         <version>/*.json, maps/*: a data root for the devkit, without samples/ and sweeps/
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from lidar_mt.data.layout import meta_path, store_path
from lidar_mt.data.lmdb_store.codec import INDEX_KEY, keyframe_key, sweep_key
from lidar_mt.data.lmdb_store.manifest import Manifest
from lidar_mt.data.lmdb_store.points import PackedPoints
from lidar_mt.data.lmdb_store.records import TOKEN_BYTES, Array, IndexRecord, SweepRecord
from lidar_mt.data.lmdb_store.writer import StoreWriter
from lidar_mt.data.nuscenes.keyframes import keyframe_lidar, keyframe_record, previous_sweeps, read_points
from lidar_mt.data.nuscenes.labels import check_lidarseg_categories, read_lidarseg
from lidar_mt.data.nuscenes.tables import SceneRow, Tables, load_tables, split_scenes
from lidar_mt.structures.errors import DataError

log = logging.getLogger(__name__)

#: What the devkit opens. Not lidarseg.json or panoptic.json: with one of them present the devkit demands every label
#: file as well, which evaluation of boxes has no use for.
META_TABLES = (
    "attribute",
    "calibrated_sensor",
    "category",
    "ego_pose",
    "instance",
    "log",
    "map",
    "sample",
    "sample_annotation",
    "sample_data",
    "scene",
    "sensor",
    "visibility",
)


def pack_split(src: Path, version: str, split: str, out: Path, overwrite: bool = False) -> Manifest:
    """Packs one split.

    Args:
        src: raw data root in the official layout.
        version: name of the table folder; in a version that ends in 'mini' the devkit's mini splits are meant.
        split: 'train' or 'val'.
        out: packed root.
        overwrite: replace a finished store.

    Returns:
        The manifest of the store.

    Raises:
        DataError: the raw data is missing or damaged, the split unknown or empty, the store there already, or the disk
            full. Nothing is left at the store's place then.
    """
    tables = load_tables(src, version)
    scenes = split_scenes(tables, split)
    check_lidarseg_categories(tables)
    if tables.lidarseg is None:
        log.warning(
            "%s has no lidarseg.json: packing without point labels, segmentation cannot be trained", src / version
        )
    sample_tokens: list[str] = []
    sweeps = 0
    # First, because a missing map should not come to light after hours of packing.
    copy_meta(src, version, meta_path(out, version))
    with StoreWriter(store_path(out, version, split), overwrite) as writer:
        total = sum(len(tables.samples_of.get(scene.token, ())) for scene in scenes)
        # disable=None: no bar where there is no terminal.
        with tqdm(total=total, desc=f"packing {version} {split}", unit="keyframe", disable=None) as bar:
            for key, record in (pair for scene in scenes for pair in scene_records(tables, scene)):
                writer.put(key, record)
                if isinstance(record, SweepRecord):
                    sweeps += 1
                else:
                    sample_tokens.append(key.decode().removeprefix("keyframe/"))
                    bar.update()
        writer.put(INDEX_KEY, IndexRecord(sample_tokens=Array.pack(_token_array(sample_tokens))))
        return writer.finish(
            source_version=version,
            split=split,
            counts={"scenes": len(scenes), "keyframes": len(sample_tokens), "sweeps": sweeps},
            has_lidarseg=tables.lidarseg is not None,
        )


def scene_records(tables: Tables, scene: SceneRow) -> Iterator[tuple[bytes, msgspec.Struct]]:
    """Keys and records of one scene, keyframes in time order, each after the sweeps it needs.

    Scenes share no sweep, so scenes may be packed in any order or process.

    Raises:
        DataError: a row or file of the scene is missing or damaged.
    """
    stored: set[str] = set()
    for sample in tables.samples_of.get(scene.token, ()):
        lidar = keyframe_lidar(tables, sample)
        points = read_points(tables.root, lidar)
        for row in [*reversed(previous_sweeps(tables, lidar)), lidar]:
            if row.token not in stored:
                stored.add(row.token)
                raw = points if row is lidar else read_points(tables.root, row)
                yield sweep_key(row.token), SweepRecord(PackedPoints.pack(raw))
        lidarseg = read_lidarseg(tables, lidar, len(points))
        yield keyframe_key(sample.token), keyframe_record(tables, sample, lidarseg)


def copy_meta(src: Path, version: str, meta: Path) -> None:
    """Copies the tables and the map masks, so that the devkit opens `meta` as a data root.

    Args:
        src: raw data root.
        version: name of the table folder.
        meta: target folder; files that are there already and up to date are left alone.

    Raises:
        DataError: a file is missing, or the disk is full.
    """
    names = [f"{version}/{table}.json" for table in META_TABLES]
    try:
        maps = msgspec.json.decode((src / version / "map.json").read_bytes(), type=list[dict[str, object]])
    except (OSError, msgspec.DecodeError) as error:
        raise DataError(f"{src / version / 'map.json'} cannot be read: {error}; download the metadata again") from error
    names += [str(row["filename"]) for row in maps if "filename" in row]
    for name in names:
        _copy(src / name, meta / name)


def _copy(source: Path, target: Path) -> None:
    if not source.is_file():
        raise DataError(f"missing {source}, which evaluation needs; download the metadata of the data set again")
    try:
        if target.is_file() and _stamp(target) == _stamp(source):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
        shutil.copyfile(source, partial)
        shutil.copystat(source, partial)
        # Read-only sources are common; the copy must stay replaceable.
        partial.chmod(0o644)
        partial.replace(target)
    except OSError as error:
        raise DataError(f"cannot copy {source} to {target}: {error}") from error


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _token_array(tokens: list[str]) -> npt.NDArray[np.bytes_]:
    long = next((token for token in tokens if len(token.encode()) > TOKEN_BYTES), None)
    if long is not None:
        raise DataError(f"sample token {long!r} is longer than {TOKEN_BYTES} bytes; nuScenes tokens are 32 hex digits")
    return np.array([token.encode() for token in tokens], dtype=f"S{TOKEN_BYTES}")
