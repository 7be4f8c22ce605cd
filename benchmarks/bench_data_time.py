"""The share of a training step that is spent waiting for data, with everything of `augmentation=full`.

Run `python benchmarks/bench_data_time.py PACKED --version v1.0-mini [--batch 1] [--workers 2]` on a quiet machine.
PACKED holds a train split with lidarseg labels and its GT database, from
`python -m lidar_mt.create_data packed=PACKED version=v1.0-mini allow_empty=true`.
A step is voxelizer, network, losses of both tasks, backward and optimizer on the full grid, in this process.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator

import torch

from lidar_mt.config import compose
from lidar_mt.config.build import build_datamodule, build_module
from lidar_mt.data.memory import keep_freed_memory
from lidar_mt.data.sampler import EpochSampler
from lidar_mt.structures.sample import Batch


def endless(loader: torch.utils.data.DataLoader[Batch]) -> Iterator[Batch]:
    """Epoch after epoch; the workers stay."""
    for epoch in range(1_000_000):
        assert isinstance(loader.sampler, EpochSampler)
        loader.sampler.set_epoch(epoch)
        yield from loader


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packed")
    parser.add_argument("--version", default="v1.0-mini")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    cfg = compose(
        "train",
        [
            "augmentation=full",
            f"paths.packed={args.packed}",
            f"data.version={args.version}",
            f"data.batch_size={args.batch}",
            f"data.num_workers={args.workers}",
        ],
    )
    batches = endless(build_datamodule(cfg).train_dataloader())
    module = build_module(cfg).train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4)
    waits, steps = [], []
    for number in range(args.steps + 3):
        start = time.perf_counter()
        batch = next(batches)
        ready = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.precision == "bfloat16"):
            output = module(batch.points)
        loss, _ = module.loss_terms(output, batch)
        loss.backward()
        optimizer.step()
        if number >= 3:  # before, workers start and memory is taken for the first time
            waits.append(ready - start)
            steps.append(time.perf_counter() - start)
    print(
        f"batch {args.batch}, {args.workers} workers, {args.threads} threads, {args.precision}: waiting "
        f"{1e3 * statistics.median(waits):.2f} ms ({1e3 * max(waits):.1f} at most) of a step of "
        f"{1e3 * statistics.median(steps):.0f} ms; {sum(waits) / sum(steps):.2%} of the time in all, {len(steps)} steps"
    )


if __name__ == "__main__":
    main()
