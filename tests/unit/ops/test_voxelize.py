from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from lidar_mt.ops.voxelize import normalize_points, to_dense, voxelize
from lidar_mt.structures.grid import Grid
from tests.helpers.slow_pillars import as_dicts, random_pillars, voxelize_by_loop

GRID = Grid((-51.2, -51.2, -5.0, 51.2, 51.2, 3.0), (0.2, 0.2, 8.0))
SMALL = Grid((-3.2, -6.4, -1.0, 3.2, 6.4, 1.0), (0.2, 0.2, 2.0))


def cloud(seed: int, count: int, spread_m: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(count, 5, generator=generator) * torch.tensor([spread_m, 2 * spread_m, 0.6, 60.0, 0.1])
    points[:, 3:] = points[:, 3:].abs()
    return points


def border_cloud(grid: Grid, count: int) -> torch.Tensor:
    """Points on cell borders and one float32 step to either side of them."""
    generator = torch.Generator().manual_seed(5)
    points = torch.zeros(count, 5)
    cells = torch.randint(-2, grid.width + 3, (count,), generator=generator)
    points[:, 0] = (grid.point_cloud_range[0] + cells.double() * grid.voxel_size[0]).float()
    cells = torch.randint(-2, grid.height + 3, (count,), generator=generator)
    points[:, 1] = (grid.point_cloud_range[1] + cells.double() * grid.voxel_size[1]).float()
    heights = torch.tensor([grid.point_cloud_range[2], 0.0, grid.point_cloud_range[5]])
    points[:, 2] = heights[torch.randint(0, 3, (count,), generator=generator)]
    target = torch.where(torch.rand(count, 3, generator=generator) < 0.5, -torch.inf, torch.inf)
    moved = torch.rand(count, 1, generator=generator) < 0.67
    points[:, :3] = torch.where(moved, torch.nextafter(points[:, :3], target), points[:, :3])
    return points


def broken_cloud() -> torch.Tensor:
    points = cloud(4, 900)
    for column, value in enumerate((np.nan, np.inf, -np.inf, np.nan, np.inf)):
        points[column::13, column] = value
    return points


def assert_equal_to_loop(points: list[torch.Tensor], grid: Grid, max_pillars: int, points_per_pillar: int) -> None:
    pillars = voxelize(points, grid, max_pillars, points_per_pillar, normalize=False)
    expected = voxelize_by_loop(points, grid, max_pillars, points_per_pillar)
    found = as_dicts(pillars)
    assert pillars.batch_size == len(points)
    for slow, fast in zip(expected, found, strict=True):
        assert list(slow) == list(fast)
        for key, rows in slow.items():
            np.testing.assert_array_equal(np.stack(rows), np.stack(fast[key]))
    assert pillars.num_points.tolist() == [len(rows) for sample in expected for rows in sample.values()]
    assert bool((pillars.point_to_pillar.diff() >= 0).all())


@pytest.mark.parametrize(("max_pillars", "points_per_pillar"), [(40000, 20), (100, 20), (37, 3), (1, 1)])
@pytest.mark.parametrize(
    "points",
    [
        pytest.param([cloud(0, 3000), cloud(1, 400, spread_m=0.1)], id="two samples"),
        pytest.param([cloud(2, 500), torch.zeros(0, 5), cloud(3, 50, spread_m=9.0)], id="an empty sample between"),
        pytest.param([border_cloud(SMALL, 3000)], id="borders"),
        pytest.param([broken_cloud(), cloud(6, 30)], id="not finite"),
    ],
)
def test_equals_a_loop_over_points(points: list[torch.Tensor], max_pillars: int, points_per_pillar: int) -> None:
    assert_equal_to_loop(points, SMALL, max_pillars, points_per_pillar)


def test_equals_a_loop_at_the_borders_of_the_reference_grid() -> None:
    assert_equal_to_loop([border_cloud(GRID, 20000)], GRID, 40000, 20)


@pytest.mark.nuscenes
@pytest.mark.skipif("LIDAR_MT_NUSCENES" not in os.environ, reason="LIDAR_MT_NUSCENES is not set")
@pytest.mark.parametrize(("max_pillars", "points_per_pillar"), [(30000, 20), (4000, 5)])
def test_equals_a_loop_on_a_real_frame(max_pillars: int, points_per_pillar: int) -> None:
    path = sorted(Path(os.environ["LIDAR_MT_NUSCENES"]).glob("samples/LIDAR_TOP/*.pcd.bin"))[0]
    assert_equal_to_loop(
        [torch.from_numpy(np.fromfile(path, dtype=np.float32).reshape(-1, 5))], GRID, max_pillars, points_per_pillar
    )


def test_the_limit_closes_new_cells_but_not_open_ones() -> None:
    x = torch.tensor([0.1, 0.3, 0.5, 0.1, 0.5, 0.3])
    points = torch.stack([x, torch.zeros(6), torch.zeros(6), torch.arange(6.0), torch.zeros(6)], dim=1)
    pillars = voxelize([points], SMALL, max_pillars=2, points_per_pillar=20, normalize=False)
    assert pillars.coords.tolist() == [[0, 32, 16], [0, 32, 17]]
    assert pillars.features[:, 3].tolist() == [0, 3, 1, 5]
    assert pillars.num_points.tolist() == [2, 2]


def test_no_points_at_all() -> None:
    pillars = voxelize([torch.zeros(0, 5), torch.full((3, 5), 99.0)], SMALL, 10)
    assert [tuple(part.shape) for part in pillars[:4]] == [(0, 5), (0,), (0, 3), (0,)]
    dense = to_dense(pillars, 4)
    assert not dense.features.any()
    assert bool((dense.coords == -1).all())


def test_normalization_maps_the_range_to_one() -> None:
    points = torch.tensor([[-51.2, 51.2, -5.0, 0.0, 0.0], [51.2, -51.2, 3.0, 255.0, 0.45], [0, 25.6, -1, 51, 0.1]])
    expected = torch.tensor([[0, 1, 0, 0, 0], [1, 0, 1, 1, 0.45], [0.5, 0.75, 0.5, 0.2, 0.1]])
    torch.testing.assert_close(normalize_points(points, GRID), expected)
    torch.testing.assert_close(voxelize([points[2:]], GRID, 9).features, expected[2:])


def test_dense_form_holds_the_same_points() -> None:
    pillars = random_pillars(seed=0, count=40, points_per_pillar=6)
    dense = to_dense(pillars, max_pillars=55, points_per_pillar=6)
    expected = torch.zeros(2, 5, 6, 55)
    for v, (batch, row, column) in enumerate(pillars.coords.tolist()):
        assert dense.coords[batch, v % 40].tolist() == [row, column]
        mine = pillars.features[pillars.point_to_pillar == v]
        expected[batch, :, : len(mine), v % 40] = mine.T
    torch.testing.assert_close(dense.features, expected, rtol=0, atol=0)
    assert bool((dense.coords[:, 40:] == -1).all())


def test_dense_form_does_not_need_grouped_rows() -> None:
    pillars = random_pillars(seed=1, count=40)
    # Interleaves the pillars, and keeps the order within each.
    first = pillars.num_points.cumsum(0) - pillars.num_points
    slot = torch.arange(len(pillars.features)) - first[pillars.point_to_pillar]
    order = torch.argsort(slot, stable=True)
    mixed = pillars._replace(features=pillars.features[order], point_to_pillar=pillars.point_to_pillar[order])
    for one, other in zip(to_dense(pillars, 40), to_dense(mixed, 40), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_dense_form_refuses_too_many_pillars() -> None:
    with pytest.raises(ValueError, match="40 pillars, the dense form holds 39"):
        to_dense(random_pillars(seed=2, count=40), max_pillars=39)
