"""Packing against `cp -r`, reading a sweep against `np.fromfile`, loading a sample against the devkit.

Run `python benchmarks/bench_pack.py SRC --version v1.0-mini [--split train] [--workers 2]` on a quiet machine. SRC is a
raw data root, real or simulated. Files are in the page cache before anything is timed, and the rivals take turns.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.data_classes import LidarPointCloud

from lidar_mt.data.dataset import NuScenesLidarDataset
from lidar_mt.data.layout import store_path
from lidar_mt.data.lmdb_store.manifest import read_manifest
from lidar_mt.data.lmdb_store.reader import StoreReader
from lidar_mt.data.nuscenes.scene_rows import read_split, scene_tables
from lidar_mt.data.worker_signals import start_worker
from lidar_mt.structures.classes import DETECTION_CLASSES, Classes

CLASSES = Classes(DETECTION_CLASSES, (DETECTION_CLASSES,), ("others", "driveable_surface"))
Action = Callable[[], object]


def seconds(action: Action) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def compare(name: str, ours: Action, theirs: Action, repeats: int, scale: float, unit: str) -> None:
    """Times both in turn and prints medians, ranges and the ratio per turn."""
    ours(), theirs()
    pairs = [(seconds(theirs), seconds(ours)) for _ in range(repeats)]
    ratio = sorted(mine / other for other, mine in pairs)
    columns = [sorted(scale * value for value in column) for column in zip(*pairs, strict=True)]
    text = [f"{statistics.median(c):.3g} {unit} ({c[0]:.3g} to {c[-1]:.3g})" for c in columns]
    print(
        f"{name}: theirs {text[0]}, ours {text[1]}, ours/theirs {statistics.median(ratio):.2f} "
        f"({ratio[0]:.2f} to {ratio[-1]:.2f}), {repeats} turns",
        flush=True,
    )


def raw_files(src: Path, version: str, split: str) -> dict[str, Path]:
    """Raw file of every LiDAR sweep of the split, by sample_data token."""
    rows = read_split(src, version, split)
    tables = (scene_tables(src, version, rows.scene_rows(i)) for i in range(len(rows.scenes)))
    return {row.token: src / row.filename for table in tables for row in table.lidar.values()}


def pack(args: argparse.Namespace, out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "lidar_mt.pack_data", f"src={args.src}", f"version={args.version}"]
    command += [f"split={args.split}", f"out={out}", f"workers={args.workers}"]
    subprocess.run(command, check=True, capture_output=True)


def copy(files: list[Path], out: Path, sync: bool) -> None:
    """`cp -r` of a folder of links to the split's files, which it follows."""
    shutil.rmtree(out, ignore_errors=True)
    subprocess.run(["cp", "-rL", str(files[0].parent), str(out)], check=True)
    if sync:
        subprocess.run(["sync", "-f", str(out)], check=True)


def bench_packing(args: argparse.Namespace, folder: Path, files: dict[str, Path]) -> None:
    links = folder / "links"
    links.mkdir()
    for token, path in files.items():
        (links / token).symlink_to(path.resolve())
    theirs = [links / token for token in files]
    for name, sync in (("cp -r", False), ("cp -r and sync, as a store is on the disk when it is done", True)):
        compare(
            f"pack {len(files)} sweeps, {args.workers} processes, against {name}",
            lambda: pack(args, folder / "packed"),
            functools.partial(copy, theirs, folder / "copy", sync),
            args.pack_repeats,
            1.0,
            "s",
        )
    shutil.rmtree(folder / "copy")


def bench_reading(store: Path, files: dict[str, Path], repeats: int) -> None:
    reader = StoreReader(store)
    tokens = [token for token, path in files.items() if path.is_file()][:64]
    for token in tokens:
        if reader.sweep(token).tobytes() != files[token].read_bytes():
            raise SystemExit(f"{token} differs from its raw file")

    def ours() -> None:
        for token in tokens:
            reader.sweep(token)

    def theirs() -> None:
        for token in tokens:
            np.fromfile(files[token], dtype=np.float32).reshape(-1, 5)

    compare("read a sweep, checksum included, against np.fromfile", ours, theirs, repeats, 1e6 / len(tokens), "us")


class Devkit:
    """Loads samples with the devkit in a process of its own, as a user's program would; ours keeps freed memory."""

    def __init__(self, src: Path, version: str, tokens: list[str]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._child = context.Process(target=_devkit_loop, args=(theirs, src, version, tokens), daemon=True)
        self._child.start()

    def __call__(self) -> None:
        self._pipe.send(True)
        self._pipe.recv()

    def close(self) -> None:
        self._pipe.send(False)
        self._child.join()


def _devkit_loop(pipe: Connection, src: Path, version: str, tokens: list[str]) -> None:
    devkit = NuScenes(version, str(src), verbose=False)
    while pipe.recv():
        for token in tokens:
            sample = devkit.get("sample", token)
            LidarPointCloud.from_file_multisweep(devkit, sample, "LIDAR_TOP", "LIDAR_TOP", nsweeps=10)
        pipe.send(True)


def bench_samples(args: argparse.Namespace, store: Path) -> None:
    start_worker(0)  # as every loader worker does
    dataset = NuScenesLidarDataset(store, CLASSES, training=True)
    # Late keyframes of the first scenes, which have all their sweeps.
    chosen = [i for i in range(min(len(dataset), 40)) if len(dataset[i].points) > 5 * dataset[i].num_keyframe_points]
    chosen = chosen[:8]

    def ours() -> None:
        for index in chosen:
            dataset[index]

    theirs = Devkit(args.src, args.version, [dataset.token(index) for index in chosen])
    compare("load a sample of 10 sweeps, against the devkit", ours, theirs, args.repeats // 2, 1e3 / len(chosen), "ms")
    theirs.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("src", type=Path)
    parser.add_argument("--version", default="v1.0-mini")
    parser.add_argument("--split", default="train")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--pack-repeats", type=int, default=3)
    parser.add_argument("--store", type=Path, help="a packed split of SRC: measure loading of samples alone")
    args = parser.parse_args()
    if args.store is not None:
        bench_samples(args, args.store)
        return
    files = raw_files(args.src, args.version, args.split)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench_packing(args, folder, files)
        store = store_path(folder / "packed", args.version, args.split)
        manifest = read_manifest(store)
        print(f"size: {manifest.data_bytes / manifest.raw_bytes:.3f} of the raw bytes")
        bench_reading(store, files, args.repeats)
        bench_samples(args, store)


if __name__ == "__main__":
    main()
