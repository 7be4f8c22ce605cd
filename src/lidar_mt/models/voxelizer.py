"""Points to pillars, as a module: ours in torch, or spconv's PointToVoxel."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from lidar_mt.ops.voxelize import normalize_points, voxelize
from lidar_mt.structures.errors import ConfigError
from lidar_mt.structures.grid import Grid
from lidar_mt.structures.pillars import Pillars


class Voxelizer(nn.Module):
    """Hard voxelization in torch, on any device. It stands before the exported network.

    Args:
        grid: range and cell size; the cells must be as high as the range.
        points_per_pillar: M, points kept per pillar.
        max_pillars_train: pillars per sample in training mode.
        max_pillars_eval: pillars per sample in evaluation mode, and of the deployed network's input.

    Raises:
        ConfigError: the grid has more than one layer of cells, or a limit is not positive.

    Source: PointPillars, Lang et al. 2019, section 2.1; limits of the reference network.
    """

    def __init__(
        self, grid: Grid, points_per_pillar: int = 20, max_pillars_train: int = 30000, max_pillars_eval: int = 40000
    ) -> None:
        super().__init__()
        height_m = grid.point_cloud_range[5] - grid.point_cloud_range[2]
        if not math.isclose(height_m, grid.voxel_size[2]):
            raise ConfigError(
                f"grid: pillars must be as high as the range ({height_m:g} m),"
                f" got voxel_size z {grid.voxel_size[2]:g} m"
            )
        if min(points_per_pillar, max_pillars_train, max_pillars_eval) < 1:
            raise ConfigError(
                "voxelizer: points_per_pillar, max_pillars_train and max_pillars_eval must be positive, got "
                f"{points_per_pillar}, {max_pillars_train} and {max_pillars_eval}"
            )
        self.grid = grid
        self.points_per_pillar = points_per_pillar
        self.max_pillars_train = max_pillars_train
        self.max_pillars_eval = max_pillars_eval

    @property
    def max_pillars(self) -> int:
        """Pillars per sample in the present mode."""
        return self.max_pillars_train if self.training else self.max_pillars_eval

    @torch.no_grad()
    def forward(self, points: list[Tensor]) -> Pillars:
        """Groups a batch of point clouds.

        Args:
            points: B tensors (P, 5) float32, see `Batch.points`.
        """
        return voxelize(points, self.grid, self.max_pillars, self.points_per_pillar)


class SpconvVoxelizer(Voxelizer):
    """The same through spconv's PointToVoxel.

    On a CPU the pillars and their points are those of `Voxelizer`. On a GPU threads race: while no limit is reached
    the same cells open, but their order, and which of a cell's more than `points_per_pillar` points stay, is spconv's
    own choice and may change from run to run; so does the choice of pillars when a sample has more than the limit.

    Args:
        grid: as in `Voxelizer`.
        points_per_pillar: as in `Voxelizer`.
        max_pillars_train: as in `Voxelizer`.
        max_pillars_eval: as in `Voxelizer`.

    Raises:
        ConfigError: spconv is not installed, or as in `Voxelizer`.
    """

    def __init__(
        self, grid: Grid, points_per_pillar: int = 20, max_pillars_train: int = 30000, max_pillars_eval: int = 40000
    ) -> None:
        super().__init__(grid, points_per_pillar, max_pillars_train, max_pillars_eval)
        self._point_to_voxel = _import_point_to_voxel()
        # One generator per device and limit: each allocates its own hash table or grid.
        self._generators: dict[tuple[torch.device, int], Any] = {}

    @torch.no_grad()
    def forward(self, points: list[Tensor]) -> Pillars:
        """Groups a batch of point clouds.

        Args:
            points: B tensors (P, 5) float32, see `Batch.points`.
        """
        parts = [self._sample(sample.float()) for sample in points]
        features, coords, counts = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        batch = torch.repeat_interleave(
            torch.arange(len(points), device=coords.device),
            torch.tensor([len(part[1]) for part in parts], device=coords.device),
        )
        return Pillars(
            features=normalize_points(features, self.grid),
            point_to_pillar=torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts),
            coords=torch.cat([batch[:, None], coords], dim=1),
            num_points=counts,
            batch_size=len(points),
        )

    def _sample(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Kept points (P, 5) grouped by pillar, row and column (V, 2) and number of points (V,) of one sample."""
        points = points[torch.isfinite(points).all(dim=1)].contiguous()
        voxels, layer_row_column, counts = self._generator(points.device)(points)
        counts = counts.long()
        filled = torch.arange(self.points_per_pillar, device=counts.device) < counts[:, None]
        return voxels[filled], layer_row_column[:, 1:].long(), counts

    def _generator(self, device: torch.device) -> Any:
        key = (device, self.max_pillars)
        if key not in self._generators:
            self._generators[key] = self._point_to_voxel(
                vsize_xyz=list(self.grid.voxel_size),
                coors_range_xyz=list(self.grid.point_cloud_range),
                num_point_features=5,
                max_num_voxels=self.max_pillars,
                max_num_points_per_voxel=self.points_per_pillar,
                device=device,
            )
        return self._generators[key]


def _import_point_to_voxel() -> Any:
    try:
        from spconv.pytorch.utils import PointToVoxel
    except (ImportError, OSError) as error:
        raise ConfigError(
            f"model/voxelizer=spconv needs spconv, which cannot be imported ({error}); run "
            "`pip install 'lidar_mt[spconv]'` (Linux, Python before 3.12), or leave model/voxelizer=torch"
        ) from error
    return PointToVoxel
