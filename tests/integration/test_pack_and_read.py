"""Raw files -> program -> lmdb -> dataset, held against the devkit's own reading of the raw files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.data_classes import LidarPointCloud

from lidar_mt.config import compose, instantiate
from lidar_mt.data.dataset import NuScenesLidarDataset
from lidar_mt.data.layout import meta_path, store_path
from lidar_mt.data.packing import pack_split
from lidar_mt.data.sweeps import remove_close
from lidar_mt.structures.boxes import points_in_boxes, transform_boxes
from lidar_mt.structures.classes import DETECTION_CLASSES, Classes
from tests.helpers.tiny_lidar import VERSION, write_raw_nuscenes

REAL = os.environ.get("LIDAR_MT_NUSCENES")
CLASSES = Classes(DETECTION_CLASSES, (DETECTION_CLASSES,), ("others", "driveable_surface"))


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    return write_raw_nuscenes(tmp_path_factory.mktemp("raw") / "nuscenes"), VERSION


@pytest.fixture(scope="module")
def real():
    if not REAL or not (Path(REAL) / "v1.0-complete-mini").is_dir():
        pytest.skip("needs real frames under $LIDAR_MT_NUSCENES")
    return Path(REAL), "v1.0-complete-mini"


SETS = [pytest.param("made_up", id="made-up"), pytest.param("real", id="real", marks=pytest.mark.nuscenes)]


def packed_dataset(root, version, out):
    pack_split(root, version, "val", out)
    return NuScenesLidarDataset(store_path(out, version, "val"), CLASSES)


@pytest.mark.parametrize("name", SETS)
def test_merged_sweeps_equal_the_devkits(name, request, tmp_path):
    root, version = request.getfixturevalue(name)
    dataset = packed_dataset(root, version, tmp_path)
    devkit = NuScenes(version, str(root), verbose=False)
    for index in range(len(dataset)):
        sample = dataset[index]
        record = devkit.get("sample", sample.token)
        cloud, lags = LidarPointCloud.from_file_multisweep(devkit, record, "LIDAR_TOP", "LIDAR_TOP", nsweeps=10)
        keyframe, sweeps = np.split(sample.points, [sample.num_keyframe_points])
        if not record["prev"]:
            # The first keyframe repeats itself here, which the devkit does not.
            assert len(sweeps) == 9 * len(remove_close(keyframe))
            sweeps = sweeps[:0]
        # The devkit takes the own roof out of the keyframe as well; else both go from near to far.
        ours = np.concatenate([remove_close(keyframe), sweeps])
        assert ours.shape == (cloud.points.shape[1], 5)
        np.testing.assert_allclose(ours[:, :3], cloud.points[:3].T, rtol=0, atol=1e-4)
        np.testing.assert_array_equal(ours[:, 3], cloud.points[3])
        np.testing.assert_allclose(ours[:, 4], lags[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", SETS)
def test_keyframes_are_the_raw_files(name, request, tmp_path):
    root, version = request.getfixturevalue(name)
    dataset = packed_dataset(root, version, tmp_path)
    devkit = NuScenes(version, str(root), verbose=False)
    for index in range(len(dataset)):
        sample = dataset[index]
        path = devkit.get_sample_data_path(devkit.get("sample", sample.token)["data"]["LIDAR_TOP"])
        raw = np.fromfile(path, dtype=np.float32).reshape(-1, 5)
        np.testing.assert_array_equal(sample.points[: sample.num_keyframe_points, :4], raw[:, :4])
        assert not sample.points[: sample.num_keyframe_points, 4].any()


@pytest.mark.nuscenes
def test_real_boxes_hold_the_points_they_are_annotated_with(real, tmp_path):
    root, version = real
    dataset = packed_dataset(root, version, tmp_path)
    devkit = NuScenes(version, str(root), verbose=False)
    boxes = 0
    for index in range(len(dataset)):
        sample = dataset[index]
        annotations = [devkit.get("sample_annotation", token) for token in devkit.get("sample", sample.token)["anns"]]
        expected = [row["num_lidar_pts"] for row in annotations if row["num_lidar_pts"]]
        # Annotated boxes stand upright in the global frame; in the tilted LiDAR frame they are upright approximations.
        global_from_lidar = sample.global_from_ego @ sample.ego_from_lidar
        points = (
            sample.points[: sample.num_keyframe_points, :3] @ global_from_lidar[:3, :3].T + global_from_lidar[:3, 3]
        )
        counts = points_in_boxes(points, transform_boxes(sample.boxes, global_from_lidar)).sum(axis=1)
        # Yaw makes a round trip through the tilted frame, so a point on a face may change sides.
        assert np.abs(counts - expected).sum() <= 1
        boxes += len(counts)
    assert boxes > 300


def run_program(*overrides, cwd):
    return subprocess.run(
        [sys.executable, "-m", "lidar_mt.pack_data", *overrides], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_the_program_packs_and_a_configured_datamodule_reads(made_up, tmp_path):
    root, version = made_up
    out = tmp_path / "out put"
    done = run_program(f"src={root}", f"version={version}", "split=val", f"out='{out}'", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "packed 8 keyframes and 32 sweeps of 2 scenes" in done.stdout + done.stderr
    assert NuScenes(version, str(meta_path(out, version)), verbose=False).scene
    assert [path.name for path in tmp_path.iterdir()] == ["out put"]  # no run folder, no log file
    overrides = [f"paths.packed='{out}'", f"data.version={version}", "data.train_split=val", "data.num_workers=0"]
    for augmentation in ("default", "none", "demo"):
        config = compose("train", [*overrides, f"augmentation={augmentation}", "grid=small"])
        datamodule = instantiate(config.data)
        for loader in (datamodule.train_dataloader(), datamodule.val_dataloader()):
            batch = next(iter(loader))
            assert len(batch) == 4
            assert batch.bev_labels.shape == (4, 256, 256)
            assert set(batch.bev_labels.unique().tolist()) == {-1, 0, 1}
            assert min(int(labels.min()) for labels in batch.labels) >= 0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("split=vall", "unknown split 'vall'"),
        ("splitt=val", "Did you mean 'split'?"),
    ],
)
def test_mistakes_end_with_one_error_line(made_up, tmp_path, override, message):
    root, version = made_up
    done = run_program(f"src={root}", f"version={version}", override, f"out={tmp_path}/out", cwd=tmp_path)
    assert done.returncode == 2
    assert "error: " in done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
