"""Memory of loader workers over an epoch, for few and for many keyframes and each way to start a process.

Run `python benchmarks/bench_workers.py [--keyframes 300 30000] [--workers 2]`. The stores are made here: real records
with 30 boxes, sweeps of 200 points, in a temporary folder (0.3 GB).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from tests.helpers.many_keyframes import write_many
from tests.helpers.worker_memory import WorkerMemory, measure
from torch.utils.data import DataLoader

from lidar_mt.data.cbgs import BalancedSampler
from lidar_mt.data.dataset import NuScenesLidarDataset
from lidar_mt.data.sampler import EpochSampler
from lidar_mt.data.worker_signals import start_worker
from lidar_mt.structures.classes import DETECTION_CLASSES, Classes

CLASSES = Classes(DETECTION_CLASSES, (DETECTION_CLASSES,), ("others", "driveable_surface"))


def epoch(store: Path, method: str, workers: int, cbgs: bool) -> list[WorkerMemory]:
    """Memory at every batch of an epoch of the batches' workers, in order."""
    dataset = NuScenesLidarDataset(store, CLASSES, training=True)
    presence = np.zeros((len(dataset), len(DETECTION_CLASSES)), dtype=bool)
    presence[:, 0] = True
    loader = DataLoader(
        dataset,
        batch_size=4,
        sampler=BalancedSampler(presence, 0) if cbgs else EpochSampler(len(dataset), True, 0),
        num_workers=workers,
        collate_fn=measure,
        worker_init_fn=start_worker,
        multiprocessing_context=method,
    )
    return list(loader)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keyframes", type=int, nargs="+", default=[300, 30_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cbgs", action="store_true", help="draw class-balanced lists")
    args = parser.parse_args()
    print("private memory of the largest worker [MiB]: after 10 batches, in the middle, at the end (all resident)")
    with tempfile.TemporaryDirectory() as folder:
        for count in args.keyframes:
            store = write_many(Path(folder) / str(count), count)
            for method in ("fork", "spawn", "forkserver"):
                before = measure().private_mb
                seen = epoch(store, method, args.workers, args.cbgs)
                marks = [slice(10, 20), slice(len(seen) // 2 - 5, len(seen) // 2 + 5), slice(-10, None)]
                start, middle, end = (max(m.private_mb for m in seen[mark]) for mark in marks)
                main_mb = measure().private_mb - before
                print(
                    f"{count:>6} keyframes, {method:<10}: {start:6.1f} {middle:6.1f} {end:6.1f} "
                    f"({max(m.resident_mb for m in seen):.0f}); training process {main_mb:+.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
