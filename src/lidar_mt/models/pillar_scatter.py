"""From pillar features to the BEV canvas."""

from __future__ import annotations

from torch import Tensor, nn

from lidar_mt.ops.scatter import scatter_dense, scatter_rows
from lidar_mt.structures.grid import Grid
from lidar_mt.structures.pillars import Pillars


class PillarScatter(nn.Module):
    """Writes each pillar's features into its cell; the rest of the canvas is zero.

    Args:
        grid: gives the canvas's rows and columns.
    """

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.shape = grid.shape

    def forward(self, features: Tensor, coords: Tensor) -> Tensor:
        """Scatters padded pillars.

        Args:
            features: (B, C, V) float32.
            coords: (B, V, 2) int64 row, column; -1, -1 for padding.

        Returns:
            (B, C, H, W) in channels-last memory.
        """
        return scatter_dense(features, coords, self.shape)

    def forward_rows(self, rows: Tensor, pillars: Pillars) -> Tensor:
        """Scatters pillars in flat form.

        Args:
            rows: (V, C) features of the pillars.
            pillars: where they lie.

        Returns:
            (B, C, H, W) in channels-last memory.
        """
        return scatter_rows(rows, pillars.coords, pillars.batch_size, self.shape)
