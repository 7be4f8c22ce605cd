"""The GT database against a loop of devkit calls on the same keyframes, and what that means for a full nuScenes.

    python benchmarks/bench_gt_database.py raw=DIR packed=DIR version=v1.0-mini [split=train] [turns=5] [devkit=N]

Both sides write the same files: for every valid box of the ten classes the points of the keyframe and its ten sweeps,
relative to its centre. The devkit's side is what a user would write: `from_file_multisweep`, then `points_in_box` per
box; its tables are loaded before the clock starts. Ours is all of `create_data`, part files, checks and index
included. `devkit=N` gives the devkit N keyframes drawn at random; times are per keyframe. `workers=1,2` instead
times our side alone by processes; `index=28130` the last step alone, on made-up keyframes: counts, both pickles,
reading back.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.data_classes import LidarPointCloud
from nuscenes.utils.geometry_utils import points_in_box

from lidar_mt.data.gt_building import DatabasePlan, _dbinfos, _infos, build_database
from lidar_mt.data.gt_database import dbinfos_name, infos_name, load_dbinfos
from lidar_mt.data.gt_extraction import FrameObjects
from lidar_mt.data.gt_summary import count_classes
from lidar_mt.data.layout import store_path
from lidar_mt.data.lmdb_store.reader import StoreReader
from lidar_mt.data.plain_pickle import write_pickle
from lidar_mt.structures.classes import DETECTION_CLASSES, detection_name

TRAIN_KEYFRAMES = 28_130
TRAIN_OBJECTS_PER_KEYFRAME = 34  # 1.17 million boxes in 34,149 keyframes of train and val
CORES = 16


def devkit_loop(devkit: NuScenes, tokens: list[str], out: Path) -> int:
    objects = 0
    for token in tokens:
        sample = devkit.get("sample", token)
        cloud, lags = LidarPointCloud.from_file_multisweep(devkit, sample, "LIDAR_TOP", "LIDAR_TOP", nsweeps=11)
        _, boxes, _ = devkit.get_sample_data(sample["data"]["LIDAR_TOP"])
        for i, box in enumerate(boxes):
            row = devkit.get("sample_annotation", box.token)
            name = detection_name(box.name)
            if not name or not row["num_lidar_pts"] + row["num_radar_pts"]:
                continue
            inside = points_in_box(box, cloud.points[:3])
            points = np.concatenate([cloud.points[:, inside], lags[:, inside]]).T.astype(np.float32)
            if len(points):
                points[:, :3] -= box.center
                points.tofile(out / f"{token}_{name}_{i}.bin")
                objects += 1
    return objects


def ours(arguments: dict[str, str], out: Path, workers: int) -> int:
    plan = DatabasePlan(
        Path(arguments["packed"]), arguments["version"], arguments["split"], out, tuple(DETECTION_CLASSES)
    )
    return sum(count.stored for count in build_database(plan, workers, allow_empty=True))


def compare(arguments: dict[str, str]) -> None:
    reader = StoreReader(store_path(arguments["packed"], arguments["version"], arguments["split"]))
    tokens = [token.decode() for token in reader.sample_tokens]
    devkit = NuScenes(arguments["version"], arguments["raw"], verbose=False)
    # Drawn, not evenly spread: every n-th keyframe may always be the first of a scene, which has no sweeps.
    count = min(len(tokens), int(arguments.get("devkit", len(tokens))))
    theirs_of = [tokens[i] for i in np.random.default_rng(0).choice(len(tokens), count, replace=False)]
    times: dict[str, list[float]] = {"devkit": [], "ours": []}
    cpu: dict[str, list[float]] = {"devkit": [], "ours": []}
    for turn in range(int(arguments["turns"]) + 1):
        with tempfile.TemporaryDirectory(dir=arguments.get("tmp")) as folder:
            (Path(folder) / "devkit").mkdir()
            begin = time.perf_counter(), time.process_time()
            theirs = devkit_loop(devkit, theirs_of, Path(folder) / "devkit")
            middle = time.perf_counter(), time.process_time()
            mine = ours(arguments, Path(folder) / "ours", 1)
            end = time.perf_counter(), time.process_time()
        if turn:  # the first one warms the page cache
            for name, start, stop, count in (
                ("devkit", begin, middle, len(theirs_of)),
                ("ours", middle, end, len(tokens)),
            ):
                times[name].append((stop[0] - start[0]) / count)
                cpu[name].append((stop[1] - start[1]) / count)
    print(f"objects stored: devkit {theirs} of {len(theirs_of)} keyframes, ours {mine} of {len(tokens)}")
    # On a busy machine the processor's time says more than the clock.
    for what, measured in (("wall", times), ("processor", cpu)):
        for name, values in measured.items():
            print(f"{what} {name}: {1e3 * statistics.median(values):.1f} ms per keyframe, {spread(values, 1e3)}")
        ratios = [a / b for a, b in zip(measured["devkit"], measured["ours"], strict=True)]
        print(f"{what} ratio per turn: median {statistics.median(ratios):.1f}, {spread(ratios, 1.0)}")
    per_keyframe = statistics.median(times["ours"])
    hours = TRAIN_KEYFRAMES * per_keyframe / CORES / 60
    print(f"{TRAIN_KEYFRAMES} keyframes x {1e3 * per_keyframe:.1f} ms / {CORES} processes = {hours:.1f} min")


def spread(values: list[float], unit: float) -> str:
    return f"range {unit * min(values):.1f} to {unit * max(values):.1f}"


def scaling(arguments: dict[str, str]) -> None:
    """Time of the whole command by processes; the difference to one process is start-up and waiting."""
    for workers in map(int, arguments["workers"].split(",")):
        with tempfile.TemporaryDirectory(dir=arguments.get("tmp")) as folder:
            begin = time.perf_counter()
            ours(arguments, Path(folder), workers)
            print(f"workers={workers}: {time.perf_counter() - begin:.2f} s")


def index_alone(keyframes: int) -> None:
    """The step that runs in one process whatever the number of workers."""
    rng = np.random.default_rng(0)
    count = TRAIN_OBJECTS_PER_KEYFRAME

    def frames():
        for i in range(keyframes):
            names = [DETECTION_CLASSES[k] for k in rng.integers(0, 10, count)]
            boxes = rng.normal(size=(count, 9)).astype("<f4").tobytes()
            yield FrameObjects(f"{i:032x}", names, [True] * count, list(range(count)), [20] * count, boxes)

    parts = list(frames())
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    plan = DatabasePlan(Path(), "", "train", Path(), tuple(DETECTION_CLASSES))
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        count_classes(parts, DETECTION_CLASSES)
        write_pickle(Path(folder) / infos_name(), _infos(iter(parts)))
        write_pickle(Path(folder) / dbinfos_name(), _dbinfos(iter(parts), plan))
        written = time.perf_counter()
        size = (Path(folder) / dbinfos_name()).stat().st_size
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        total = sum(map(len, load_dbinfos(folder).values()))
        read = time.perf_counter()
    print(f"{keyframes} keyframes, {total} objects: index of {size / 1e6:.0f} MB written in {written - begin:.1f} s, ")
    print(f"read and checked in {read - written:.1f} s")
    print(f"resident: {base / 2**20:.2f} GiB with the parts, {peak / 2**20:.2f} GiB at most while writing")


def main() -> None:
    arguments = {"split": "train", "turns": "5"} | dict(text.split("=", 1) for text in sys.argv[1:])
    print(json.dumps({"processors": multiprocessing.cpu_count(), **arguments}))
    if "index" in arguments:
        index_alone(int(arguments["index"]))
    elif "workers" in arguments:
        scaling(arguments)
    else:
        compare(arguments)


if __name__ == "__main__":
    main()
