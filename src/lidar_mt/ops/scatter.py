"""Pillar rows onto the BEV canvas."""

from __future__ import annotations

import torch
from torch import Tensor


def scatter_rows(rows: Tensor, coords: Tensor, batch_size: int, shape: tuple[int, int]) -> Tensor:
    """Writes one row per pillar into an empty canvas.

    Args:
        rows: (V, C) float.
        coords: (V, 3) int64 batch index, row, column; no cell twice.
        batch_size: B.
        shape: H, W of the canvas.

    Returns:
        (B, C, H, W) in channels-last memory, zero where no pillar lies.

    Example:
        >>> canvas = scatter_rows(torch.ones(1, 3), torch.tensor([[0, 1, 0]]), 1, (2, 2))
        >>> canvas[0, 0].tolist()
        [[0.0, 0.0], [1.0, 0.0]]
    """
    height, width = shape
    canvas = rows.new_zeros(batch_size * height * width, rows.shape[1])
    canvas[(coords[:, 0] * height + coords[:, 1]) * width + coords[:, 2]] = rows
    return canvas.view(batch_size, height, width, -1).permute(0, 3, 1, 2)


def scatter_dense(features: Tensor, coords: Tensor, shape: tuple[int, int]) -> Tensor:
    """Writes padded pillars into an empty canvas: the form that is exported.

    Args:
        features: (B, C, V) float.
        coords: (B, V, 2) int64 row, column; a pillar with a negative row is padding and is not written.
        shape: H, W of the canvas.

    Returns:
        (B, C, H, W) in channels-last memory, zero where no pillar lies.
    """
    height, width = shape
    batch_size, channels, _ = features.shape
    cells = height * width
    row, column = coords[..., 0], coords[..., 1]
    base = torch.arange(batch_size, device=coords.device)[:, None] * cells
    # Padding goes to one spare row behind the canvas: a mask would make the graph's shapes depend on the data.
    index = torch.where(row >= 0, base + row * width + column, batch_size * cells)
    canvas = features.new_zeros(batch_size * cells + 1, channels)
    canvas[index.reshape(-1)] = features.transpose(1, 2).reshape(-1, channels)
    return canvas[:-1].view(batch_size, height, width, channels).permute(0, 3, 1, 2)
