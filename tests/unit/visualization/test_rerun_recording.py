"""A recording for the Rerun viewer; needs the extra viz."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from lidar_mt.config import compose, instantiate
from lidar_mt.structures.errors import ConfigError
from lidar_mt.structures.outputs import Detections
from lidar_mt.visualization.rerun_recording import RerunRecording


@pytest.fixture(scope="module")
def parts():
    cfg = compose("calops", ["grid.voxel_size=[1.6,1.6,8.0]"])
    return instantiate(cfg.grid), instantiate(cfg.classes)


def test_frames_are_recorded_and_the_file_appears_at_the_end(parts, tmp_path):
    rerun = pytest.importorskip("rerun", exc_type=ImportError)
    path = tmp_path / "deep/frames.rrd"
    recording = RerunRecording(path, *parts)
    points = np.random.default_rng(0).uniform(-40, 40, (500, 5)).astype(np.float32)
    rows = torch.tensor([[-2.0, 10, -1, 1.9, 4.5, 1.6, 1.5, float("nan"), 5]])
    surface = torch.zeros(16, 16, dtype=torch.int64)
    surface[3, 4] = 1
    recording.add("one", points, Detections(rows, torch.tensor([0.9]), torch.tensor([8])), surface)
    recording.add("two", points, None, None)
    assert not path.exists()
    assert recording.close() == path
    assert [file.name for file in path.parent.iterdir()] == ["frames.rrd"]
    table = rerun.dataframe.load_recording(path).view(index="frame", contents="/lidar/**").select().read_all()
    assert len(table) == 2
    boxes = [column for column in table.column_names if "boxes" in column and "HalfSize" in column]
    np.testing.assert_allclose(table[boxes[0]].to_pylist()[0][0], [2.25, 0.95, 0.8], atol=1e-6)


def test_without_the_package_the_extra_is_named(parts, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(ConfigError, match=r"lidar_mt\[viz\]"):
        RerunRecording(tmp_path / "a.rrd", *parts)
