"""Packs a split of raw nuScenes into one lmdb, and copies the tables that evaluation needs beside it.

<out>/<version>/train_lmdb/   data.mdb, manifest.json
<out>/<version>/val_lmdb/
<out>/<version>/meta/         <version>/*.json, maps/*: a data root for the devkit, without samples/ and sweeps/
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from lidar_mt import __version__
from lidar_mt.data.executor import Executor, LocalExecutor
from lidar_mt.data.layout import meta_path, store_path
from lidar_mt.data.lmdb_store.codec import INDEX_KEY, SCHEMA_VERSION, decode, keyframe_key, scene_key, sweep_key
from lidar_mt.data.lmdb_store.disk import free_bytes, write_error
from lidar_mt.data.lmdb_store.manifest import CONVENTION, Manifest, hash_files
from lidar_mt.data.lmdb_store.points import PackedPoints
from lidar_mt.data.lmdb_store.records import TOKEN_BYTES, Array, IndexRecord, SceneRecord, SweepRecord
from lidar_mt.data.lmdb_store.shard import DamagedShardError, read_shard, shard_checksum, write_shard
from lidar_mt.data.lmdb_store.writer import StoreWriter, refuse_finished
from lidar_mt.data.nuscenes.keyframes import (
    PointFileError,
    keyframe_lidar,
    keyframe_record,
    previous_sweeps,
    read_points,
)
from lidar_mt.data.nuscenes.labels import check_lidarseg_categories, read_lidarseg
from lidar_mt.data.nuscenes.scene_rows import SplitRows, read_split, scene_tables
from lidar_mt.data.nuscenes.tables import READ_TABLES, SampleDataRow, SceneRow, Tables
from lidar_mt.data.progress import Progress
from lidar_mt.structures.errors import ConfigError, DataError
from lidar_mt.structures.nuscenes_tables import TABLE_NAMES

#: Lies in the data root of a simulated set.
SIMULATED_MARKER = "simulation.json"

log = logging.getLogger(__name__)

#: What the devkit opens. Not lidarseg.json or panoptic.json: with one of them present the devkit demands every label
#: file as well, which evaluation of boxes has no use for.
META_TABLES = TABLE_NAMES


#: Keyframes of the official versions, by split.
OFFICIAL_KEYFRAMES = {
    ("v1.0-trainval", "train"): 28_130,
    ("v1.0-trainval", "val"): 6_019,
    ("v1.0-test", "test"): 6_008,
    ("v1.0-mini", "train"): 323,
    ("v1.0-mini", "val"): 81,
}
#: At most this share of the raw bytes is what packed nuScenes takes.
_PACKED_SHARE = 0.66
#: More damaged point files than this share are no accident.
_MAX_SKIPPED_SHARE = 0.001
_SHARDS = "scenes"


@dataclass(frozen=True)
class SceneJob:
    """What a worker process needs to pack one scene.

    Attributes:
        root: raw data root.
        version: name of the table folder.
        scene: the scene.
        rows: its table rows, from `SplitRows.scene_rows`.
        shard: file to write, where the merging process finds it.
        skip_bad_files: leave damaged point files out.
    """

    root: Path
    version: str
    scene: SceneRow
    rows: bytes
    shard: Path
    skip_bad_files: bool = False


def pack_split(
    src: Path,
    version: str,
    split: str,
    out: Path,
    overwrite: bool = False,
    workers: int = 1,
    executor: Executor | None = None,
    on_bad_file: str = "error",
) -> Manifest:
    """Packs one split, scene by scene.

    A run that was stopped is taken up where it was: finished scenes are kept as long as the tables are the same. The
    store is the same for any number of workers and stops.

    Args:
        src: raw data root in the official layout.
        version: name of the table folder; in a version that ends in 'mini' the devkit's mini splits are meant.
        split: 'train' or 'val', in a version that ends in 'test' 'test'.
        out: packed root.
        overwrite: replace a finished store.
        workers: processes of this machine.
        executor: where the scenes are packed, in place of these processes.
        on_bad_file: `error` stops at a point file that is missing or damaged; `skip` leaves out that sweep, or the
            keyframe that it belongs to, names it in a warning and counts it.

    Returns:
        The manifest of the store.

    Raises:
        DataError: the raw data is missing or damaged, the split unknown, empty or incomplete, the store there already,
            the disk full or too small, or more than 0.1 % of the files to be skipped. Nothing is left at the store's
            place then.
        ConfigError: `on_bad_file` is unknown.
    """
    if on_bad_file not in ("error", "skip"):
        raise ConfigError(f"on_bad_file={on_bad_file}: expected error or skip")
    path = store_path(out, version, split)
    refuse_finished(path, overwrite)
    rows = read_split(src, version, split)
    check_counts(rows, split)
    check_lidarseg_categories(scene_tables(src, version, rows.scene_rows(0)))
    if not rows.has_lidarseg:
        log.warning(
            "%s has no lidarseg.json: packing without point labels, segmentation cannot be trained", src / version
        )
    # First, because a missing map should not come to light after hours of packing.
    copy_meta(src, version, meta_path(out, version))
    executor = executor or LocalExecutor(workers)
    tables_hash = hash_files(path for path in (src / version / f"{name}.json" for name in READ_TABLES) if path.exists())
    plan = json.dumps([SCHEMA_VERSION, CONVENTION, __version__, version, split, tables_hash, on_bad_file])
    with StoreWriter(path, overwrite, resume=plan) as writer:
        check_space(rows, writer.partial, min(executor.workers, len(rows.scenes)))
        _pack_scenes(rows, writer, executor, f"packing {version} {split}", skip=on_bad_file == "skip")
        return _finish(rows, writer, split, tables_hash)


def _pack_scenes(rows: SplitRows, writer: StoreWriter, executor: Executor, what: str, *, skip: bool) -> None:
    shards = writer.partial / _SHARDS
    shards.mkdir(exist_ok=True)
    for stale in shards.glob("*.tmp"):
        stale.unlink()
    todo = [i for i, scene in enumerate(rows.scenes) if writer.get(scene_key(scene.token)) is None]
    done = sum(rows.keyframes) - sum(rows.keyframes[i] for i in todo)
    if done:
        log.info("going on: %d of %d scenes are packed already", len(rows.scenes) - len(todo), len(rows.scenes))

    def job(i: int) -> SceneJob:
        scene = rows.scenes[i]
        return SceneJob(rows.root, rows.version, scene, rows.scene_rows(i), shards / f"{scene.name}.shard", skip)

    checksums = executor.run(pack_scene, map(job, todo), len(todo))
    with Progress(what, "keyframe", sum(rows.keyframes), done) as progress:
        for i, checksum in zip(todo, checksums, strict=True):
            shard = shards / f"{rows.scenes[i].name}.shard"
            try:
                _merge(writer, shard, rows.scenes[i], checksum)
            except DamagedShardError as error:
                log.warning("%s: packing that scene again", error)
                shard.unlink()
                _merge(writer, shard, rows.scenes[i], pack_scene(job(i)))
            progress.update(rows.keyframes[i])


def pack_scene(job: SceneJob) -> int:
    """Packs a scene into its shard; a shard of an earlier run is kept when all of it is right.

    Returns:
        Checksum of the shard's last record, by which the process that merges knows the shard.

    Raises:
        DataError: a row or file of the scene is missing or damaged, or the disk is full.
    """
    if job.shard.exists():
        try:
            return shard_checksum(job.shard, job.scene.token)
        except DamagedShardError as error:
            # Left by a power cut, which may lose what was written last.
            log.warning("%s: packing that scene again", error)
    tables = scene_tables(job.root, job.version, job.rows)
    _token_array([sample.token for sample in tables.samples_of.get(job.scene.token, ())])
    files = PointFiles(tables, skip=job.skip_bad_files)
    records = scene_records(tables, job.scene, files)
    try:
        return write_shard(job.shard, job.scene.token, job.scene.name, records, files.problems)
    except OSError as error:
        raise write_error(job.shard, error) from error


def _merge(writer: StoreWriter, shard: Path, scene: SceneRow, checksum: int) -> None:
    """Moves a shard into the store, in one transaction: a scene is there as a whole or not at all."""
    if not shard.is_file():
        raise DataError(
            f"{shard} is not there, though {scene.name} was packed into it: the machines that pack do not share "
            "this folder; pass out= on a file system that all of them see under the same path"
        )
    writer.put_together(lambda: read_shard(shard, scene.token, checksum))
    shard.unlink()


def _finish(rows: SplitRows, writer: StoreWriter, split: str, tables_hash: str) -> Manifest:
    sample_tokens: list[str] = []
    skipped: list[str] = []
    sweeps = raw_bytes = 0
    for scene in rows.scenes:
        key = scene_key(scene.token)
        record = decode(key, writer.get(key) or b"", SceneRecord)
        sample_tokens += record.sample_tokens
        sweeps += record.sweeps
        raw_bytes += record.raw_bytes
        skipped += record.skipped
    _check_skipped(skipped, sweeps)
    writer.put(INDEX_KEY, IndexRecord(sample_tokens=Array.pack(_token_array(sample_tokens))))
    return writer.finish(
        source_version=rows.version,
        split=split,
        counts={
            "scenes": len(rows.scenes),
            "keyframes": len(sample_tokens),
            "sweeps": sweeps,
            "raw_bytes": raw_bytes,
            "skipped_files": len(skipped),
        },
        has_lidarseg=rows.has_lidarseg,
        tables_hash=tables_hash,
    )


def _check_skipped(skipped: list[str], sweeps: int) -> None:
    """Warns of files that were left out; raises DataError when they are too many."""
    for problem in skipped:
        log.warning("left out: %s", problem)
    if len(skipped) > _MAX_SKIPPED_SHARE * (sweeps + len(skipped)):
        raise DataError(
            f"{len(skipped)} of {sweeps + len(skipped)} point files are missing or damaged, more than "
            f"{_MAX_SKIPPED_SHARE:.1%}, so on_bad_file=skip does not help; the first: {skipped[0]}"
        )


def check_counts(rows: SplitRows, split: str) -> None:
    """Compares an official version with the published number of keyframes; simulated sets are left alone.

    Raises:
        DataError: the tables hold another number.
    """
    official = OFFICIAL_KEYFRAMES.get((rows.version, split))
    found = sum(rows.keyframes)
    if official is None or found == official or (rows.root / SIMULATED_MARKER).is_file():
        return
    raise DataError(
        f"{rows.root / rows.version} has {found} keyframes in split {split}, the official one has {official}; download "
        "the metadata again, or give a table folder that was cut on purpose another name, such as v1.0-cut-mini"
    )


def check_space(rows: SplitRows, partial: Path, workers: int) -> None:
    """Compares the free space with what the split will take, from the size of one raw file per scene.

    Raises:
        DataError: there is too little.
    """
    sizes = [path.stat().st_size for path in (rows.root / name for name in rows.example_files) if path.is_file()]
    if not sizes:
        return
    share = _PACKED_SHARE * (1 + min(1.0, (3 * workers + 1) / len(rows.scenes)))
    needed = int(share * rows.lidar_files * sum(sizes) / len(sizes))
    there = sum(path.stat().st_size for path in partial.rglob("*") if path.is_file())
    free = free_bytes(partial)
    if free + there < needed:
        raise DataError(
            f"not enough space: packing {rows.lidar_files} sweeps takes about {needed / 1e9:.1f} GB, "
            f"{free / 1e9:.1f} GB are free for {partial}; make room or pass another out="
        )


class PointFiles:
    """The point files of a scene, and what is wrong with those that are to be left out.

    Args:
        tables: of the scene.
        skip: leave damaged files out, instead of stopping at them.
    """

    def __init__(self, tables: Tables, *, skip: bool = False) -> None:
        self.problems: list[str] = []
        self.left_out: set[str] = set()
        self._root = tables.root
        self._skip = skip

    def read(self, row: SampleDataRow) -> npt.NDArray[np.float32] | None:
        """Points of a file, or None for one that is left out.

        Raises:
            DataError: the file is damaged and not to be skipped.
        """
        if row.token in self.left_out:
            return None
        try:
            return read_points(self._root, row)
        except PointFileError as error:
            if not self._skip:
                raise
            self.left_out.add(row.token)
            self.problems.append(str(error))
            return None


def scene_records(
    tables: Tables, scene: SceneRow, files: PointFiles | None = None
) -> Iterator[tuple[bytes, msgspec.Struct]]:
    """Keys and records of one scene, keyframes in time order, each after the sweeps it needs.

    Scenes share no sweep, so scenes may be packed in any order or process.

    Args:
        tables: rows of the scene.
        scene: the scene.
        files: reads its points; a keyframe whose own file is left out is left out as well.

    Raises:
        DataError: a row or file of the scene is missing or damaged.
    """
    files = files or PointFiles(tables)
    stored: set[str] = set()
    for sample in tables.samples_of.get(scene.token, ()):
        lidar = keyframe_lidar(tables, sample)
        points = files.read(lidar)
        for row in [*reversed(previous_sweeps(tables, lidar)), lidar]:
            if row.token in stored:
                continue
            stored.add(row.token)
            raw = points if row is lidar else files.read(row)
            if raw is not None:
                yield sweep_key(row.token), SweepRecord(PackedPoints.pack(raw))
        if points is not None:
            lidarseg = read_lidarseg(tables, lidar, len(points))
            yield keyframe_key(sample.token), keyframe_record(tables, sample, lidarseg, files.left_out)


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
