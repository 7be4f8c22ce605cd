"""Rotated suppression of a frame against what one would run otherwise: a loop over shapely, and all pairs in torch.

Run `python benchmarks/bench_nms.py [--device cuda] [--groups 6] [--boxes 1000] [--turns 9]` on a quiet machine. The
sides take turns, so that a slow spell of the machine hits all; ratios are taken per turn. All must keep the same boxes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from shapely import affinity
from shapely.geometry import box
from torch import Tensor

from lidar_mt.data.memory import keep_freed_memory
from lidar_mt.ops.box_geometry import bev_iou_matrix
from lidar_mt.ops.nms import keep_greedily, rotated_conflicts

THRESHOLD, POST_MAX = 0.2, 83


def crowd(groups: int, count: int, objects: int, half_range_m: float, jitter_m: float, jitter_rad: float) -> Tensor:
    """(G, N, 9) float32: vehicles with several candidates each, best first."""
    rng = np.random.default_rng(objects)
    boxes = np.zeros((groups, count, 9), dtype=np.float32)
    for group in boxes:
        which = rng.integers(0, objects, count)
        group[:, :2] = rng.uniform(-half_range_m, half_range_m, (objects, 2))[which]
        group[:, :2] += rng.normal(0, jitter_m, (count, 2))
        group[:, 3:6] = rng.uniform([1.7, 4, 1.5], [2.2, 5.2, 2], (objects, 3))[which] * rng.normal(1, 0.05, (count, 3))
        group[:, 6] = rng.uniform(-np.pi, np.pi, objects)[which] + rng.normal(0, jitter_rad, count)
    return torch.from_numpy(boxes)


def needles(groups: int, count: int) -> Tensor:
    """(G, N, 9) float32: all circles around the boxes meet, hardly any boxes do."""
    boxes = crowd(groups, count, 1, 0, 1.0, 2.0)
    boxes[..., 3], boxes[..., 4] = 0.02, 20.0
    return boxes


def ours(boxes: Tensor) -> Tensor:
    valid = boxes.new_ones(boxes.shape[:2], dtype=torch.bool)
    return keep_greedily(rotated_conflicts(boxes, THRESHOLD), valid, POST_MAX)


def all_pairs(boxes: Tensor) -> Tensor:
    """The IoU of all pairs of a group in torch, then the usual loop over it."""
    keep = boxes.new_zeros(boxes.shape[:2], dtype=torch.bool)
    for group, kept in zip(boxes, keep, strict=True):
        conflicts = (bev_iou_matrix(group, group) > THRESHOLD).cpu().numpy()
        open_ = np.ones(len(group), dtype=bool)
        for i in range(len(group)):
            if open_[i] and kept.sum() < POST_MAX:
                kept[i] = True
                open_ &= ~conflicts[i]
    return keep


def shapely_loop(boxes: Tensor) -> Tensor:
    """The usual loop with shapely's polygons, each looked at only while it is still open."""
    keep = torch.zeros(boxes.shape[:2], dtype=torch.bool)
    for group, kept in zip(boxes.double().tolist(), keep, strict=True):
        outlines = [outline(row) for row in group]
        remaining = list(range(len(group)))
        while remaining and kept.sum() < POST_MAX:
            best, *rest = remaining
            kept[best] = True
            remaining = [i for i in rest if iou(outlines[best], outlines[i]) <= THRESHOLD]
    return keep


def outline(row: list[float]) -> object:
    upright = box(-row[4] / 2, -row[3] / 2, row[4] / 2, row[3] / 2)
    return affinity.translate(affinity.rotate(upright, row[6], origin=(0, 0), use_radians=True), row[0], row[1])


def iou(first: object, second: object) -> float:
    common = first.intersection(second).area
    return common / (first.area + second.area - common)


def timed_ms(side: Callable[[Tensor], Tensor], boxes: Tensor) -> tuple[float, float, Tensor]:
    """Wall clock, processor time (which tells more while other programs run) and what was kept."""
    if boxes.is_cuda:
        torch.cuda.synchronize()
    start, start_processor = time.perf_counter(), time.process_time()
    kept = side(boxes)
    if boxes.is_cuda:
        torch.cuda.synchronize()
    return (time.perf_counter() - start) * 1e3, (time.process_time() - start_processor) * 1e3, kept.cpu()


def spread(values: Sequence[float], unit: str) -> str:
    return f"{statistics.median(values):.3g}{unit} ({min(values):.3g} to {max(values):.3g})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--groups", type=int, default=6)
    parser.add_argument("--boxes", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--slow-turns", type=int, default=1, help="turns of the two slow sides; 0 leaves them out")
    parser.add_argument("--threads", type=int, default=1, help="more pay on an idle machine only")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    keep_freed_memory()  # as the programs do
    device = torch.device(args.device)
    size = (args.groups, args.boxes)
    cases = {
        "100 objects": crowd(*size, 100, 50, 0.4, 0.1),
        "50 objects": crowd(*size, 50, 50, 0.4, 0.1),
        "20 objects": crowd(*size, 20, 50, 0.4, 0.1),
        "every box apart": crowd(*size, 100 * args.boxes, 500, 0, 0),
        "one object": crowd(*size, 1, 0, 0.4, 0.1),
        "one place, any heading": crowd(*size, 1, 0, 2.0, 2.0),
        "needles across each other": needles(*size),
    }
    print(f"{args.groups} groups x {args.boxes} boxes, IoU {THRESHOLD}, {args.threads} threads, {device}")
    for name, boxes in cases.items():
        compare(name, boxes.to(device), args.turns, args.slow_turns)


def compare(name: str, boxes: Tensor, turns: int, slow_turns: int) -> None:
    for _ in range(3):  # first calls pay for memory and for choosing kernels
        kept = ours(boxes).cpu()
    wall, processor, _ = zip(*(timed_ms(ours, boxes) for _ in range(turns)), strict=True)
    print(f"{name}: {kept.sum(dim=1).tolist()} kept; {spread(wall, ' ms')}, processor {spread(processor, ' ms')}")
    for other_name, other in (("all pairs in torch", all_pairs), ("shapely loop", shapely_loop)):
        theirs, ratios = [], []
        for _ in range(slow_turns):
            _, their_ms, their_kept = timed_ms(other, boxes)
            assert torch.equal(their_kept, kept), f"{other_name} keeps other boxes"
            theirs.append(their_ms)
            ratios.append(their_ms / timed_ms(ours, boxes)[1])
        if theirs:
            print(f"    {other_name}: processor {spread(theirs, ' ms')}, ratio {spread(ratios, '')}")


if __name__ == "__main__":
    main()
