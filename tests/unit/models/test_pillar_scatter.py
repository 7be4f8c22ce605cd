from __future__ import annotations

import torch

from lidar_mt.models.pillar_scatter import PillarScatter
from lidar_mt.ops.voxelize import to_dense
from lidar_mt.structures.grid import Grid
from tests.helpers.slow_pillars import random_pillars


def test_both_forms_fill_the_grid_alike() -> None:
    scatter = PillarScatter(Grid((0, 0, -1, 6.4, 12.8, 1), (0.2, 0.2, 2)))
    pillars = random_pillars(0, count=100)
    dense = to_dense(pillars, 130)
    rows = torch.randn(200, 8)
    padded = torch.randn(2, 8, 130)  # padding carries values, and must not show
    padded[:, :, :100] = rows.view(2, 100, 8).transpose(1, 2)
    canvas = scatter.forward_rows(rows, pillars)
    assert canvas.shape == (2, 8, 64, 32)
    torch.testing.assert_close(scatter(padded, dense.coords), canvas, rtol=0, atol=0)
    batch, row, column = pillars.coords[123].tolist()
    torch.testing.assert_close(canvas[batch, :, row, column], rows[123], rtol=0, atol=0)
    assert int(canvas.any(dim=1).sum()) == 200
