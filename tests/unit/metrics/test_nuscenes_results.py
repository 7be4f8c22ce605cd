import json

import numpy as np
import pytest
import torch
from nuscenes.eval.common.utils import quaternion_yaw
from nuscenes.utils.data_classes import Box
from pyquaternion import Quaternion

from lidar_mt.metrics.nuscenes_results import attribute_name, boxes_to_results, write_results
from lidar_mt.structures.boxes import transform_boxes
from lidar_mt.structures.classes import DETECTION_CLASSES
from lidar_mt.structures.errors import DataError
from lidar_mt.structures.outputs import Detections


@pytest.mark.parametrize(
    ("name", "fast", "slow"),
    [
        ("car", "vehicle.moving", "vehicle.parked"),
        ("truck", "vehicle.moving", "vehicle.parked"),
        ("construction_vehicle", "vehicle.moving", "vehicle.parked"),
        ("trailer", "vehicle.moving", "vehicle.parked"),
        ("bus", "vehicle.moving", "vehicle.stopped"),
        ("motorcycle", "cycle.with_rider", "cycle.without_rider"),
        ("bicycle", "cycle.with_rider", "cycle.without_rider"),
        ("pedestrian", "pedestrian.moving", "pedestrian.standing"),
        ("barrier", "", ""),
        ("traffic_cone", "", ""),
    ],
)
def test_attribute_rule(name, fast, slow):
    assert attribute_name(name, 0.21) == fast
    assert attribute_name(name, 0.2) == slow
    assert attribute_name(name, 0.0) == slow


def random_boxes(count, rng):
    boxes = rng.uniform(-50, 50, (count, 9))
    boxes[:, 2] = rng.uniform(-3, 1, count)
    boxes[:, 3:6] = rng.uniform(0.3, 12, (count, 3))
    boxes[:, 6] = rng.uniform(-np.pi, np.pi, count)
    boxes[:, 7:] = rng.uniform(-15, 15, (count, 2))
    return boxes


def tilted_pose(rng, translation):
    """A yaw of any size under a tilt of up to two degrees, as a car on a road has."""
    rotation = Quaternion(axis=[0, 0, 1], radians=rng.uniform(-np.pi, np.pi))
    for axis in ([1, 0, 0], [0, 1, 0]):
        rotation = rotation * Quaternion(axis=axis, degrees=rng.uniform(-2, 2))
    return rotation, np.array(translation)


def matrix(rotation, translation):
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation.rotation_matrix, translation
    return pose


def test_lidar_to_global_equals_the_devkits_box_operations():
    rng = np.random.default_rng(0)
    sensor, ego = tilted_pose(rng, [0.98, 0.0, 1.84]), tilted_pose(rng, [1234.567, 2345.678, 0.1])
    boxes = random_boxes(40, rng).astype(np.float32)
    detections = Detections(torch.from_numpy(boxes), torch.linspace(0.9, 0.1, 40), torch.arange(40) % 10)
    results = boxes_to_results("token", detections, matrix(*ego) @ matrix(*sensor))
    for row, result in zip(boxes.astype(np.float64), results, strict=True):
        box = Box(row[:3], row[3:6], Quaternion(axis=[0, 0, 1], radians=row[6]), velocity=(*row[7:], 0.0))
        for rotation, translation in (sensor, ego):
            box.rotate(rotation)
            box.translate(translation)
        np.testing.assert_allclose(result["translation"], box.center, atol=1e-9)
        np.testing.assert_allclose(result["size"], box.wlh, atol=0)
        np.testing.assert_allclose(result["velocity"], box.velocity[:2], atol=1e-9)
        difference = quaternion_yaw(Quaternion(result["rotation"])) - quaternion_yaw(box.orientation)
        assert abs(np.angle(np.exp(1j * difference))) < 1e-9
        assert result["rotation"][1:3] == [0.0, 0.0]
        assert result["sample_token"] == "token"
        assert result["attribute_name"] == attribute_name(result["detection_name"], float(np.hypot(*box.velocity[:2])))
    assert [result["detection_name"] for result in results] == [DETECTION_CLASSES[i % 10] for i in range(40)]


def test_round_trip_lidar_global_lidar():
    rng = np.random.default_rng(1)
    pose = matrix(*tilted_pose(rng, [1234.567, 2345.678, 0.1]))
    boxes = random_boxes(40, rng)
    detections = Detections(torch.from_numpy(boxes), torch.linspace(0.9, 0.1, 40), torch.zeros(40, dtype=torch.int64))
    results = boxes_to_results("token", detections, pose)
    yaw = [2 * np.arctan2(r["rotation"][3], r["rotation"][0]) for r in results]
    rows = [[*r["translation"], *r["size"], y, *r["velocity"]] for r, y in zip(results, yaw, strict=True)]
    back = transform_boxes(np.array(rows), np.linalg.inv(pose))
    np.testing.assert_allclose(back[:, :6], boxes[:, :6], atol=1e-8)
    # A tilt of two degrees leaves second-order errors in what lies in the plane.
    assert np.abs(np.angle(np.exp(1j * (back[:, 6] - boxes[:, 6])))).max() < 2e-3
    np.testing.assert_allclose(back[:, 7:], boxes[:, 7:], atol=0.05)


def test_keeps_the_500_best_scores_in_order():
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(600, generator=generator)
    boxes = torch.ones(600, 9)
    boxes[:, 0] = torch.arange(600)
    results = boxes_to_results("t", Detections(boxes, scores, torch.zeros(600, dtype=torch.int64)), np.eye(4))
    best = scores.argsort(descending=True)[:500]
    assert [round(result["translation"][0]) for result in results] == best.tolist()
    assert [result["detection_score"] for result in results] == scores[best].double().tolist()


def test_unknown_velocity_is_written_as_zero_and_no_boxes_as_an_empty_list():
    boxes = torch.tensor([[0.0, 0, 0, 2, 4, 1.5, 0, float("nan"), float("nan")]])
    (result,) = boxes_to_results("t", Detections(boxes, torch.ones(1), torch.zeros(1, dtype=torch.int64)), np.eye(4))
    assert result["velocity"] == [0.0, 0.0]
    assert result["attribute_name"] == "vehicle.parked"
    empty = Detections(torch.zeros(0, 9), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    assert boxes_to_results("t", empty, np.eye(4)) == []


def test_file_has_meta_and_all_tokens(tmp_path):
    path = write_results(tmp_path / "ä b" / "results.json", {"t1": [], "t2": []})
    content = json.loads(path.read_text())
    assert content["results"] == {"t1": [], "t2": []}
    assert content["meta"] == {
        "use_camera": False,
        "use_lidar": True,
        "use_radar": False,
        "use_map": False,
        "use_external": False,
    }
    assert [entry.name for entry in path.parent.iterdir()] == ["results.json"]


def test_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/results\.json"):
        write_results(tmp_path / "file" / "results.json", {})
