"""From boxes to the maps that the detection head is trained on."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lidar_mt.ops.gaussian import draw_gaussians, gaussian_radius
from lidar_mt.structures.boxes import VX, VY, YAW, H, L, W, X, Y, Z
from lidar_mt.structures.classes import Classes
from lidar_mt.structures.grid import Grid
from lidar_mt.structures.sample import Batch

# Name and number of channels of each regression output; the order is that of the values below.
REGRESSION = {"reg": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2}


class GroupTarget(NamedTuple):
    """What one class group is trained on. M slots per sample, one per box of the group, in the boxes' order.

    Attributes:
        heatmap: (B, K, H, W) float32 in [0, 1], exactly 1 in the cells of box centres.
        cell: (B, M) int64 row * W + column of each slot's box; 0 in empty slots.
        mask: (B, M) bool, True where a slot holds a box.
        regression: by output name, (B, M, C) float32: what the maps must say in the slot's cell, see
            `structures.outputs.GroupOutput`. NaN where unknown (velocity), which carries no weight.
    """

    heatmap: Tensor
    cell: Tensor
    mask: Tensor
    regression: dict[str, Tensor]


def group_names(classes: Classes) -> tuple[str, ...]:
    """Name of each class group: its class names joined by a hyphen."""
    return tuple("-".join(group) for group in classes.groups)


class DetectionTarget:
    """Builds the targets of all class groups of a batch at once.

    A box counts if its label is not -1, its size is positive, its numbers (but the velocity) are finite and its centre
    cell, by truncation towards zero, lies on the map. So a centre less than one cell below the lower bound still
    counts, in the border cell and with a negative sub-cell offset.

    Args:
        grid: range and resolution.
        classes: class groups.
        max_objects: boxes per group and sample that are used, the first ones in the boxes' order.
        min_overlap: IoU that the heatmap radius must keep, see `ops.gaussian.gaussian_radius`.
        min_radius: least heatmap radius [cells].

    Source: Yin et al., Center-based 3D Object Detection and Tracking, CVPR 2021, section 4.
    """

    def __init__(
        self, grid: Grid, classes: Classes, max_objects: int = 500, min_overlap: float = 0.1, min_radius: int = 2
    ) -> None:
        self.grid = grid
        self.max_objects = max_objects
        self.min_overlap = min_overlap
        self.min_radius = min_radius
        self._sizes = [len(group) for group in classes.groups]
        # Group of each label, and its map when the maps of all groups lie one after the other.
        self._group_of_label = torch.zeros(len(classes.detection), dtype=torch.long)
        self._map_of_label = torch.zeros(len(classes.detection), dtype=torch.long)
        grouped = [(group, label) for group, labels in enumerate(classes.group_labels) for label in labels]
        for map_index, (group, label) in enumerate(grouped):
            self._group_of_label[label] = group
            self._map_of_label[label] = map_index

    def __call__(self, batch: Batch) -> tuple[GroupTarget, ...]:
        """Targets of each class group, in the groups' order, on the boxes' device."""
        boxes, labels = torch.cat(batch.boxes), torch.cat(batch.labels)
        counts = torch.tensor([len(b) for b in batch.boxes], device=boxes.device)
        sample = torch.repeat_interleave(torch.arange(len(counts), device=boxes.device), counts)
        known = labels >= 0
        boxes, labels, sample = boxes[known].double(), labels[known], sample[known]

        group = self._group_of_label.to(boxes.device)[labels]
        slot = _rank_within(sample * len(self._sizes) + group)
        centre = self._centre_in_cells(boxes)
        cell = centre.trunc()
        used = (slot < self.max_objects) & _is_usable(boxes) & self._is_on_map(cell)
        boxes, labels, sample, group, slot = (v[used] for v in (boxes, labels, sample, group, slot))
        centre, column, row = centre[used], cell[used, 0].long(), cell[used, 1].long()

        heatmap = self._heatmap(len(counts), boxes, sample * sum(self._sizes) + self._map_of(labels), row, column)
        offset = centre - torch.stack([column, row], dim=1)
        table = _SlotTable(len(counts), len(self._sizes), self.max_objects, boxes.device)
        table.fill(sample, group, slot, row * self.grid.head_shape[1] + column, _regression_values(boxes, offset))
        return tuple(
            GroupTarget(maps, table.cell[:, g], table.mask[:, g], table.regression(g))
            for g, maps in enumerate(torch.split(heatmap, self._sizes, dim=1))
        )

    def _map_of(self, labels: Tensor) -> Tensor:
        return self._map_of_label.to(labels.device)[labels]

    def _centre_in_cells(self, boxes: Tensor) -> Tensor:
        low, size = self.grid.point_cloud_range[:2], self.grid.head_cell_size
        return (boxes[:, [X, Y]] - boxes.new_tensor(low)) / boxes.new_tensor(size)

    def _is_on_map(self, cell: Tensor) -> Tensor:
        height, width = self.grid.head_shape
        return ((cell >= 0) & (cell < cell.new_tensor([width, height]))).all(dim=1)

    def _heatmap(self, batch_size: int, boxes: Tensor, channel: Tensor, row: Tensor, column: Tensor) -> Tensor:
        cell_x, cell_y = self.grid.head_cell_size
        # Width over cells in x and length over cells in y, whatever the heading: cells are square in practice.
        radius = gaussian_radius(boxes[:, L] / cell_y, boxes[:, W] / cell_x, self.min_overlap)
        radius = radius.long().clamp(min=self.min_radius)
        maps = sum(self._sizes)
        shape = (batch_size * maps, *self.grid.head_shape)
        return draw_gaussians(shape, channel, row, column, radius).view(batch_size, maps, *self.grid.head_shape)


class _SlotTable:
    """Cell, mask and regression values of all groups, filled in one go."""

    def __init__(self, batch_size: int, groups: int, max_objects: int, device: torch.device) -> None:
        shape = (batch_size, groups, max_objects)
        self.cell = torch.zeros(shape, dtype=torch.long, device=device)
        self.mask = torch.zeros(shape, dtype=torch.bool, device=device)
        self._values = torch.zeros((*shape, sum(REGRESSION.values())), device=device)

    def fill(self, sample: Tensor, group: Tensor, slot: Tensor, cell: Tensor, values: Tensor) -> None:
        place = (sample, group, slot)
        self.cell[place] = cell
        self.mask[place] = True
        self._values[place] = values

    def regression(self, group: int) -> dict[str, Tensor]:
        parts = torch.split(self._values[:, group], list(REGRESSION.values()), dim=-1)
        return dict(zip(REGRESSION, parts, strict=True))


def _rank_within(key: Tensor) -> Tensor:
    """How many earlier entries have the same key: (N,) int64."""
    order = torch.argsort(key, stable=True)
    ordered = key[order]
    first = torch.searchsorted(ordered, ordered)
    rank = torch.empty_like(key)
    rank[order] = torch.arange(len(key), device=key.device) - first
    return rank


def _is_usable(boxes: Tensor) -> Tensor:
    """Whether a box can be encoded. A height without a logarithm would poison the loss just as a width would."""
    return torch.isfinite(boxes[:, : YAW + 1]).all(dim=1) & (boxes[:, [W, L, H]] > 0).all(dim=1)


def _regression_values(boxes: Tensor, offset: Tensor) -> Tensor:
    """Values of every regression output, (N, 10) float32 in the order of `REGRESSION`."""
    parts = {
        "reg": offset,
        "height": boxes[:, [Z]],
        "dim": boxes[:, [W, L, H]].log(),
        "rot": torch.stack([boxes[:, YAW].sin(), boxes[:, YAW].cos()], dim=1),
        "vel": boxes[:, [VX, VY]],
    }
    return torch.cat([parts[name] for name in REGRESSION], dim=1).float()
