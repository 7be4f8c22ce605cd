"""The transform that builds the segmentation target of a keyframe."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lidar_mt.ops.rasterize import rasterize_labels
from lidar_mt.structures.grid import Grid
from lidar_mt.structures.sample import Sample


class BevLabelMap:
    """Rasterizes the keyframe's lidarseg labels onto the grid.

    Belongs after everything that moves points. Only the keyframe's points vote. Without lidarseg, nothing happens.

    Args:
        grid: rows, columns and range of the map.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def __call__(self, sample: Sample, _rng: np.random.Generator) -> Sample:
        """Fills `bev_labels`."""
        if sample.lidarseg is None:
            return sample
        points = sample.points[: sample.num_keyframe_points]
        return replace(sample, bev_labels=rasterize_labels(points, sample.lidarseg, self._grid))
