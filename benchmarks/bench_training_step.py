"""One training step of the network, forward and backward, from pillars to gradients; losses and optimizer excluded.

Run `python benchmarks/bench_training_step.py [--device cuda] [--batch 1] [--grid default]` on a quiet machine.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time

import torch
from bench_pillar_encoder import random_pillars
from torch.utils._pytree import tree_leaves

from lidar_mt.config import compose, instantiate
from lidar_mt.models.multitask import LidarMultiTaskNet
from lidar_mt.structures.pillars import Pillars


def batched(count: int, batch_size: int, cells: tuple[int, int], device: torch.device) -> Pillars:
    """The same pillars for every sample, folded into the grid."""
    one = random_pillars(count, device)
    height, width = cells
    keys = torch.unique((one.coords[:, 1] % height) * width + one.coords[:, 2] % width)
    num_points = one.num_points[: len(keys)]
    points = int(num_points.sum())
    coords = torch.stack([torch.zeros_like(keys), keys // width, keys % width], dim=1)
    shift = torch.tensor([1, 0, 0], device=device)
    return Pillars(
        features=one.features[:points].repeat(batch_size, 1),
        point_to_pillar=torch.cat([one.point_to_pillar[:points] + b * len(keys) for b in range(batch_size)]),
        coords=torch.cat([coords + b * shift for b in range(batch_size)]),
        num_points=num_points.repeat(batch_size),
        batch_size=batch_size,
    )


def step_s(net: LidarMultiTaskNet, pillars: Pillars, *, bf16: bool) -> tuple[float, float]:
    """Seconds of the forward and of the backward pass."""
    device = pillars.features.device
    net.zero_grad()
    marks = []

    def mark() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()
        marks.append(time.perf_counter())

    mark()
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
        output = net.forward_pillars(pillars)
    loss = sum(leaf.float().square().mean() for leaf in tree_leaves(output))
    mark()
    loss.backward()
    mark()
    return marks[1] - marks[0], marks[2] - marks[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--grid", default="default")
    parser.add_argument("--pillars", type=int, default=30000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    cfg = compose("calops", [f"grid={args.grid}"])
    net = instantiate(cfg.model.net).to(device).train()
    pillars = batched(args.pillars, args.batch, net.scatter.shape, device)
    print(f"batch {args.batch}, {net.scatter.shape} cells, {len(pillars.coords):,} pillars, {args.threads} threads")
    for name, bf16 in (("float32", False), ("bfloat16 autocast", True)):
        step_s(net, pillars, bf16=bf16)
        times = [step_s(net, pillars, bf16=bf16) for _ in range(args.repeats)]
        total = [sum(pair) for pair in times]
        forward, backward = (statistics.median(column) for column in zip(*times, strict=True))
        print(
            f"{name}: {statistics.median(total):.2f} s (range {min(total):.2f} to {max(total):.2f}, "
            f"{args.repeats} steps), forward {forward:.2f} s, backward {backward:.2f} s"
        )
    if device.type == "cuda":
        print(f"peak {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB on the GPU")
    else:
        print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB resident")


if __name__ == "__main__":
    main()
