"""What a map answers, and where the cells of a sample's grid lie on it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from lidar_mt.structures.grid import Grid
from lidar_mt.structures.sample import Sample


class DriveableMap(Protocol):
    """A map in the global frame."""

    def driveable(self, global_from_cell: npt.NDArray[np.float64], shape: tuple[int, int], /) -> npt.NDArray[np.bool_]:
        """Where a grid's cell centres lie on driveable surface.

        Args:
            global_from_cell: (2, 3) affine transform of (column, row, 1) to x, y [m] in the global frame; whole numbers
                are cell centres.
            shape: (H, W) of the grid.

        Returns:
            (H, W) bool.
        """
        ...


def global_from_cell(sample: Sample, grid: Grid) -> npt.NDArray[np.float64]:
    """Where the cells of an augmented sample lie on the map.

    A cell is looked at where its column of space meets the ground, taken as the ego frame's x-y plane: the LiDAR is
    mounted 1.8 m above it and not quite level, so that the map would otherwise shift by some centimetres.

    Args:
        sample: its poses and `augmented_from_lidar` are used.
        grid: range and cell size.

    Returns:
        (2, 3) float64 affine transform of (column, row, 1), whole numbers at cell centres, to global x, y [m].
    """
    ego_from_augmented = sample.ego_from_lidar @ np.linalg.inv(sample.augmented_from_lidar)
    global_from_augmented = sample.global_from_ego @ ego_from_augmented
    # (x, y, 1) in the augmented LiDAR frame to (x, y, z, 1) on the plane z = 0 of the ego frame.
    lift = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]])
    lift[2] = -ego_from_augmented[2, [0, 1, 3]] / ego_from_augmented[2, 2]
    (x0, y0), (size_x, size_y) = grid.point_cloud_range[:2], grid.voxel_size[:2]
    xy_from_cell = np.array([[size_x, 0, x0 + size_x / 2], [0, size_y, y0 + size_y / 2], [0, 0, 1]])
    out: npt.NDArray[np.float64] = (global_from_augmented @ lift @ xy_from_cell)[:2]
    return out
