from __future__ import annotations

import numpy as np
import pytest
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.data_classes import Box, LidarPointCloud
from nuscenes.utils.geometry_utils import points_in_box
from pyquaternion import Quaternion
from tests.helpers.tiny_lidar import VERSION

from lidar_mt.data.gt_extraction import ChunkJob, object_points, read_part, run_chunk
from lidar_mt.data.layout import store_path
from lidar_mt.data.lmdb_store.points import PointColumns
from lidar_mt.data.lmdb_store.reader import StoreReader
from lidar_mt.data.packing import pack_split
from lidar_mt.data.sweeps import Sweep
from lidar_mt.structures.classes import DETECTION_CLASSES


def box(x, y, z=0.0, w=2.0, l=4.0, h=2.0, yaw=0.0):  # noqa: E741
    return [x, y, z, w, l, h, yaw, 0.0, 0.0]


def test_points_are_relative_to_the_centre_and_not_rotated():
    points = np.array([[11.0, 5.5, 0.5, 7.0, 3.0], [30.0, 0.0, 0.0, 1.0, 1.0]], dtype=np.float32)
    (found,) = object_points(PointColumns.of(points), [], np.array([box(10.0, 5.0, yaw=1.0)], dtype=np.float32))
    np.testing.assert_array_equal(found, [[1.0, 0.5, 0.5, 7.0, 0.0]])


def test_sweeps_follow_with_their_lags_in_the_keyframes_frame_and_the_own_roof_is_left_out():
    keyframe = np.array([[10.0, 0, 0, 1, 0], [0.5, -0.5, 0, 2, 0]], dtype=np.float32)
    shift = np.eye(4)
    shift[0, 3] = 10.0
    # The second point lies on the roof of the sweep's own vehicle, inside the first box after the shift.
    raw = np.array([[0.0, 1.5, 0, 3, 0], [0.5, 0.5, 0, 4, 0], [-10.0, 1.5, 0, 5, 0]], dtype=np.float32)
    boxes = np.array([box(10, 0, l=6, w=6), box(0, 0, l=6, w=6), box(50, 50)], dtype=np.float32)
    near, own, none = object_points(PointColumns.of(keyframe), [Sweep(PointColumns.of(raw), shift, 0.25)], boxes)
    np.testing.assert_allclose(near, [[0, 0, 0, 1, 0], [0, 1.5, 0, 3, 0.25]], atol=1e-6)
    np.testing.assert_allclose(own, [[0, 1.5, 0, 5, 0.25]], atol=1e-6)
    assert none.shape == (0, 5)
    assert near.dtype == np.float32


def devkit_objects(devkit, token, boxes):
    """The points of each box by the devkit's calls, relative to its centre."""
    cloud, lags = LidarPointCloud.from_file_multisweep(
        devkit, devkit.get("sample", token), "LIDAR_TOP", "LIDAR_TOP", 11
    )
    for row in boxes:
        inside = points_in_box(Box(row[:3], row[3:6], Quaternion(axis=[0, 0, 1], radians=row[6])), cloud.points[:3])
        points = np.concatenate([cloud.points[:, inside], lags[:, inside]]).T
        points[:, :3] -= row[:3]
        yield points


@pytest.mark.parametrize("name", ["made_up", pytest.param("real", marks=pytest.mark.nuscenes)])
def test_a_chunk_stores_what_the_devkit_finds(name, request, tmp_path):
    if name == "real":
        root, version = request.getfixturevalue("nuscenes_root"), "v1.0-complete-mini"
    else:
        root, version = request.getfixturevalue("raw"), VERSION
    pack_split(root, version, "val", tmp_path)
    store = store_path(tmp_path, version, "val")
    reader = StoreReader(store)
    (tmp_path / "points").mkdir()
    keyframes = reader.manifest.keyframes
    job = ChunkJob(store, tmp_path / "points", tmp_path / "0.part", DETECTION_CLASSES, 0, keyframes)
    assert read_part(job) is None
    assert run_chunk(job) == keyframes
    devkit = NuScenes(version, str(root), verbose=False)
    stored, differing = {}, 0
    for frame, token in zip(read_part(job), reader.sample_tokens, strict=True):
        assert frame.sample_token == token.decode()
        record = reader.keyframe(frame.sample_token)
        assert frame.names == [a or b for a, b in zip(record.detection_names, record.categories, strict=True)]
        assert frame.valid == record.valid.numpy().tolist()
        wanted = {
            i: points
            for i, points in enumerate(devkit_objects(devkit, frame.sample_token, record.boxes.numpy()))
            if record.valid.numpy()[i] and record.detection_names[i]
        }
        for i, row, count in zip(frame.gt_idx, frame.boxes_array(), frame.num_points, strict=True):
            np.testing.assert_array_equal(row, record.boxes.numpy()[i].astype(np.float32))
            file = f"{frame.sample_token}_{record.detection_names[i]}_{i}.bin"
            stored[file] = count
            found = np.fromfile(tmp_path / "points" / file, dtype="<f4").reshape(-1, 5)
            assert len(found) == count > 0
            expected = wanted.pop(i)
            # The devkit's box has its centre in double precision: a point on a face may change sides.
            differing += abs(len(found) - len(expected))
            if len(found) == len(expected):
                np.testing.assert_allclose(found, expected, atol=2e-5)
        assert sum(map(len, wanted.values())) <= 1  # those without a stored object have no point
    assert differing <= 1
    assert {path.name: path.stat().st_size // 20 for path in (tmp_path / "points").iterdir()} == stored
    assert len(stored) > (300 if name == "real" else 50)


def test_a_damaged_part_is_not_taken_for_finished(raw, tmp_path):
    pack_split(raw, VERSION, "train", tmp_path)
    (tmp_path / "points").mkdir()
    store = store_path(tmp_path, VERSION, "train")
    job = ChunkJob(store, tmp_path / "points", tmp_path / "0.part", DETECTION_CLASSES, 1, 3)
    run_chunk(job)
    good = job.part.read_bytes()
    assert len(read_part(job)) == 2
    for bad in (b"", good[:3], good[:-1], good[:9] + bytes([good[9] ^ 1]) + good[10:]):
        job.part.write_bytes(bad)
        assert read_part(job) is None
