"""Writes a whole simulated data set, scenes in parallel, so that a half-written one never looks whole."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lidar_mt.data.simulation.records import Namer, Tables, merge, shared_tables
from lidar_mt.data.simulation.scene import TURNS_PER_KEYFRAME, SceneJob, simulate_scene
from lidar_mt.structures.errors import ConfigError, DataError
from lidar_mt.structures.nuscenes_tables import TABLE_NAMES

#: Marks a folder as simulated and says how; also what allows a later run to replace it.
MARKER = "simulation.json"
#: Raised whenever the same seed gives other bytes than before.
GENERATOR = 1


@dataclass(frozen=True)
class Plan:
    """What to simulate.

    Attributes:
        version: nuScenes version name.
        scenes: scene names.
        keyframes: keyframes per scene, at 2 Hz.
        sweeps: sweeps per keyframe that a multi-sweep reader finds, 0 to 10, at 20 Hz.
        seed: decides everything.

    Raises:
        ConfigError: a number is out of range.
    """

    version: str
    scenes: tuple[str, ...]
    keyframes: int
    sweeps: int
    seed: int

    def __post_init__(self) -> None:
        if self.keyframes < 2:
            raise ConfigError(f"keyframes={self.keyframes}; a scene needs at least 2, or nothing in it has a velocity")
        if not 0 <= self.sweeps <= TURNS_PER_KEYFRAME:
            raise ConfigError(f"sweeps={self.sweeps}; between keyframes at 2 Hz and turns at 20 Hz 0 to 10 fit")
        if not self.scenes:
            raise ConfigError("scenes=0; ask for at least one scene")


def choose_scenes(names: Mapping[str, Sequence[str]], scenes: int, version: str) -> tuple[str, ...]:
    """Takes scene names from the official splits, keeping their share of validation scenes.

    Args:
        names: scene names of the splits `train` and `val`.
        scenes: how many to take; two or more always give both splits.
        version: nuScenes version name, for the message.

    Raises:
        ConfigError: the version has fewer scenes.
    """
    if "train" not in names:
        raise ConfigError(f"version={version} has no train and val splits to simulate; pass version=v1.0-mini")
    train, val = names["train"], names["val"]
    total = len(train) + len(val)
    if not 1 <= scenes <= total:
        more = "" if version.endswith("trainval") else "; version=v1.0-trainval has 850"
        raise ConfigError(f"scenes={scenes}, but {version} has 1 to {total} scene names{more}")
    wanted = max(1, round(scenes * len(val) / total)) if scenes > 1 else 0
    return (*train[: scenes - wanted], *val[:wanted])


def write_dataset(out: Path, plan: Plan, workers: int = 1) -> None:
    """Simulates a data set in the official layout; the same plan gives the same bytes with any number of workers.

    Everything is written beside `out` and moved there when it is complete. An earlier simulated set is replaced.

    Args:
        out: folder of the data set.
        plan: what to simulate.
        workers: processes.

    Raises:
        DataError: `out` holds something else, or a worker process died.
    """
    _check_target(out)
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for folder in ("samples/LIDAR_TOP", "sweeps/LIDAR_TOP", f"lidarseg/{plan.version}", "maps", plan.version):
        (partial / folder).mkdir(parents=True)
    namer = Namer(plan.seed, plan.version)
    sweeps = min(plan.sweeps, TURNS_PER_KEYFRAME - 1)
    jobs = [SceneJob(partial, name, i, plan.keyframes, sweeps, namer) for i, name in enumerate(plan.scenes)]
    tables = merge([shared_tables(namer), *_run(jobs, workers)])
    for table in (*TABLE_NAMES, "lidarseg"):
        _write_json(partial / plan.version / f"{table}.json", tables[table])
    _write_json(partial / MARKER, _description(plan))
    if out.exists():
        shutil.rmtree(out)
    partial.rename(out)


def _check_target(out: Path) -> None:
    if out.is_dir() and any(out.iterdir()) and not (out / MARKER).is_file():
        raise DataError(
            f"{out} is not empty and holds no simulated data set (no {MARKER}); choose another out= or empty it"
        )
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file; out= must name a folder")


def _description(plan: Plan) -> dict[str, Any]:
    return {
        "generator": GENERATOR,
        "version": plan.version,
        "scenes": list(plan.scenes),
        "keyframes": plan.keyframes,
        "sweeps": plan.sweeps,
        "seed": plan.seed,
    }


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=0) + "\n")


def _run(jobs: list[SceneJob], workers: int) -> list[Tables]:
    """Simulates all scenes with a progress bar that counts keyframes."""
    total = sum(job.keyframes for job in jobs)
    with tqdm(total=total, unit="keyframe", desc="simulate", smoothing=0.1) as bar:
        if workers <= 1 or len(jobs) == 1:
            return [simulate_scene(job, lambda: bar.update(1) and None) for job in jobs]
        return list(_run_parallel(jobs, min(workers, len(jobs)), bar))


def _run_parallel(jobs: list[SceneJob], workers: int, bar: tqdm[Any]) -> Iterator[Tables]:
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    with ProcessPoolExecutor(workers, context, initializer=_share_counter, initargs=(counter,)) as pool:
        futures = [pool.submit(_simulate_counted, job) for job in jobs]
        pending: set[Future[Tables]] = set(futures)
        while pending:
            pending = wait(pending, timeout=0.3).not_done
            if counter.value > bar.n:
                bar.update(counter.value - bar.n)
        try:
            yield from [future.result() for future in futures]
        except BrokenProcessPool as error:
            raise DataError("a simulation process died, likely for want of memory; try again with workers=1") from error


# The counter can reach a spawned worker only through the initializer, so it has to be a global there.
_COUNTER: Any = None


def _share_counter(counter: Any) -> None:
    global _COUNTER  # noqa: PLW0603
    _COUNTER = counter


def _simulate_counted(job: SceneJob) -> Tables:
    return simulate_scene(job, _count)


def _count() -> None:
    with _COUNTER.get_lock():
        _COUNTER.value += 1
