"""`python -m lidar_mt.calops`: parameters and multiply-accumulates of the deployed network, part by part."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lidar_mt.config import instantiate, program
from lidar_mt.models.multitask import LidarMultiTaskNet

# Containers that get one row per child; every other module is one row.
_SPLIT = {"backbone", "backbone.levels", "neck", "neck.fusions", "heads", "heads.detection", "heads.detection.groups"}


@dataclass(frozen=True)
class PartCost:
    """What one part of the network costs.

    Attributes:
        name: module path inside the network.
        parameters: weights, biases and normalisation parameters.
        macs: multiply-accumulates of its convolutions for one sample.
    """

    name: str
    parameters: int
    macs: int


def count_operations(net: LidarMultiTaskNet, points_per_pillar: int, max_pillars: int) -> list[PartCost]:
    """Counts each part of the deployed form for one sample, without computing anything.

    Args:
        net: the network; not changed.
        points_per_pillar: M of the deployed input.
        max_pillars: V of the deployed input.

    Returns:
        The parts in graph order; together they are the whole network.
    """
    shadow = copy.deepcopy(net).to("meta").eval()
    features = torch.empty(1, 5, points_per_pillar, max_pillars, device="meta")
    coords = torch.empty(1, max_pillars, 2, dtype=torch.int64, device="meta")
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        shadow(features, coords)
    flops = {
        name.removeprefix(f"{type(net).__name__}."): sum(ops.values()) for name, ops in counter.flop_counts.items()
    }
    return [
        # torch counts a multiply-accumulate as two operations.
        PartCost(name, sum(weight.numel() for weight in module.parameters()), flops.get(name, 0) // 2)
        for name, module in _parts(shadow, "")
    ]


def _parts(module: nn.Module, prefix: str) -> list[tuple[str, nn.Module]]:
    parts: list[tuple[str, nn.Module]] = []
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        if path in _SPLIT:
            parts += _parts(child, f"{path}.")
        elif next(child.parameters(), None) is not None:
            parts.append((path, child))
    return parts


def render(costs: list[PartCost], title: str) -> Table:
    """A table of the parts and their total."""
    table = Table(title=title)
    table.add_column("part")
    table.add_column("parameters", justify="right")
    table.add_column("GMAC", justify="right")
    for cost in costs:
        table.add_row(cost.name, f"{cost.parameters:,}", f"{cost.macs / 1e9:.3f}")
    table.add_section()
    parameters, macs = sum(cost.parameters for cost in costs), sum(cost.macs for cost in costs)
    table.add_row("total", f"{parameters:,}", f"{macs / 1e9:.2f}", style="bold")
    return table


@program("calops")
def main(cfg: DictConfig) -> None:
    """Prints the table for the configured network."""
    net = instantiate(cfg.model.net)
    grid, voxelizer = instantiate(cfg.grid), cfg.model.voxelizer
    costs = count_operations(net, voxelizer.points_per_pillar, voxelizer.max_pillars_eval)
    height, width = grid.shape
    title = f"one sample, {height} x {width} cells, {voxelizer.max_pillars_eval:,} pillars; convolutions alone"
    Console().print(render(costs, title))


if __name__ == "__main__":
    main()
