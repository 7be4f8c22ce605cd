"""Makes a GT database out of a packed split: in parallel, resumable, and whole or absent.

Everything is written below `<out>/create_data_<split>.partial` in ranges of keyframes and moved when it is complete. A
range that is finished stays finished when the program is killed. What the result is depends on the split alone, not on
the number of processes or on stops.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from lidar_mt.data.executor import Executor, LocalExecutor
from lidar_mt.data.gt_database import DbInfo, Info, database_name, dbinfos_name, infos_name
from lidar_mt.data.gt_extraction import ChunkJob, FrameObjects, object_file, read_part, run_chunk
from lidar_mt.data.gt_space import check_space
from lidar_mt.data.gt_summary import ClassCount, check_files, count_classes
from lidar_mt.data.layout import store_path
from lidar_mt.data.lmdb_store.manifest import MANIFEST_NAME, read_manifest
from lidar_mt.data.plain_pickle import write_pickle
from lidar_mt.data.progress import Progress
from lidar_mt.structures.errors import ConfigError, DataError

log = logging.getLogger(__name__)

#: Raised with every change of what is stored; a database that another version began is begun again.
DATABASE_VERSION = 1
#: Keyframes per range: a second of work, so little is lost by a kill.
_CHUNK = 32
_PLAN = "plan.json"
_SPLITS = ("train", "val")


@dataclass(frozen=True)
class DatabasePlan:
    """What to make a GT database of.

    Attributes:
        packed: root of the packed data.
        version: nuScenes version under it.
        split: 'train' or 'val'.
        out: folder of the database and its two index files.
        classes: detection classes to store.
    """

    packed: Path
    version: str
    split: str
    out: Path
    classes: tuple[str, ...]

    @property
    def store(self) -> Path:
        """Folder of the packed split."""
        return store_path(self.packed, self.version, self.split)

    @property
    def partial(self) -> Path:
        """Folder of what is not complete yet."""
        return self.out / f"create_data_{self.split}.partial"

    def fingerprint(self) -> bytes:
        """Text that differs whenever the result would."""
        manifest = (self.store / MANIFEST_NAME).read_bytes()
        content = {
            "database_version": DATABASE_VERSION,
            "split": self.split,
            "chunk": _CHUNK,
            "classes": self.classes,
            "store": hashlib.sha256(manifest).hexdigest(),
        }
        return msgspec.json.encode(content) + b"\n"

    def jobs(self, keyframes: int) -> list[ChunkJob]:
        """The ranges of keyframes."""
        database = self.partial / database_name(self.split)
        return [
            ChunkJob(
                store=self.store,
                database=database,
                part=self.partial / "parts" / f"{first:07d}.part",
                classes=self.classes,
                first=first,
                last=min(first + _CHUNK, keyframes),
            )
            for first in range(0, keyframes, _CHUNK)
        ]


def build_database(
    plan: DatabasePlan,
    workers: int = 1,
    allow_empty: bool = False,
    overwrite: bool = False,
    executor: Executor | None = None,
) -> list[ClassCount]:
    """Makes the GT database, its index and the list of keyframes; goes on where an earlier run was stopped.

    Args:
        plan: what to make.
        workers: processes of this machine; 1 works in this one.
        allow_empty: accept classes without any object.
        overwrite: replace a finished database.
        executor: where the ranges are worked on, in place of these processes.

    Returns:
        Counts of each class, in the order of the plan's classes.

    Raises:
        ConfigError: the split is unknown or `workers` is no positive number.
        DataError: the store is missing, of another split or damaged; a finished database is in the way; a class is
            empty; the disk is full or too small; or a worker died. What is finished is kept.
    """
    executor = executor or LocalExecutor(workers)
    keyframes = _check(plan)
    final = plan.out / dbinfos_name(plan.split)
    if final.exists() and not overwrite:
        raise DataError(f"{final} exists already; remove it, or pass overwrite=true to replace the GT database")
    jobs = plan.jobs(keyframes)
    _begin(plan)
    if not (plan.partial / dbinfos_name(plan.split)).exists():
        _run(jobs, executor)
    counts = count_classes(_frames(jobs), plan.classes)
    empty = [count.why_empty(plan.split) for count in counts if not count.stored]
    if empty and not allow_empty:
        raise DataError(f"the GT database lacks classes: {'; '.join(empty)}. Pass allow_empty=true to go on without")
    if not (plan.partial / dbinfos_name(plan.split)).exists():
        check_files(plan.partial / database_name(plan.split), counts)
        write_pickle(plan.partial / infos_name(plan.split), _infos(_frames(jobs)))
        write_pickle(plan.partial / dbinfos_name(plan.split), _dbinfos(_frames(jobs), plan))
    _publish(plan)
    return counts


def _check(plan: DatabasePlan) -> int:
    """Number of keyframes of the split."""
    if plan.split not in _SPLITS:
        raise ConfigError(f"unknown split {plan.split!r}; expected one of {', '.join(_SPLITS)}")
    manifest = read_manifest(plan.store)
    if manifest.split != plan.split:
        raise DataError(
            f"{plan.store} holds the split {manifest.split!r}, not {plan.split!r}; remove it and run `make pack-data`"
        )
    if not manifest.keyframes:
        raise DataError(f"{plan.store} holds no keyframe; remove it and run `make pack-data`")
    return manifest.keyframes


def _begin(plan: DatabasePlan) -> None:
    """Prepares the partial folder; one of another store, program version or state is begun again."""
    wanted = plan.fingerprint()
    recorded = plan.partial / _PLAN
    known = recorded.is_file() and recorded.read_bytes() == wanted
    complete = (plan.partial / dbinfos_name(plan.split)).is_file()
    if known and (complete or (plan.partial / database_name(plan.split)).is_dir()):
        return
    try:
        if plan.partial.exists():
            log.info("%s belongs to other data or another program version: beginning anew", plan.partial)
            shutil.rmtree(plan.partial)
        (plan.partial / database_name(plan.split)).mkdir(parents=True)
        (plan.partial / "parts").mkdir()
        recorded.write_bytes(wanted)
    except OSError as error:
        raise DataError(f"cannot write to {plan.partial}: {error.strerror or error}") from error


def _run(jobs: Sequence[ChunkJob], executor: Executor) -> None:
    """Does what is not done yet, with a progress bar that counts keyframes."""
    todo = [job for job in jobs if read_part(job) is None]
    total = sum(map(len, jobs))
    done = total - sum(map(len, todo))
    if done:
        log.info("%d of %d keyframes are finished already", done, total)
    if todo:
        keyframes = [i for job in todo for i in range(job.first, job.last)]
        check_space(todo[0].store, todo[0].database, todo[0].classes, keyframes)
    with Progress("create data", "keyframe", total, done) as progress:
        for count in executor.run(run_chunk, todo, len(todo)):
            progress.update(count)


def _frames(jobs: Sequence[ChunkJob]) -> Iterator[FrameObjects]:
    """What all keyframes gave, in the order of the split."""
    for job in jobs:
        frames = read_part(job)
        if frames is None:
            raise DataError(f"{job.part} is missing or damaged; remove it and run the same command again")
        yield from frames


def _infos(frames: Iterator[FrameObjects]) -> list[Info]:
    return [
        Info(
            sample_token=frame.sample_token,
            gt_names=np.array(frame.names, dtype=np.str_),
            valid_flag=np.array(frame.valid, dtype=np.bool_),
        )
        for frame in frames
    ]


def _dbinfos(frames: Iterator[FrameObjects], plan: DatabasePlan) -> dict[str, list[DbInfo]]:
    out: dict[str, list[DbInfo]] = {name: [] for name in plan.classes}
    group_id = 0
    folder = database_name(plan.split)
    # One string object per class: the pickle refers to it instead of repeating it, the same way in every run.
    names = {name: name for name in plan.classes}
    for frame in frames:
        for gt_idx, num_points, box in zip(frame.gt_idx, frame.num_points, frame.boxes_array(), strict=True):
            name = names[frame.names[gt_idx]]
            out[name].append(
                DbInfo(
                    name=name,
                    path=f"{folder}/{object_file(frame.sample_token, name, gt_idx)}",
                    image_idx=frame.sample_token,
                    gt_idx=gt_idx,
                    box3d_lidar=box.copy(),
                    num_points_in_gt=num_points,
                    difficulty=0,
                    group_id=group_id,
                )
            )
            group_id += 1
    return out


def _publish(plan: DatabasePlan) -> None:
    """Moves everything to its place, the index last; a run that is killed in between can be repeated."""
    name, infos, dbinfos = database_name(plan.split), infos_name(plan.split), dbinfos_name(plan.split)
    try:
        if (plan.partial / name).is_dir():
            # The index goes first: without it nobody takes the folder for a database.
            (plan.out / dbinfos).unlink(missing_ok=True)
            (plan.out / infos).unlink(missing_ok=True)
            if (plan.out / name).exists():
                shutil.rmtree(plan.out / name)
            (plan.partial / name).rename(plan.out / name)
        for file in (infos, dbinfos):
            if (plan.partial / file).exists():
                (plan.partial / file).replace(plan.out / file)
        shutil.rmtree(plan.partial)
    except OSError as error:
        raise DataError(f"cannot move the GT database to {plan.out}: {error.strerror or error}") from error
