from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lidar_mt.models.voxelizer import SpconvVoxelizer, Voxelizer
from lidar_mt.structures.errors import ConfigError
from lidar_mt.structures.grid import Grid
from tests.unit.ops.test_voxelize import GRID, SMALL, border_cloud, broken_cloud, cloud


def test_the_mode_chooses_the_limit_of_each_sample() -> None:
    voxelizer = Voxelizer(SMALL, points_per_pillar=4, max_pillars_train=7, max_pillars_eval=11)
    points = [cloud(0, 500), cloud(1, 500)]
    assert torch.bincount(voxelizer.train()(points).coords[:, 0]).tolist() == [7, 7]
    pillars = voxelizer.eval()(points)
    assert torch.bincount(pillars.coords[:, 0]).tolist() == [11, 11]
    assert int(pillars.num_points.max()) == 4


def test_features_are_normalized() -> None:
    features = Voxelizer(GRID)([cloud(0, 500, spread_m=9.0).clamp(-4, 250)]).features
    assert 0 <= float(features[:, :4].min()) <= float(features[:, :4].max()) <= 1


@pytest.mark.parametrize(
    ("grid", "limits", "message"),
    [
        (Grid((0, 0, -1, 6.4, 6.4, 1), (0.2, 0.2, 1.0)), {}, "as high as the range"),
        (SMALL, {"points_per_pillar": 0}, "must be positive"),
        (SMALL, {"max_pillars_train": -1}, "must be positive"),
    ],
)
def test_bad_settings_are_refused(grid: Grid, limits: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Voxelizer(grid, **limits)


def test_missing_spconv_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spconv.pytorch.utils", None)
    with pytest.raises(ConfigError, match=r"pip install 'lidar_mt\[spconv\]'"):
        SpconvVoxelizer(GRID)


@pytest.fixture
def real_frame() -> torch.Tensor:
    if "LIDAR_MT_NUSCENES" not in os.environ:
        pytest.skip("LIDAR_MT_NUSCENES is not set")
    path = sorted(Path(os.environ["LIDAR_MT_NUSCENES"]).glob("samples/LIDAR_TOP/*.pcd.bin"))[0]
    return torch.from_numpy(np.fromfile(path, dtype=np.float32).reshape(-1, 5))


def assert_same_pillars(grid: Grid, points: list[torch.Tensor], limit: int) -> None:
    pytest.importorskip("spconv.pytorch.utils", reason="the extra `spconv` is not installed", exc_type=ImportError)
    ours = Voxelizer(grid, max_pillars_train=limit)(points)
    theirs = SpconvVoxelizer(grid, max_pillars_train=limit)(points)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=0)


@pytest.mark.spconv
@pytest.mark.parametrize("limit", [40000, 500])
@pytest.mark.parametrize(
    ("grid", "points"),
    [
        pytest.param(GRID, [cloud(0, 20000, spread_m=15.0), cloud(1, 3000)], id="two samples"),
        pytest.param(GRID, [border_cloud(GRID, 50000)], id="borders"),
        pytest.param(SMALL, [border_cloud(SMALL, 9000), torch.zeros(0, 5), broken_cloud()], id="empty, not finite"),
        pytest.param(SMALL, [torch.zeros(0, 5)], id="nothing"),
    ],
)
def test_spconv_on_a_cpu_gives_the_same_pillars(grid: Grid, points: list[torch.Tensor], limit: int) -> None:
    assert_same_pillars(grid, points, limit)


@pytest.mark.spconv
@pytest.mark.nuscenes
def test_spconv_on_a_cpu_gives_the_same_pillars_of_a_real_frame(real_frame: torch.Tensor) -> None:
    assert_same_pillars(GRID, [real_frame, real_frame.flip(0)], 30000)


@pytest.mark.spconv
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_spconv_on_a_gpu_opens_the_same_cells() -> None:
    pytest.importorskip("spconv.pytorch.utils", reason="the extra `spconv` is not installed", exc_type=ImportError)
    points = [cloud(0, 20000, spread_m=15.0).cuda(), cloud(1, 3000).cuda()]
    ours, theirs = Voxelizer(GRID)(points), SpconvVoxelizer(GRID)(points)
    counts = [
        {tuple(cell): count for cell, count in zip(p.coords.tolist(), p.num_points.tolist(), strict=True)}
        for p in (ours, theirs)
    ]
    assert counts[0] == counts[1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_same_pillars_as_a_cpu() -> None:
    points = [border_cloud(GRID, 50000), cloud(0, 20000, spread_m=15.0)]
    expected, found = Voxelizer(GRID)(points), Voxelizer(GRID)([sample.cuda() for sample in points])
    for one, other in zip(expected[1:4], found[1:4], strict=True):
        assert torch.equal(one, other.cpu())
    torch.testing.assert_close(found.features.cpu(), expected.features)
