"""Reading maps at chosen cells."""

from __future__ import annotations

from torch import Tensor


def gather_cells(maps: Tensor, cell: Tensor) -> Tensor:
    """Values of maps at given cells.

    Args:
        maps: (B, C, H, W) float.
        cell: (B, M) int64 row * W + column.

    Returns:
        (B, M, C) same dtype.
    """
    return maps.flatten(2).gather(2, cell[:, None, :].expand(-1, maps.shape[1], -1)).transpose(1, 2)
