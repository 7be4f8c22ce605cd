from __future__ import annotations

import numpy as np
import pytest
import xxhash

from lidar_mt.data.gt_database import dbinfos_name, infos_name, load_dbinfos, load_infos, read_object_points
from lidar_mt.data.plain_pickle import write_pickle
from lidar_mt.structures.errors import DataError


def entry(**changes):
    return {
        "name": "car",
        "path": "nuscenes_gt_database/token_car_3.bin",
        "image_idx": "token",
        "gt_idx": 3,
        "box3d_lidar": np.array([1, 2, 3, 2, 4, 1.5, 0.1, np.nan, np.nan], dtype=np.float32),
        "num_points_in_gt": 2,
        "difficulty": 0,
        "group_id": 0,
    } | changes


def info(**changes):
    return {"sample_token": "token", "gt_names": np.array(["car"]), "valid_flag": np.array([True])} | changes


def without(content, key):
    return {name: value for name, value in content.items() if name != key}


def test_entries_and_keyframes_are_read(tmp_path):
    write_pickle(tmp_path / dbinfos_name(), {"car": [entry()], "bus": []})
    write_pickle(tmp_path / infos_name("val"), [info()])
    found = load_dbinfos(tmp_path)
    assert list(found) == ["car", "bus"]
    assert without(found["car"][0], "box3d_lidar") == without(entry(), "box3d_lidar")
    np.testing.assert_array_equal(found["car"][0]["box3d_lidar"], entry()["box3d_lidar"])
    (frame,) = load_infos(tmp_path, "val")
    assert (frame["sample_token"], frame["gt_names"].tolist(), frame["valid_flag"].tolist()) == (
        "token",
        ["car"],
        [True],
    )


def test_missing_files_name_the_command(tmp_path):
    with pytest.raises(DataError, match=r"nuscenes_dbinfos_train.pkl; run `make create-data`"):
        load_dbinfos(tmp_path)
    with pytest.raises(DataError, match=r"nuscenes_infos_val.pkl; run `make create-data`"):
        load_infos(tmp_path, "val")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "holds a list"),
        ({3: []}, "class 3"),
        ({"car": None}, "class 'car' has no list"),
        ({"car": [entry(), 1]}, "entry 1 of class 'car' is no dict"),
        ({"car": [without(entry(), "path")]}, r"entry 0 of class 'car' lacks \['path'\]"),
        ({"car": [entry(box3d_lidar=np.zeros(7, np.float32))]}, "no box of 9"),
        ({"car": [entry(box3d_lidar=[0.0] * 9)]}, "no box of 9"),
        ({"car": [entry(path=b"a")]}, "path that is no text"),
        ({"car": [entry(num_points_in_gt="2")]}, "number of points"),
        ({"car": [entry(xxh3_64="ab")]}, "checksum"),
    ],
)
def test_an_index_of_another_form_is_refused(tmp_path, content, message):
    write_pickle(tmp_path / dbinfos_name(), content)
    with pytest.raises(DataError, match=message):
        load_dbinfos(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "holds a dict"),
        ([info(), "token"], "keyframe 1 is no dict"),
        ([without(info(), "valid_flag")], r"keyframe 0 lacks \['valid_flag'\]"),
        ([info(gt_names=np.array(["car", "bus"]))], "same length"),
        ([info(gt_names=["car"])], "same length"),
        ([info(valid_flag=np.array([1]))], "same length"),
    ],
)
def test_a_list_of_keyframes_of_another_form_is_refused(tmp_path, content, message):
    write_pickle(tmp_path / infos_name(), content)
    with pytest.raises(DataError, match=message):
        load_infos(tmp_path)


def test_points_are_read_as_they_are(tmp_path):
    points = np.arange(10, dtype=np.float32).reshape(2, 5)
    path = tmp_path / entry()["path"]
    path.parent.mkdir()
    points.tofile(path)
    found = read_object_points(str(tmp_path), entry())
    np.testing.assert_array_equal(found, points)
    found[0] = 0.0  # its own memory


def test_a_missing_or_cut_file_is_an_error_that_names_it(tmp_path):
    path = tmp_path / entry()["path"]
    with pytest.raises(DataError, match=f"missing file of the GT database: {path}"):
        read_object_points(tmp_path, entry())
    path.parent.mkdir()
    for size in (0, 39, 41, 60):
        path.write_bytes(bytes(size))
        with pytest.raises(DataError, match=f"{path} has {size} bytes, the index of the GT database says 40"):
            read_object_points(tmp_path, entry())


def test_any_flipped_bit_is_an_error_where_the_index_has_a_checksum(tmp_path):
    path = tmp_path / entry()["path"]
    path.parent.mkdir()
    data = np.arange(10, dtype=np.float32).tobytes()
    path.write_bytes(data)
    checked = entry(xxh3_64=xxhash.xxh3_64(data).intdigest())
    expected = read_object_points(tmp_path, checked)
    for bit in range(8 * len(data)):
        spoilt = bytearray(data)
        spoilt[bit // 8] ^= 1 << bit % 8
        path.write_bytes(spoilt)
        with pytest.raises(DataError, match=rf"{path} is damaged: .*create_data ... overwrite=true"):
            read_object_points(tmp_path, checked)
    # An index of another toolkit has no checksum: its files are taken as they are.
    assert not np.array_equal(read_object_points(tmp_path, entry()), expected)


@pytest.mark.parametrize("path", ["/etc/passwd", "../secret.bin", "nuscenes_gt_database/../../secret.bin"])
def test_paths_out_of_the_folder_are_refused(tmp_path, path):
    with pytest.raises(DataError, match="outside of"):
        read_object_points(tmp_path, entry(path=path))
