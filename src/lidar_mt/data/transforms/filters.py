"""Transforms that drop boxes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from lidar_mt.structures.boxes import bev_corners
from lidar_mt.structures.grid import Grid
from lidar_mt.structures.sample import Sample


class KeepDetectionClasses:
    """Drops boxes of no detection class."""

    def __call__(self, sample: Sample, _rng: np.random.Generator) -> Sample:
        """Keeps boxes with a label."""
        keep = sample.labels >= 0
        return replace(sample, boxes=sample.boxes[keep], labels=sample.labels[keep])


class RangeFilter:
    """Drops boxes outside the grid; a box stays if any of its corners, seen from above, is inside.

    Points are left alone: the voxelizer skips those outside, and the keyframe's must stay aligned with their labels.

    Args:
        grid: the range.
    """

    def __init__(self, grid: Grid) -> None:
        self._low = np.array(grid.point_cloud_range[:2], dtype=np.float32)
        self._high = np.array(grid.point_cloud_range[3:5], dtype=np.float32)

    def __call__(self, sample: Sample, _rng: np.random.Generator) -> Sample:
        """Keeps boxes with a corner inside."""
        corners = bev_corners(torch.from_numpy(sample.boxes)).numpy()
        inside = ((corners >= self._low) & (corners < self._high)).all(axis=2).any(axis=1)
        return replace(sample, boxes=sample.boxes[inside], labels=sample.labels[inside])
