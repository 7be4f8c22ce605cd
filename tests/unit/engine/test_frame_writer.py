"""What is written of a frame: boxes in the sensor's own frame, pictures in the network's."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from lidar_mt.config import compose, instantiate
from lidar_mt.data.frames import Frame
from lidar_mt.data.sensor import Sensor
from lidar_mt.engine.frame_writer import FrameWriter, to_rows
from lidar_mt.structures.outputs import Detections
from lidar_mt.visualization.viewer_page import ViewerPage


@pytest.fixture(scope="module")
def parts():
    cfg = compose("calops", ["grid.voxel_size=[1.6,1.6,8.0]"])
    return instantiate(cfg.grid), instantiate(cfg.classes)


def detections():
    """A car that the network sees 10 m ahead and 2 m to the left, driving ahead at 5 m/s; a doubtful one; a person."""
    car = [-2.0, 10.0, -1.0, 1.9, 4.5, 1.6, math.pi / 2, 0.0, 5.0]
    rows = torch.tensor([[3.0, 3, 0, 1, 1, 1, 0, 0, 0], car, [0.0, 5, -1, 0.7, 0.8, 1.8, 0, float("nan"), 0]])
    return Detections(rows, torch.tensor([0.2, 0.9, 0.5]), torch.tensor([0, 0, 8]))


def test_rows_in_the_frame_of_a_sensor_that_looks_along_x(parts):
    car, person, _ = to_rows(detections(), parts[1], Sensor(height_m=2.84, rotation_deg=90))
    assert car == {
        "class": "car",
        "score": 0.9,
        "center": [10.0, 2.0, -2.0],
        "size_wlh": [1.9, 4.5, 1.6],
        "yaw": 0.0,
        "velocity": [5.0, 0.0],
    }
    assert person["class"] == "pedestrian"
    assert person["yaw"] == pytest.approx(-math.pi / 2, abs=1e-4)
    assert to_rows(detections(), parts[1])[0]["center"] == [-2.0, 10.0, -1.0]


def test_files_of_a_frame(parts, tmp_path):
    page = ViewerPage("a", *parts)
    writer = FrameWriter(tmp_path, *parts, Sensor(), 0.3, page=page)
    points = np.random.default_rng(0).uniform(-40, 40, (500, 5)).astype(np.float32)
    predictions = {"detection": [detections()], "segmentation": [torch.ones(16, 16, dtype=torch.int64)]}
    assert writer.write("deep/one", Frame("file", points, points), predictions) == 2
    assert writer.write("two", Frame("file", points, points), {"segmentation": [torch.zeros(16, 16)]}, False) == 0
    content = json.loads((tmp_path / "deep/one.json").read_text())
    assert content["frame"] == "lidar: x right, y forward, z up [m]"
    assert [box["score"] for box in content["boxes"]] == [0.9, 0.5]
    assert json.loads((tmp_path / "two.json").read_text())["boxes"] == []
    assert (tmp_path / "deep/one.png").stat().st_size > 10_000
    text = writer.finish().read_text(encoding="utf-8")
    assert '"deep/one"' in text
    assert '"two"' not in text


def test_without_pictures_and_page_only_boxes_are_written(parts, tmp_path):
    writer = FrameWriter(tmp_path, *parts, Sensor(), 0.3, pictures=False)
    points = np.zeros((4, 5), dtype=np.float32)
    writer.write("one", Frame("file", points, points), {"detection": [detections()]})
    assert writer.finish() is None
    assert [path.name for path in tmp_path.iterdir()] == ["one.json"]
