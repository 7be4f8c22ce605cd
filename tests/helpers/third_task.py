"""A task beside detection and segmentation: which cells at the heads' stride hold a point."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric

from lidar_mt.structures.grid import Grid
from lidar_mt.structures.sample import Batch


class OccupancyOutput(NamedTuple):
    """(B, 1, h, w) logits."""

    logits: Tensor


class OccupancyHead(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.classifier = nn.Conv2d(in_channels, 1, 1)

    def forward(self, x: Tensor) -> OccupancyOutput:
        return OccupancyOutput(self.classifier(x))


class OccupancyTarget:
    def __init__(self, grid: Grid) -> None:
        self.grid = grid

    def __call__(self, batch: Batch) -> Tensor:
        return occupied(batch, self.grid)


class OccupancyLoss:
    terms = ("cross_entropy",)

    def __call__(self, output: OccupancyOutput, target: Tensor) -> dict[str, Tensor]:
        return {"cross_entropy": F.binary_cross_entropy_with_logits(output.logits[:, 0].float(), target.float())}


class OccupancyDecoder:
    def __call__(self, output: OccupancyOutput) -> Tensor:
        return output.logits[:, 0] > 0


class OccupancyMetric(Metric):
    """Share of the cells that are told right, and how many cells there were; a score that is never defined."""

    score_names = ("occupancy_accuracy", "cells", "undefined")
    right: Tensor
    total: Tensor

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.grid = grid
        for name in ("right", "total"):
            self.add_state(name, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predictions: Tensor, target: Tensor) -> None:
        self.right += (predictions == target).sum()
        self.total += target.numel()

    def update_batch(self, predictions: Tensor, batch: Batch) -> None:
        self.update(predictions, occupied(batch, self.grid))

    def compute(self) -> dict[str, float]:
        # In another order than they are told.
        return {
            "undefined": float("nan"),
            "cells": float(self.total),
            "occupancy_accuracy": float(self.right / self.total),
        }


def occupied(batch: Batch, grid: Grid) -> Tensor:
    """(B, h, w) bool."""
    height, width = grid.head_shape
    low = batch.points[0].new_tensor(grid.point_cloud_range[:2])
    size = batch.points[0].new_tensor(grid.head_cell_size)
    maps = torch.zeros(len(batch), height, width, dtype=torch.bool, device=low.device)
    for number, points in enumerate(batch.points):
        column, row = ((points[:, :2] - low) / size).floor().long().T
        inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
        maps[number, row[inside], column[inside]] = True
    return maps
