"""The transforms that build the segmentation target of a keyframe."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from lidar_mt.data.maps.base import DriveableMap, global_from_cell
from lidar_mt.data.maps.mask import read_mask
from lidar_mt.data.maps.places import UNMAPPED_SCENES, Place, Places
from lidar_mt.data.maps.polygons import read_polygons
from lidar_mt.ops.rasterize import DRIVEABLE_SURFACE, IGNORED, OTHERS, rasterize_labels
from lidar_mt.structures.grid import Grid
from lidar_mt.structures.sample import Sample


class BevLabelMap:
    """Rasterizes the keyframe's lidarseg labels onto the grid.

    Belongs after everything that moves points. Only the keyframe's points vote. Without lidarseg, nothing happens.

    Args:
        grid: rows, columns and range of the map.
    """

    needs_lidarseg: ClassVar[bool] = True

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def __call__(self, sample: Sample, _rng: np.random.Generator) -> Sample:
        """Fills `bev_labels`."""
        if sample.lidarseg is None:
            return sample
        points = sample.points[: sample.num_keyframe_points]
        return replace(sample, bev_labels=rasterize_labels(points, sample.lidarseg, self._grid))


class BevMapLabels:
    """Takes the labels from the annotated map, with or without points in a cell.

    Belongs after everything that moves points. Each cell is labelled by the place its centre has on the map, found
    through the inverse of the augmentation. Scenes beyond the annotated map are ignored altogether.

    Args:
        grid: rows, columns and range of the map.
        meta: folder of the tables and raster masks beside a packed split, `<packed>/<version>/meta`.
        version: its table folder.
        polygons: folder of the map expansion, whose driveable area is the label; None takes the raster masks, which
            count sidewalks as driveable.
    """

    needs_lidarseg: ClassVar[bool] = False

    def __init__(self, grid: Grid, meta: str | Path, version: str, polygons: str | Path | None = None) -> None:
        self._grid = grid
        self._meta = Path(meta)
        self._version = version
        self._polygons = None if polygons is None else Path(polygons)

    def prepare(self) -> None:
        """Reads the tables, once, before workers start.

        Raises:
            DataError: a table is missing or damaged.
        """
        self._places  # noqa: B018

    @cached_property
    def _places(self) -> Places:
        return Places(self._meta, self._version)

    def __call__(self, sample: Sample, _rng: np.random.Generator) -> Sample:
        """Fills `bev_labels`.

        Raises:
            DataError: tables or map are missing or damaged.
        """
        place = self._places[sample.token]
        if place.scene in UNMAPPED_SCENES:
            return replace(sample, bev_labels=np.full(self._grid.shape, IGNORED, dtype=np.int64))
        found = self._map(place).driveable(global_from_cell(sample, self._grid), self._grid.shape)
        return replace(sample, bev_labels=np.where(found, DRIVEABLE_SURFACE, OTHERS).astype(np.int64))

    def _map(self, place: Place) -> DriveableMap:
        if self._polygons is None:
            return read_mask(self._meta / place.mask)
        return read_polygons(self._polygons, place.location)
