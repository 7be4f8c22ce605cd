"""Running a function on several gloo ranks of one machine and getting what each of them returns."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed
import torch.multiprocessing


def run_ranks(function: Callable[..., Any], folder: Path, *args: Any, world_size: int = 2) -> list[Any]:
    """Calls `function(rank, *args)` in fresh processes; what it returns must be JSON."""
    torch.multiprocessing.spawn(_rank, args=(world_size, str(folder), function, args), nprocs=world_size)
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(world_size)]


def _rank(rank: int, world_size: int, folder: str, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/init", rank=rank, world_size=world_size)
    try:
        Path(folder, f"rank{rank}.json").write_text(json.dumps(function(rank, *args)))
    finally:
        torch.distributed.destroy_process_group()


def bev_iou_of_rank(rank: int, maps: list[tuple[torch.Tensor, torch.Tensor]], names: list[str]) -> dict[str, float]:
    """Every second label map goes to rank 1."""
    from lidar_mt.metrics.bev_iou import BevIoU

    metric = BevIoU(names)
    for pred, target in maps[rank::2]:
        metric.update(pred[None], target[None])
    return metric.compute()


def detection_metric_of_rank(rank: int, root: str, version: str, sets: list[Any], out_dir: str) -> dict[str, Any]:
    """Scores each set of samples spread over the ranks and all on rank 1; then samples that fit no split."""
    from lidar_mt.metrics.nuscenes_detection import NuScenesDetectionMetric
    from lidar_mt.structures.errors import LidarMtError

    metric = NuScenesDetectionMetric(root, version, "val", out_dir)

    def score(samples: list[Any]) -> dict[str, float]:
        metric.reset()
        for token, detections, ego_from_lidar, global_from_ego in samples:
            metric.update([token], [detections], ego_from_lidar[None], global_from_ego[None])
        return metric.compute()

    # A sampler that pads gives the first sample of rank 0 to rank 1 as well.
    spread = [score(samples[rank::2] + samples[:1] * rank) for samples in sets]
    lopsided = [score(samples * rank) for samples in sets]
    failure = ""
    try:
        score([(f"foreign{rank}", *sets[0][0][1:])])
    except LidarMtError as error:
        failure = str(error)
    return {"spread": spread, "lopsided": lopsided, "failure": failure}
