"""Hard voxelization: points to pillars, without a loop over points."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lidar_mt.structures.grid import Grid
from lidar_mt.structures.pillars import DensePillars, Pillars

#: Intensity of the brightest return of nuScenes; the lowest is 0.
INTENSITY_MAX = 255.0


def voxelize(
    points: Sequence[Tensor], grid: Grid, max_pillars: int, points_per_pillar: int = 20, *, normalize: bool = True
) -> Pillars:
    """Groups the points of a batch into pillars, exactly as a loop over the points in input order would.

    A point outside the range, or with a value that is not finite, is skipped. A cell becomes a pillar when its first
    point comes and the sample has fewer than `max_pillars` pillars; otherwise all its points are dropped. Of a
    pillar's points the first `points_per_pillar` are kept.

    Args:
        points: B tensors (P, 5) float32, x y z [m] in the LiDAR frame, intensity [0, 255], time lag [s].
        grid: range and cell size; a pillar is as high as the range.
        max_pillars: limit per sample.
        points_per_pillar: M, limit per pillar.
        normalize: scale the kept points as `normalize_points` does.

    Returns:
        The pillars; the rows of `features` are grouped by pillar, in input order within a pillar.

    Example:
        >>> grid = Grid((0, 0, -1, 6.4, 6.4, 1), (0.2, 0.2, 2))
        >>> points = torch.tensor([[0.1, 0.3, 0, 9, 0], [7.0, 0, 0, 9, 0], [0.1, 0.39, 0, 9, 0]])
        >>> pillars = voxelize([points], grid, max_pillars=10)
        >>> pillars.coords.tolist(), pillars.num_points.tolist()
        ([[0, 1, 0]], [2])
    """
    lengths = [len(sample) for sample in points]
    device = points[0].device
    flat = torch.cat([sample.float() for sample in points])
    batch = torch.repeat_interleave(torch.arange(len(points), device=device), torch.tensor(lengths, device=device))
    cell, inside = _cells(flat, grid)
    flat, batch = flat[inside], batch[inside]
    height, width = grid.shape

    # Stable: the points of a cell stay in input order, so the k-th of its run is the k-th that came.
    sorted_cell, order = torch.sort(cell[inside] + batch * (height * width), stable=True)
    occupied, counts = torch.unique_consecutive(sorted_cell, return_counts=True)
    run_start = counts.cumsum(0) - counts
    # Cells by the position of their first point: by sample, then in the order in which they open.
    opening = torch.argsort(order[run_start])
    opening = opening[_rank_in_sample(batch[order[run_start[opening]]], len(points)) < max_pillars]

    num_points = counts[opening].clamp(max=points_per_pillar)
    point_to_pillar = torch.repeat_interleave(torch.arange(len(opening), device=device), num_points)
    first_row = num_points.cumsum(0) - num_points
    slot = torch.arange(len(point_to_pillar), device=device) - first_row[point_to_pillar]
    features = flat[order[run_start[opening][point_to_pillar] + slot]]
    opened = occupied[opening]
    coords = torch.stack([opened // (height * width), opened // width % height, opened % width], dim=1)
    return Pillars(
        features=normalize_points(features, grid) if normalize else features,
        point_to_pillar=point_to_pillar,
        coords=coords,
        num_points=num_points,
        batch_size=len(points),
    )


def normalize_points(points: Tensor, grid: Grid) -> Tensor:
    """Scales x, y, z and intensity from the grid's range and [0, 255] to [0, 1]; the time lag stays in seconds.

    Args:
        points: (P, 5) float32, x y z [m], intensity [0, 255], time lag [s].
        grid: range of x, y, z.
    """
    low = points.new_tensor([*grid.point_cloud_range[:3], 0.0, 0.0])
    high = points.new_tensor([*grid.point_cloud_range[3:], INTENSITY_MAX, 1.0])
    return (points - low) / (high - low)


def to_dense(pillars: Pillars, max_pillars: int, points_per_pillar: int = 20) -> DensePillars:
    """Pads pillars to the fixed input shape of the deployed network.

    Args:
        pillars: the flat form, at most `max_pillars` per sample.
        max_pillars: V of the result.
        points_per_pillar: M of the result; at least the limit the pillars were built with.

    Raises:
        ValueError: a sample has more pillars than fit.
    """
    device = pillars.features.device
    batch = pillars.coords[:, 0]
    per_sample = torch.bincount(batch, minlength=pillars.batch_size)
    if len(batch) and int(per_sample.max()) > max_pillars:
        raise ValueError(f"a sample has {int(per_sample.max())} pillars, the dense form holds {max_pillars}")
    column = _rank_in_sample(batch, pillars.batch_size)
    first_row = pillars.num_points.cumsum(0) - pillars.num_points
    # Does not rely on the rows being grouped: sorts them (stably, so the order within a pillar stays).
    pillar, order = torch.sort(pillars.point_to_pillar, stable=True)
    slot = torch.arange(len(pillar), device=device) - first_row[pillar]

    shape = (pillars.batch_size, max_pillars, points_per_pillar, pillars.features.shape[1])
    features = pillars.features.new_zeros(shape)
    features[batch[pillar], column[pillar], slot] = pillars.features[order]
    coords = torch.full((pillars.batch_size, max_pillars, 2), -1, dtype=torch.int64, device=device)
    coords[batch, column] = pillars.coords[:, 1:]
    return DensePillars(features.permute(0, 3, 2, 1).contiguous(), coords)


def _cells(points: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Flat cell index (row-major) of each point, and whether the point counts; the index is meaningless if not."""
    height, width = grid.shape
    low = points.new_tensor(grid.point_cloud_range[:3])
    # Divided by a tensor: by a plain number, CUDA multiplies with the reciprocal and borders shift by one rounding.
    size = points.new_tensor(grid.voxel_size)
    index = torch.floor((points[:, :3] - low) / size)
    layers = round((grid.point_cloud_range[5] - grid.point_cloud_range[2]) / grid.voxel_size[2])
    inside = (index >= 0) & (index < index.new_tensor([width, height, layers]))
    finite = torch.isfinite(points).all(dim=1)
    column_row = torch.where(finite[:, None], index[:, :2], 0).long()
    return column_row[:, 1] * width + column_row[:, 0], inside.all(dim=1) & finite


def _rank_in_sample(batch: Tensor, batch_size: int) -> Tensor:
    """Position of each row among the rows of its sample; `batch` (V,) is sorted."""
    per_sample = torch.bincount(batch, minlength=batch_size)
    first = per_sample.cumsum(0) - per_sample
    return torch.arange(len(batch), device=batch.device) - first[batch]
