from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest
from nuscenes.eval.detection.utils import category_to_detection_name
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.color_map import get_colormap
from tests.helpers.tiny_lidar import VERSION, read_table, write_raw_nuscenes, write_table
from tests.helpers.tiny_nuscenes import KINDS

from lidar_mt.data.nuscenes.labels import box_velocity, check_lidarseg_categories, read_lidarseg
from lidar_mt.data.nuscenes.tables import load_tables
from lidar_mt.structures.classes import DETECTION_CLASSES, detection_name
from lidar_mt.structures.errors import DataError


def test_detection_names():
    names = {category: detection_name(category) for category in KINDS}
    assert set(names.values()) == {*DETECTION_CLASSES, ""}
    assert names["vehicle.bus.rigid"] == "bus"
    assert names["static_object.bicycle_rack"] == ""


def test_detection_names_equal_the_devkits():
    categories = get_colormap()  # the devkit's own list of categories
    assert len(categories) > 20
    for category in categories:
        assert detection_name(category) == (category_to_detection_name(category) or "")


def test_velocities_equal_the_devkit(raw):
    tables, devkit = load_tables(raw, VERSION), NuScenes(VERSION, str(raw), verbose=False)
    unknown = 0
    for annotation in tables.annotations.values():
        expected = devkit.box_velocity(annotation.token)[:2]
        np.testing.assert_array_equal(box_velocity(tables, annotation), expected)
        unknown += bool(np.isnan(expected[0]))
    assert 0 < unknown < len(tables.annotations)


@pytest.mark.parametrize(("gap_s", "known"), [(1.4, True), (1.6, False)])
def test_a_gap_in_a_track_makes_its_velocity_unknown(tmp_path, gap_s, known):
    write_raw_nuscenes(tmp_path / "raw", keyframes=2)
    samples = read_table(tmp_path / "raw", "sample")
    for row in samples:
        row["timestamp"] = int(1e6 * gap_s) if row["prev"] else 0
    write_table(tmp_path / "raw", "sample", samples)
    tables, devkit = load_tables(tmp_path / "raw", VERSION), NuScenes(VERSION, str(tmp_path / "raw"), verbose=False)
    annotation = next(row for row in tables.annotations.values() if row.next)
    velocity = box_velocity(tables, annotation)
    np.testing.assert_array_equal(velocity, devkit.box_velocity(annotation.token)[:2])
    assert np.isfinite(velocity).all() == known


def test_keyframes_at_the_same_time_have_no_velocity(tmp_path):
    write_raw_nuscenes(tmp_path / "raw", keyframes=2)
    samples = read_table(tmp_path / "raw", "sample")
    write_table(tmp_path / "raw", "sample", [{**row, "timestamp": 5} for row in samples])
    tables = load_tables(tmp_path / "raw", VERSION)
    annotation = next(row for row in tables.annotations.values() if row.next)
    assert np.isnan(box_velocity(tables, annotation)).all()


def test_lidarseg_labels_are_the_bytes_of_the_file(raw):
    tables = load_tables(raw, VERSION)
    lidar = next(iter(tables.keyframe_lidar.values()))
    content = (raw / tables.lidarseg[lidar.token].filename).read_bytes()
    labels = read_lidarseg(tables, lidar, len(content))
    assert labels.dtype == np.uint8
    assert labels.tobytes() == content


def test_a_set_without_lidarseg_has_no_labels(tmp_path):
    tables = load_tables(write_raw_nuscenes(tmp_path / "raw", keyframes=1, lidarseg=False), VERSION)
    assert tables.lidarseg is None
    check_lidarseg_categories(tables)
    assert read_lidarseg(tables, next(iter(tables.keyframe_lidar.values())), 10) is None


def test_a_wrong_number_of_labels_names_file_token_and_numbers(raw):
    tables = load_tables(raw, VERSION)
    lidar = next(iter(tables.keyframe_lidar.values()))
    found = (raw / lidar.filename).stat().st_size // 20
    with pytest.raises(DataError, match=rf"_lidarseg.bin has {found} labels.*{lidar.token}.*has {found + 1} points"):
        read_lidarseg(tables, lidar, found + 1)


def test_missing_labels_are_named(raw, tmp_path):
    shutil.copytree(raw / VERSION, tmp_path / VERSION)
    tables = load_tables(tmp_path, VERSION)
    lidar = next(iter(tables.keyframe_lidar.values()))
    with pytest.raises(DataError, match=rf"missing lidarseg file .*{lidar.token}"):
        read_lidarseg(tables, lidar, 1)
    with pytest.raises(DataError, match=rf"lidarseg.json has no labels for the keyframe {lidar.token}"):
        read_lidarseg(dataclasses.replace(tables, lidarseg={}), lidar, 1)


def test_another_numbering_of_the_classes_is_refused(raw, tmp_path):
    shutil.copytree(raw / VERSION, tmp_path / VERSION)
    check_lidarseg_categories(load_tables(tmp_path, VERSION))
    categories = read_table(tmp_path, "category")
    categories[-1]["index"] = 23
    write_table(tmp_path, "category", categories)
    with pytest.raises(DataError, match=r"category.json gives flat.driveable_surface the index 23, expected 24"):
        check_lidarseg_categories(load_tables(tmp_path, VERSION))
    write_table(tmp_path, "category", [{**row, "index": None} for row in categories])
    with pytest.raises(DataError, match=r"index None, expected 24"):
        check_lidarseg_categories(load_tables(tmp_path, VERSION))
