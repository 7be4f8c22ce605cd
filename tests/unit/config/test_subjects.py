from __future__ import annotations

from dataclasses import replace

import pytest
from tests.helpers.artefacts import parts

from lidar_mt.config.subjects import Subject, check_same
from lidar_mt.deploy.trace import Form, Trace
from lidar_mt.models.voxelizer import Voxelizer
from lidar_mt.structures.errors import ConfigError
from lidar_mt.structures.grid import Grid


class Silent(Form):
    """What surrounds a form is compared; the form itself is not asked."""

    def trace(self, _: object) -> Trace:
        raise NotImplementedError


def test_networks_that_see_the_world_in_other_ways_are_refused() -> None:
    voxelizer, classes = parts()
    one = Subject("one", Silent(), voxelizer, classes, 10, None)
    check_same(one, replace(one, name="two", num_sweeps=3))
    grid = Grid(voxelizer.grid.point_cloud_range, (3.2, 3.2, 8.0))
    with pytest.raises(ConfigError, match="a=one and b=two cannot be compared, they differ in grid"):
        check_same(one, replace(one, name="two", voxelizer=Voxelizer(grid)))
    with pytest.raises(ConfigError, match="differ in limit of pillars: 240 and 9;"):
        check_same(one, replace(one, voxelizer=Voxelizer(voxelizer.grid, max_pillars_eval=9)))
    with pytest.raises(ConfigError, match="differ in classes"):
        check_same(one, replace(one, classes=replace(classes, segmentation=("others",))))
