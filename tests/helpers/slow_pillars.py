"""Voxelization and the pillar encoder written as loops over points, straight from their definitions."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.distributed
from torch import Tensor

from lidar_mt.models.pillar_encoder import PillarEncoder
from lidar_mt.structures.grid import Grid
from lidar_mt.structures.pillars import Pillars
from tests.helpers.networks import randomize_norms


def voxelize_by_loop(points: list[Tensor], grid: Grid, max_pillars: int, points_per_pillar: int) -> list[dict]:
    """One ordered dict per sample: (row, column) -> list of kept raw points, in float32 arithmetic."""
    low = np.array(grid.point_cloud_range[:3], dtype=np.float32)
    size = np.array(grid.voxel_size, dtype=np.float32)
    samples = []
    for sample in points:
        pillars: dict[tuple[int, int], list[np.ndarray]] = {}
        for point in sample.numpy():
            if not all(math.isfinite(value) for value in point):
                continue
            x, y, z = (math.floor(float((point[axis] - low[axis]) / size[axis])) for axis in range(3))
            if not (0 <= x < grid.width and 0 <= y < grid.height and z == 0):
                continue
            if (y, x) not in pillars:
                if len(pillars) == max_pillars:
                    continue
                pillars[y, x] = []
            if len(pillars[y, x]) < points_per_pillar:
                pillars[y, x].append(point)
        samples.append(pillars)
    return samples


def as_dicts(pillars: Pillars) -> list[dict]:
    """Pillars in the form of `voxelize_by_loop`, keeping the order of pillars and of points."""
    samples: list[dict] = [{} for _ in range(pillars.batch_size)]
    keys = [tuple(row) for row in pillars.coords.tolist()]
    for sample, row, column in keys:
        samples[sample][row, column] = []
    for feature, pillar in zip(pillars.features.numpy(), pillars.point_to_pillar.tolist(), strict=True):
        sample, row, column = keys[pillar]
        samples[sample][row, column].append(feature)
    return samples


def random_pillars(
    seed: int, batch_size: int = 2, count: int = 150, side: int = 32, points_per_pillar: int = 20
) -> Pillars:
    """Pillars with 1 to `points_per_pillar` random points, some full, some with twice the same point."""
    generator = torch.Generator().manual_seed(seed)
    num_points = torch.randint(1, points_per_pillar + 1, (batch_size * count,), generator=generator)
    num_points[::7] = points_per_pillar
    features = torch.rand(int(num_points.sum()), 5, generator=generator)
    features[1::5] = features[::5][: len(features[1::5])]
    cells = torch.cat([torch.randperm(side * side, generator=generator)[:count] for _ in range(batch_size)])
    batch = torch.arange(batch_size).repeat_interleave(count)
    return Pillars(
        features=features,
        point_to_pillar=torch.arange(batch_size * count).repeat_interleave(num_points),
        coords=torch.stack([batch, cells // side, cells % side], dim=1),
        num_points=num_points,
        batch_size=batch_size,
    )


def make_encoder(seed: int = 0) -> PillarEncoder:
    torch.manual_seed(seed)
    encoder = PillarEncoder()
    randomize_norms(encoder)
    encoder.point.norm.num_batches_tracked.fill_(1000)  # the running average is past its start
    return encoder.to(memory_format=torch.channels_last)


def encoder_step(encoder: PillarEncoder, pillars: Pillars) -> dict[str, Tensor]:
    """Gradients and running statistics after one step whose loss weighs every output differently."""
    out = encoder.train().forward_points(pillars)
    place = (pillars.coords[:, 1:2] * 32 + pillars.coords[:, 2:]) * 64 + torch.arange(64)
    (out * torch.sin(place)).sum().backward()
    state = {name: value for name, value in encoder.named_buffers() if value.is_floating_point()}
    return {**state, **{name: value.grad for name, value in encoder.named_parameters()}}


def encoder_step_of_rank(rank: int, counts: tuple[int, int]) -> dict[str, list]:
    """The step of one rank with synchronised normalisation; gradients summed over the ranks."""
    encoder = torch.nn.SyncBatchNorm.convert_sync_batchnorm(make_encoder())
    result = encoder_step(encoder, random_pillars(rank, batch_size=1, count=counts[rank]))
    for name, _ in encoder.named_parameters():
        torch.distributed.all_reduce(result[name])
    return {name: value.tolist() for name, value in result.items()}
