from __future__ import annotations

import json
import shutil

import msgspec
import pytest
from tests.helpers.tiny_lidar import VERSION, read_table, write_table

from lidar_mt.data.nuscenes.tables import AnnotationRow, CategoryRow, load_tables, split_scenes
from lidar_mt.structures.errors import DataError
from lidar_mt.structures.nuscenes_tables import read_rows


@pytest.fixture
def copy(raw, tmp_path):
    """A copy of the tables alone, to damage."""
    shutil.copytree(raw / VERSION, tmp_path / VERSION)
    return tmp_path


def test_keyframes_are_in_time_order_and_rows_are_lidar_only(raw):
    tables = load_tables(raw, VERSION)
    for scene in tables.scenes.values():
        times = [sample.timestamp for sample in tables.samples_of[scene.token]]
        assert times == sorted(times)
        assert len(times) == 4
    assert len(tables.lidar) == 3 * (4 + 3 * 4)
    assert set(tables.keyframe_lidar) == set(tables.samples)
    assert sum(len(rows) for rows in tables.annotations_of.values()) == len(tables.annotations)


def test_rows_of_other_sensors_are_left_out(copy):
    write_table(copy, "sensor", [*read_table(copy, "sensor"), {"token": "cam", "channel": "CAM_FRONT"}])
    rig = read_table(copy, "calibrated_sensor")
    write_table(copy, "calibrated_sensor", [*rig, {**rig[0], "token": "calibrated-cam", "sensor_token": "cam"}])
    rows = read_table(copy, "sample_data")
    images = [{**row, "token": row["token"] + "c", "calibrated_sensor_token": "calibrated-cam"} for row in rows]
    write_table(copy, "sample_data", [*images, *rows, *images])
    tables = load_tables(copy, VERSION)
    assert set(tables.lidar) == {row["token"] for row in rows}
    assert all(not row.token.endswith("c") for row in tables.keyframe_lidar.values())


def test_mini_versions_use_the_mini_splits(raw):
    tables = load_tables(raw, VERSION)
    assert [scene.name for scene in split_scenes(tables, "val")] == ["scene-0103", "scene-0916"]
    assert [scene.name for scene in split_scenes(tables, "train")] == ["scene-0061"]


def test_full_versions_use_the_full_splits(copy):
    (copy / VERSION).rename(copy / "v1.0-trainval")
    tables = load_tables(copy, "v1.0-trainval")
    # All three scenes are training or validation scenes of the full set.
    names = {split: [scene.name for scene in split_scenes(tables, split)] for split in ("train", "val")}
    assert names == {"train": ["scene-0061"], "val": ["scene-0103", "scene-0916"]}
    with pytest.raises(DataError, match=r"unknown split 'test' of v1.0-trainval"):
        split_scenes(tables, "test")


@pytest.mark.parametrize("split", ["vall", "mini_val", "test", ""])
def test_an_unknown_split_is_named_with_the_known_ones(raw, split):
    with pytest.raises(DataError, match=rf"unknown split '{split}'.*split=train or split=val"):
        split_scenes(load_tables(raw, VERSION), split)


def test_a_split_without_scenes_is_named(copy):
    write_table(copy, "scene", [row for row in read_table(copy, "scene") if row["name"] != "scene-0061"])
    with pytest.raises(DataError, match=r"scene.json holds no scene of split 'train' \(such as scene-0061\)"):
        split_scenes(load_tables(copy, VERSION), "train")


def test_a_missing_version_is_named_with_the_next_command(tmp_path):
    with pytest.raises(DataError, match=r"no nuScenes tables at .*v1.0-mini.*make demo-data"):
        load_tables(tmp_path, "v1.0-mini")


NEEDED = "calibrated_sensor category ego_pose instance sample sample_annotation sample_data scene sensor"


@pytest.mark.parametrize("name", NEEDED.split())
def test_a_missing_table_is_named(copy, name):
    (copy / VERSION / f"{name}.json").unlink()
    with pytest.raises(DataError, match=rf"missing table .*{name}.json"):
        load_tables(copy, VERSION)


def damage_size(rows):
    rows[3]["size"] = [1.0, 2.0]


def damage_key(rows):
    del rows[3]["translation"]


def damage_type(rows):
    rows[3]["num_lidar_pts"] = "many"


@pytest.mark.parametrize(
    ("damage", "field"), [(damage_size, "size"), (damage_key, "translation"), (damage_type, "num_lidar_pts")]
)
def test_a_table_that_breaks_the_schema_names_the_field(copy, damage, field):
    rows = read_table(copy, "sample_annotation")
    damage(rows)
    write_table(copy, "sample_annotation", rows)
    with pytest.raises(DataError, match=rf"sample_annotation.json does not follow the nuScenes schema: .*{field}"):
        load_tables(copy, VERSION)


@pytest.mark.parametrize("text", ["", "[", json.dumps({"token": 1}), "[1]"])
def test_a_table_that_is_no_table_is_named(copy, text):
    (copy / VERSION / "scene.json").write_text(text)
    with pytest.raises(DataError, match=r"scene.json does not follow"):
        load_tables(copy, VERSION)


def test_a_dangling_token_names_the_table_that_lacks_it(copy):
    write_table(copy, "ego_pose", read_table(copy, "ego_pose")[1:])
    tables = load_tables(copy, VERSION)
    lost = next(row.ego_pose_token for row in tables.lidar.values() if row.ego_pose_token not in tables.ego_poses)
    with pytest.raises(DataError, match=rf"ego_pose.json has no row with the token '{lost}'"):
        _ = tables.ego_poses[lost]


@pytest.mark.parametrize("indent", [None, 0, 2])
@pytest.mark.parametrize("block_bytes", [1, 7, 100, 1000, 1 << 20])
def test_tables_read_in_blocks_are_the_whole_tables(copy, indent, block_bytes):
    rows = read_table(copy, "sample_annotation")
    (copy / VERSION / "sample_annotation.json").write_text(json.dumps(rows, indent=indent))
    whole = msgspec.convert(rows, list[AnnotationRow])
    assert list(read_rows(copy / VERSION, "sample_annotation", AnnotationRow, block_bytes)) == whole


@pytest.mark.parametrize("size", range(1, 60))
def test_a_block_may_end_anywhere(tmp_path, size):
    (tmp_path / "category.json").write_text(
        '[{"token":"a","name":"x"} ,\n {"token":"b","name":"y"}, {"token":"c","name":"z"}]'
    )
    assert [row.token for row in read_rows(tmp_path, "category", CategoryRow, size)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "text", ["", "[", '[{"token":"a","name":"x"}', '[{"token":"a","name":"x"},', '{"token":"a"},{}']
)
def test_a_cut_table_read_in_blocks_is_named(tmp_path, text):
    (tmp_path / "category.json").write_text(text)
    for size in (1, 5, 1000):
        with pytest.raises(DataError, match=r"category.json does not follow"):
            list(read_rows(tmp_path, "category", CategoryRow, size))
