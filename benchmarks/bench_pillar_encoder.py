"""The two forms of the pillar encoder side by side: padded slots (deployed) against points alone.

Run `python benchmarks/bench_pillar_encoder.py [--device cuda] [--pillars 40000] [--repeats 15]` on a quiet machine.
The forms take turns, so that a slow spell of the machine hits both; the ratio is taken per turn.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from lidar_mt.models.pillar_encoder import PillarEncoder
from lidar_mt.ops.voxelize import to_dense
from lidar_mt.structures.pillars import Pillars

# Per mille of the pillars of a ten-sweep nuScenes frame (30,059 pillars of 0.2 m) that hold 1, 2, ... 20 points.
POINTS_PER_MILLE = (301, 185, 111, 65, 49, 37, 28, 22, 18, 16, 12, 13, 12, 9, 8, 7, 7, 6, 6, 88)


def random_pillars(count: int, device: torch.device) -> Pillars:
    """Pillars of one sample with a real frame's distribution of points."""
    generator = torch.Generator().manual_seed(0)
    num_points = 1 + torch.multinomial(torch.tensor(POINTS_PER_MILLE).float(), count, True, generator=generator)
    cells = torch.randperm(512 * 512, generator=generator)[:count]
    pillars = Pillars(
        features=torch.rand(int(num_points.sum()), 5, generator=generator),
        point_to_pillar=torch.repeat_interleave(torch.arange(count), num_points),
        coords=torch.stack([torch.zeros_like(cells), cells // 512, cells % 512], dim=1),
        num_points=num_points,
        batch_size=1,
    )
    return Pillars(*(part.to(device) if isinstance(part, torch.Tensor) else part for part in pillars))


def elapsed_ms(call: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) * 1e3


def compare(name: str, dense: Callable[[], object], fast: Callable[[], object], device: torch.device, n: int) -> None:
    dense(), fast()
    turns = [(elapsed_ms(dense, device), elapsed_ms(fast, device)) for _ in range(n)]
    ratios = sorted(a / b for a, b in turns)
    low, middle, high = statistics.quantiles(ratios, n=4)
    dense_ms, fast_ms = (statistics.median(column) for column in zip(*turns, strict=True))
    print(
        f"{name}: padded {dense_ms:.1f} ms, points {fast_ms:.1f} ms, ratio {middle:.1f} "
        f"(quartiles {low:.1f} to {high:.1f}, range {ratios[0]:.1f} to {ratios[-1]:.1f}, {n} turns)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--pillars", type=int, default=40000)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    pillars = random_pillars(args.pillars, device)
    features = to_dense(pillars, args.pillars).features
    # The padded form gets the layout in which it is fastest here: on a CPU channels-last.
    features = features.contiguous(memory_format=torch.channels_last)
    encoder = PillarEncoder().to(device).to(memory_format=torch.channels_last)
    upstream = torch.rand(args.pillars, encoder.out_channels, device=device)
    print(f"{args.pillars:,} pillars, {len(pillars.features):,} points, {args.threads} threads, {device}")

    def backward(out: torch.Tensor) -> None:
        encoder.zero_grad()
        out.backward(upstream)

    encoder.eval()
    with torch.inference_mode():
        gap = (encoder(features)[0].T - encoder.forward_points(pillars)).abs().max()
        print(f"largest difference {gap:.1e}")
        compare("inference", lambda: encoder(features), lambda: encoder.forward_points(pillars), device, args.repeats)
    encoder.train()
    compare(
        "training, forward and backward",
        lambda: backward(encoder(features)[0].T),
        lambda: backward(encoder.forward_points(pillars)),
        device,
        max(args.repeats // 3, 3),
    )


if __name__ == "__main__":
    main()
