from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from nuscenes.eval.common.utils import quaternion_yaw
from nuscenes.nuscenes import NuScenes
from pyquaternion import Quaternion
from tests.helpers.tiny_lidar import VERSION

from lidar_mt.data.nuscenes.keyframes import keyframe_lidar, keyframe_record, previous_sweeps, read_points
from lidar_mt.data.nuscenes.tables import SampleDataRow, load_tables
from lidar_mt.structures.boxes import VX, YAW, wrap_angle
from lidar_mt.structures.errors import DataError


@pytest.fixture(scope="module")
def tables(raw):
    return load_tables(raw, VERSION)


@pytest.fixture(scope="module")
def devkit(raw):
    return NuScenes(VERSION, str(raw), verbose=False)


def test_boxes_equal_the_devkit_in_the_lidar_frame(tables, devkit):
    for sample in tables.samples.values():
        record = keyframe_record(tables, sample)
        rotation = np.linalg.inv(record.global_from_ego.matrix() @ record.ego_from_lidar.matrix())[:3, :3]
        _, boxes, _ = devkit.get_sample_data(record.lidar_token)
        expected_velocity = [rotation @ np.nan_to_num(devkit.box_velocity(box.token) * [1, 1, 0]) for box in boxes]
        got = record.boxes.numpy()
        assert got.dtype == np.float64
        np.testing.assert_allclose(got[:, :3], [box.center for box in boxes], atol=1e-9)
        np.testing.assert_allclose(got[:, 3:6], [box.wlh for box in boxes], atol=0)
        turn = got[:, YAW] - [quaternion_yaw(box.orientation) for box in boxes]
        # The frames are tilted against each other, so the yaw of a turned box is no exact sum of angles.
        np.testing.assert_allclose(wrap_angle(turn), 0, atol=1e-9)
        np.testing.assert_allclose(np.nan_to_num(got[:, VX:]), np.array(expected_velocity)[:, :2], atol=1e-9)
        known = [np.isfinite(devkit.box_velocity(box.token)[0]) for box in boxes]
        np.testing.assert_array_equal(np.isfinite(got[:, VX]), known)
        assert record.categories == [box.name for box in boxes]


def test_names_and_counts_belong_to_their_boxes(tables, devkit):
    for sample in tables.samples.values():
        record = keyframe_record(tables, sample)
        annotations = [devkit.get("sample_annotation", token) for token in devkit.get("sample", sample.token)["anns"]]
        lidar, radar = ([row[key] for row in annotations] for key in ("num_lidar_pts", "num_radar_pts"))
        assert record.num_lidar_pts.numpy().tolist() == lidar
        assert record.num_radar_pts.numpy().tolist() == radar
        assert record.valid.numpy().tolist() == [a + b > 0 for a, b in zip(lidar, radar, strict=True)]
        assert [row["category_name"] for row in annotations] == record.categories
        assert [bool(name) for name in record.detection_names] == [
            name not in ("animal", "static_object.bicycle_rack") for name in record.categories
        ]


def test_a_box_with_radar_points_alone_is_valid(tables):
    sample = next(iter(tables.samples.values()))
    first = tables.annotations_of[sample.token][0]
    for lidar, radar, valid in ((0, 0, False), (0, 3, True), (2, 0, True)):
        changed = type(first)(
            **{
                **{name: getattr(first, name) for name in first.__struct_fields__},
                "num_lidar_pts": lidar,
                "num_radar_pts": radar,
            }
        )
        record = keyframe_record(dataclasses.replace(tables, annotations_of={sample.token: [changed]}), sample)
        assert record.valid.numpy().tolist() == [valid]


def test_tokens_times_and_poses(tables, devkit):
    for sample in tables.samples.values():
        record, row = keyframe_record(tables, sample), devkit.get("sample", sample.token)
        lidar = devkit.get("sample_data", row["data"]["LIDAR_TOP"])
        pose = devkit.get("ego_pose", lidar["ego_pose_token"])
        assert (record.sample_token, record.scene_token) == (row["token"], row["scene_token"])
        assert (record.prev_token, record.next_token) == (row["prev"], row["next"])
        assert (record.timestamp_us, record.lidar_token) == (lidar["timestamp"], lidar["token"])
        assert list(record.global_from_ego.rotation) == pose["rotation"]
        assert list(record.global_from_ego.translation) == pose["translation"]


def test_up_to_ten_sweeps_nearest_first(tables):
    for samples in tables.samples_of.values():
        counts = []
        for sample in samples:
            sweeps = keyframe_record(tables, sample).sweeps
            times = [sweep.timestamp_us for sweep in sweeps]
            assert times == sorted(times, reverse=True)
            assert all(time < keyframe_lidar(tables, sample).timestamp for time in times)
            counts.append(len(sweeps))
        assert counts == [0, 5, 10, 10]


def test_sweep_transforms_carry_the_same_world_point(tables, devkit):
    sample = tables.samples_of[next(iter(tables.scenes))][2]
    record = keyframe_record(tables, sample)
    global_from_key = record.global_from_ego.matrix() @ record.ego_from_lidar.matrix()
    for ref, row in zip(record.sweeps, previous_sweeps(tables, keyframe_lidar(tables, sample)), strict=True):
        assert ref.token == row.token
        pose = devkit.get("ego_pose", row.ego_pose_token)
        rig = devkit.get("calibrated_sensor", row.calibrated_sensor_token)
        point = np.array([20.0, -7.0, 1.0])
        ego = Quaternion(rig["rotation"]).rotate(point) + rig["translation"]
        world = Quaternion(pose["rotation"]).rotate(ego) + pose["translation"]
        moved = ref.keyframe_from_sweep.numpy() @ [*point, 1.0]
        np.testing.assert_allclose((global_from_key @ moved)[:3], world, atol=1e-8)


def test_a_sample_without_boxes_has_an_empty_table(tables):
    record = keyframe_record(dataclasses.replace(tables, annotations_of={}), next(iter(tables.samples.values())))
    assert record.boxes.numpy().shape == (0, 9)
    assert record.valid.numpy().shape == (0,)


def test_a_sample_without_lidar_is_named(tables):
    sample = next(iter(tables.samples.values()))
    with pytest.raises(DataError, match=rf"no LIDAR_TOP keyframe for the sample {sample.token}"):
        keyframe_record(dataclasses.replace(tables, keyframe_lidar={}), sample)


def lidar_row(filename):
    return SampleDataRow("the-token", "s", "p", "c", 0, True, filename, "")


def test_points_are_the_bytes_of_the_file(tmp_path):
    points = np.random.default_rng(0).normal(size=(7, 5)).astype("<f4")
    points.tofile(tmp_path / "a.bin")
    assert read_points(tmp_path, lidar_row("a.bin")).tobytes() == points.tobytes()


@pytest.mark.parametrize("size", [0, 1, 19, 21, 39])
def test_a_short_point_file_names_file_token_and_bytes(tmp_path, size):
    (tmp_path / "a.bin").write_bytes(bytes(size))
    with pytest.raises(DataError, match=rf"a.bin \(sample_data the-token\) has {size} bytes, .* multiple of 20"):
        read_points(tmp_path, lidar_row("a.bin"))


@pytest.mark.parametrize("name", ["gone.bin", "folder"])
def test_a_missing_point_file_is_named(tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=rf"missing point file .*{name} \(sample_data the-token\)"):
        read_points(tmp_path, lidar_row(name))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("column", [0, 3, 4])
def test_values_that_are_no_points_are_named(tmp_path, value, column):
    points = np.zeros((5, 5), dtype="<f4")
    points[3, column] = value
    points.tofile(tmp_path / "a.bin")
    with pytest.raises(DataError, match=r"the-token\): 1 of 5 points are not finite or far out of range"):
        read_points(tmp_path, lidar_row("a.bin"))
