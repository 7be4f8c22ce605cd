import json

import pytest

from lidar_mt.metrics.devkit_tables import check_ground_truth, has_ground_truth, load_tables, split_tokens
from lidar_mt.metrics.eval_splits import resolve_eval_set
from lidar_mt.structures.errors import ConfigError, DataError
from tests.helpers.tiny_nuscenes import write_tiny_nuscenes

VERSION = "v1.0-tiny-mini"


@pytest.fixture
def root(tmp_path):
    return write_tiny_nuscenes(tmp_path)


def edit(root, table, change):
    path = root / VERSION / f"{table}.json"
    records = json.loads(path.read_text())
    change(records)
    path.write_text(json.dumps(records))


@pytest.mark.parametrize(
    ("version", "split", "expected"),
    [
        ("v1.0-mini", "val", "mini_val"),
        ("v1.0-mini", "train", "mini_train"),
        ("v1.0-complete-mini", "mini_val", "mini_val"),
        ("v1.0-trainval", "val", "val"),
        ("v1.0-trainval", "train_detect", "train_detect"),
        ("v1.0-test", "test", "test"),
        ("v1.0-mini", "my_own_split", "my_own_split"),
    ],
)
def test_split_names(version, split, expected):
    assert resolve_eval_set(version, split) == expected


@pytest.mark.parametrize(("version", "split"), [("v1.0-trainval", "mini_val"), ("v1.0-mini", "test"), ("v1.0", "val")])
def test_split_of_another_version_is_refused(version, split):
    with pytest.raises(ConfigError, match=f"split {split} belongs to versions named .* not to {version}"):
        resolve_eval_set(version, split)


def test_tokens_of_splits(root):
    tables = load_tables(root, VERSION)
    validation, training = split_tokens(tables, "mini_val"), split_tokens(tables, "mini_train")
    assert [token[:10] for token in validation] == ["scene-0103"] * 4 + ["scene-0916"] * 4
    assert [token[:10] for token in training] == ["scene-0061"] * 4


def test_custom_split_of_the_version(root):
    (root / VERSION / "splits.json").write_text(json.dumps({"mine": ["scene-0061", "scene-0916"]}))
    tokens = split_tokens(load_tables(root, VERSION), "mine")
    assert {token[:10] for token in tokens} == {"scene-0061", "scene-0916"}


def test_unknown_and_empty_splits(root):
    with pytest.raises(ConfigError, match=r"unknown split vall .*mini_val"):
        split_tokens(load_tables(root, VERSION), "vall")
    edit(root, "scene", lambda records: records[2].update(name="scene-0916"))
    with pytest.raises(DataError, match=r"no scene of v1\.0-tiny-mini belongs to split mini_train"):
        split_tokens(load_tables(root, VERSION), "mini_train")


def test_missing_version_names_those_that_are_there(root):
    with pytest.raises(DataError, match=r"no nuScenes tables at .*v1.0-mini \(there: v1.0-tiny-mini\)"):
        load_tables(root, "v1.0-mini")
    with pytest.raises(DataError, match="no version there"):
        load_tables(root / "maps", "v1.0-mini")


def test_missing_and_damaged_tables_are_named(root):
    (root / "maps" / "mask.png").unlink()
    with pytest.raises(DataError, match=r"mask\.png"):
        load_tables(root, VERSION)
    (root / "maps" / "mask.png").touch()
    edit(root, "instance", lambda records: records.pop(0))
    with pytest.raises(DataError, match="scene-0103-0"):
        load_tables(root, VERSION)
    (root / VERSION / "instance.json").write_text("[{")
    with pytest.raises(DataError, match="not JSON"):
        load_tables(root, VERSION)
    (root / VERSION / "instance.json").unlink()
    (root / VERSION / "log.json").unlink()
    with pytest.raises(DataError, match=r"lacks instance.json, log.json"):
        load_tables(root, VERSION)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"attribute_tokens": ["a-vehicle.moving", "a-vehicle.parked"]}, "has 2 attributes"),
        ({"attribute_tokens": ["a-unknown"]}, "has an attribute that attribute"),
        ({"size": [1.0, 0.0, 1.0]}, "has the size"),
    ],
)
def test_annotation_that_stops_the_evaluator_is_named(root, change, words):
    edit(root, "sample_annotation", lambda records: records[0].update(change))
    tables = load_tables(root, VERSION)
    with pytest.raises(DataError, match=f"sample_annotation scene-0103-0-0 {words}"):
        check_ground_truth(tables, split_tokens(tables, "mini_val"))
    check_ground_truth(tables, split_tokens(tables, "mini_train"))


def test_sample_without_lidar_keyframe_is_named(root):
    edit(root, "sample_data", lambda records: records[0].update(is_key_frame=False))
    tables = load_tables(root, VERSION)
    with pytest.raises(DataError, match=r"sample scene-0103-00+ has no LIDAR_TOP"):
        check_ground_truth(tables, split_tokens(tables, "mini_val"))


def test_only_detection_classes_are_ground_truth(root):
    edit(root, "instance", lambda records: [record.update(category_token="c-animal") for record in records])
    tables = load_tables(root, VERSION)
    assert not has_ground_truth(tables, split_tokens(tables, "mini_val"))
    assert all(record["anns"] for record in tables.sample)
