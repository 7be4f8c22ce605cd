"""Points of another sensor into the network's frame, and boxes back."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from lidar_mt.data.sensor import Sensor
from lidar_mt.structures.boxes import transform_boxes
from lidar_mt.structures.errors import ConfigError

KITTI = Sensor(("x", "y", "z", "intensity"), 255.0, 1.73, 90.0)


def test_kitti_by_hand():
    # Ten metres ahead, two to the left, on the road; a tenth of a second old.
    points = np.array([[10, 2, -1.73, 0.5, 0.1]], dtype=np.float32)
    np.testing.assert_allclose(KITTI.to_network(points), [[-2, 10, -1.84, 127.5, 0.1]], atol=1e-6)
    np.testing.assert_array_equal(points, np.array([[10, 2, -1.73, 0.5, 0.1]], dtype=np.float32))  # a copy came


@pytest.mark.parametrize("degrees", [0, 90, -90, 180, 270, 33.5, -190])
def test_a_box_made_in_the_sensor_frame_comes_back(degrees):
    sensor = Sensor(None, 1.0, 2.5, degrees)
    # A car that drives to where its heading points, and the tip of its bonnet.
    x, y, z, length, yaw, speed = 12.0, -3.0, -1.1, 4.4, 0.7, 8.0
    tip = [x + length / 2 * math.cos(yaw), y + length / 2 * math.sin(yaw), z, 0, 0]
    # What the network would say of it, from its points alone.
    centre, front = sensor.to_network(np.array([[x, y, z, 0, 0], tip], dtype=np.float32))[:, :3]
    ahead = (front - centre) / np.linalg.norm(front - centre)
    seen = [*centre, 1.9, length, 1.6, math.atan2(ahead[1], ahead[0]), speed * ahead[0], speed * ahead[1]]
    (back,) = transform_boxes(np.array([seen]), sensor.sensor_from_network)
    expected = [x, y, z, 1.9, length, 1.6, yaw, speed * math.cos(yaw), speed * math.sin(yaw)]
    np.testing.assert_allclose(back, expected, atol=1e-5)
    np.testing.assert_allclose(sensor.sensor_from_network @ sensor.network_from_sensor, np.eye(4), atol=1e-15)


def test_nuscenes_changes_nothing_and_quarter_turns_are_exact():
    points = np.random.default_rng(0).normal(0, 30, (50, 5)).astype(np.float32)
    np.testing.assert_array_equal(Sensor().to_network(points), points)
    turned = Sensor(rotation_deg=-450).to_network(points)
    np.testing.assert_array_equal(turned[:, :3], np.stack([points[:, 1], -points[:, 0], points[:, 2]], axis=1))


@pytest.mark.parametrize("values", [{"intensity_scale": 0}, {"height_m": math.nan}, {"rotation_deg": math.inf}])
def test_impossible_sensors_are_named(values):
    with pytest.raises(ConfigError, match=f"sensor.{next(iter(values))}"):
        Sensor(**values)


def test_the_configured_sensors():
    folder = Path(__file__).parents[3] / "conf/sensor"
    assert instantiate(OmegaConf.load(folder / "nuscenes.yaml")) == Sensor()
    assert instantiate(OmegaConf.load(folder / "kitti.yaml")) == KITTI
    assert "90 deg" in KITTI.frame
