"""Gaussian peaks on heatmaps, as centre-based detectors are trained on them."""

from __future__ import annotations

import torch
from torch import Tensor


def gaussian_radius(length: Tensor, width: Tensor, min_overlap: float) -> Tensor:
    """Radius within which two shifted corners still give a box that overlaps the original enough.

    Three cases are solved for an axis-aligned box whose two corners move by the radius: one corner inwards and one
    outwards (a shifted box), both inwards (a smaller box), both outwards (a larger one). The least of the three holds.

    Args:
        length: (N,) float, positive, in cells.
        width: (N,) float, positive, in cells.
        min_overlap: IoU that must remain, in (0, 1).

    Returns:
        (N,) same dtype, in cells, not rounded.

    Example:
        >>> gaussian_radius(torch.tensor([10.0]), torch.tensor([10.0]), 0.25).tolist()
        [2.5]

    Source: Law and Deng, CornerNet, ECCV 2018, section 3.2.
    """
    both, area = length + width, length * width
    # shifted: IoU = (l-r)(w-r) / (2lw - (l-r)(w-r)), so r^2 - (l+w) r + lw (1-t)/(1+t) = 0
    shifted = _smaller_root(1.0, both, area * (1 - min_overlap) / (1 + min_overlap))
    # smaller: IoU = (l-2r)(w-2r) / lw, so 4 r^2 - 2 (l+w) r + lw (1-t) = 0
    smaller = _smaller_root(4.0, 2 * both, area * (1 - min_overlap))
    # larger: IoU = lw / (l+2r)(w+2r), so 4 t r^2 + 2 t (l+w) r - lw (1-t) = 0
    half = 2 * min_overlap * both
    root = torch.sqrt(half**2 + 16 * min_overlap * (1 - min_overlap) * area)
    larger = (root - half) / (8 * min_overlap)
    return torch.minimum(torch.minimum(shifted, smaller), larger)


def _smaller_root(a: float, b: Tensor, c: Tensor) -> Tensor:
    """Smaller root of a r^2 - b r + c = 0."""
    return (b - torch.sqrt(b**2 - 4 * a * c)) / (2 * a)


def draw_gaussians(shape: tuple[int, int, int], channel: Tensor, row: Tensor, column: Tensor, radius: Tensor) -> Tensor:
    """Draws square Gaussian windows of height 1 and merges them by their maximum.

    A window spans 2 r + 1 cells on each side with sigma = (2 r + 1) / 6; what falls outside the map is cut off.

    Args:
        shape: (C, H, W) of the maps.
        channel: (N,) int64 map that each peak is drawn on.
        row: (N,) int64 row of each peak, inside the map.
        column: (N,) int64 column of each peak, inside the map.
        radius: (N,) int64, >= 0 [cells].

    Returns:
        (C, H, W) float32 in [0, 1], exactly 1 at the peaks.

    Source: Zhou et al., Objects as Points, 2019, section 3.
    """
    channels, height, width = shape
    maps = torch.zeros(channels * height * width, device=row.device)
    if len(row) == 0:
        return maps.view(shape)
    # One window size for all peaks keeps this a single scatter; smaller peaks are masked inside it.
    reach = min(int(radius.max()), max(height, width))
    offset = torch.arange(-reach, reach + 1, device=row.device)
    d_row, d_column = offset.view(1, -1, 1), offset.view(1, 1, -1)
    rows, columns, limit = row.view(-1, 1, 1) + d_row, column.view(-1, 1, 1) + d_column, radius.view(-1, 1, 1)
    sigma = (2 * limit + 1).float() / 6
    value = torch.exp(-(d_row**2 + d_column**2) / (2 * sigma**2))
    drawn = (d_row.abs() <= limit) & (d_column.abs() <= limit)
    drawn = drawn & (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    cell = (channel.view(-1, 1, 1) * height + rows) * width + columns
    # A masked cell writes 0 to cell 0, which a maximum ignores: cheaper than selecting.
    maps.scatter_reduce_(0, torch.where(drawn, cell, 0).flatten(), torch.where(drawn, value, 0.0).flatten(), "amax")
    return maps.view(shape)
