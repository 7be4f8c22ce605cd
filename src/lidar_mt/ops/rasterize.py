"""From labelled points to a bird's-eye label map."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lidar_mt.structures.classes import LIDARSEG_DRIVEABLE
from lidar_mt.structures.errors import DataError
from lidar_mt.structures.grid import Grid

IGNORED = -1
OTHERS, DRIVEABLE_SURFACE = 0, 1

# Points on the rim are left out, so that rounding cannot place one beyond the last cell.
_RIM_M = 1e-3


def rasterize_labels(points: npt.NDArray[Any], lidarseg: npt.NDArray[Any], grid: Grid) -> npt.NDArray[np.int64]:
    """Lets each keyframe point vote for its cell.

    Points strictly inside the range shrunk by 1 mm on all three axes count. The majority of a cell wins, a tie goes to
    `OTHERS`, a cell without a vote is `IGNORED`.

    Args:
        points: (P, >=3) float, x y z [m] in the LiDAR frame; keyframe points only, in the labels' order.
        lidarseg: (P,) integer raw nuScenes-lidarseg indices.
        grid: range and cell size.

    Returns:
        (H, W) int64, row = y and column = x: 1 driveable surface, 0 others, -1 ignored.

    Raises:
        DataError: there is not one label per point.
    """
    if len(points) != len(lidarseg):
        raise DataError(
            f"expected one lidarseg label per keyframe point, got {len(lidarseg)} labels for {len(points)} points; "
            "the label map must be built before points are dropped, added or shuffled"
        )
    xyz = np.asarray(points[:, :3], dtype=np.float64)
    low, high = np.array(grid.point_cloud_range[:3]), np.array(grid.point_cloud_range[3:])
    inside = ((xyz > low + _RIM_M) & (xyz < high - _RIM_M)).all(axis=1)
    column, row = np.floor((xyz[inside, :2] - low[:2]) / np.array(grid.voxel_size[:2])).astype(np.int64).T
    is_driveable = lidarseg[inside] == LIDARSEG_DRIVEABLE
    # One count per cell and class: cell * 2 + class.
    votes = np.bincount((row * grid.width + column) * 2 + is_driveable, minlength=2 * grid.height * grid.width)
    others, driveable = votes.reshape(grid.height, grid.width, 2).transpose(2, 0, 1)
    labels = np.where(driveable > others, DRIVEABLE_SURFACE, OTHERS)
    return np.where(others + driveable > 0, labels, IGNORED).astype(np.int64)
