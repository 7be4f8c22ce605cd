"""The ground truth straight from the tables, against the devkit's."""

import json
import os

import numpy as np
import pytest
from nuscenes.eval.common.loaders import load_gt_of_sample_tokens
from nuscenes.eval.detection.data_classes import DetectionBox

from lidar_mt.metrics.detection_protocol import ATTRIBUTE_NAMES, DETECTION_NAMES
from lidar_mt.metrics.devkit_tables import check_ground_truth, load_tables, split_tokens
from lidar_mt.metrics.nuscenes_truth import load_truth
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


def assert_is_the_devkits(root, version, eval_set):
    truth, tables = load_truth(root, version, eval_set), load_tables(root, version)
    assert truth.tokens == split_tokens(tables, eval_set)
    theirs = load_gt_of_sample_tokens(tables, truth.tokens, DetectionBox).all
    boxes = truth.boxes
    assert len(theirs) == len(boxes.label) > 10
    assert [box.sample_token for box in theirs] == [truth.tokens[i] for i in boxes.sample]
    assert [box.detection_name for box in theirs] == [DETECTION_NAMES[i] for i in boxes.label]
    assert [box.attribute_name for box in theirs] == [("", *ATTRIBUTE_NAMES)[i + 1] for i in boxes.attribute]
    # To the last bit.
    for ours, name in ((boxes.center, "translation"), (boxes.size, "size"), (boxes.rotation, "rotation")):
        np.testing.assert_array_equal(ours, [getattr(box, name) for box in theirs])
    np.testing.assert_array_equal(boxes.velocity, [box.velocity for box in theirs])
    np.testing.assert_array_equal(boxes.num_points, [box.num_pts for box in theirs])
    for token, position in zip(truth.tokens, truth.ego_xy.tolist(), strict=True):
        reading = tables.get("sample_data", tables.get("sample", token)["data"]["LIDAR_TOP"])
        assert tables.get("ego_pose", reading["ego_pose_token"])["translation"][:2] == position
    racks = [
        annotation
        for token in truth.tokens
        for annotation in (tables.get("sample_annotation", a) for a in tables.get("sample", token)["anns"])
        if annotation["category_name"] == "static_object.bicycle_rack"
    ]
    assert truth.racks.center.tolist() == [rack["translation"] for rack in racks]
    assert [truth.tokens[i] for i in truth.racks.sample] == [rack["sample_token"] for rack in racks]
    return truth


def test_equals_the_devkits_to_the_last_bit(root):
    truth = assert_is_the_devkits(root, VERSION, "mini_val")
    assert np.isnan(truth.boxes.velocity).any()
    assert len(truth.racks.sample) > 0


def test_keyframes_far_apart_at_one_time_and_out_of_order(root):
    def change(records):
        records[1]["timestamp"] = records[0]["timestamp"]  # infinite speeds, and 0 / 0
        records[3]["timestamp"] += 4_000_000
        records[6]["timestamp"] -= 1_700_000  # before its predecessor

    edit(root, "sample", change)
    with np.errstate(all="ignore"):
        truth = assert_is_the_devkits(root, VERSION, "mini_val")
    assert np.isinf(truth.boxes.velocity).any()


@pytest.mark.nuscenes
@pytest.mark.parametrize("version", ["v1.0-mini", "v1.0-complete-mini"])
def test_real_tables(version):
    if "LIDAR_MT_NUSCENES" not in os.environ:
        pytest.skip("no real frames; set LIDAR_MT_NUSCENES")
    assert_is_the_devkits(os.environ["LIDAR_MT_NUSCENES"], version, "mini_val")


def test_a_part_keeps_what_belongs_to_its_samples(root):
    truth = load_truth(root, VERSION, "mini_val")
    chosen = [truth.tokens[5], truth.tokens[2]]
    part = truth.only(chosen)
    assert part.tokens == chosen
    np.testing.assert_array_equal(part.ego_xy, truth.ego_xy[[5, 2]])
    for new, old in ((0, 5), (1, 2)):
        np.testing.assert_array_equal(
            part.boxes.center[part.boxes.sample == new], truth.boxes.center[truth.boxes.sample == old]
        )
        np.testing.assert_array_equal(
            part.racks.center[part.racks.sample == new], truth.racks.center[truth.racks.sample == old]
        )
    assert set(part.boxes.sample.tolist()) == {0, 1}


def test_custom_split(root):
    (root / VERSION / "splits.json").write_text(json.dumps({"mine": ["scene-0061", "scene-0916"], "bad": 3}))
    assert {token[:10] for token in load_truth(root, VERSION, "mine").tokens} == {"scene-0061", "scene-0916"}
    with pytest.raises(ConfigError, match="unknown split yours"):
        load_truth(root, VERSION, "yours")
    with pytest.raises(DataError, match="bad is no list of scene names"):
        load_truth(root, VERSION, "bad")
    (root / VERSION / "splits.json").write_text("{")
    with pytest.raises(DataError, match=r"splits\.json cannot be read"):
        load_truth(root, VERSION, "mine")


def test_unknown_and_empty_splits(root):
    with pytest.raises(ConfigError, match=r"unknown split vall.*mini_val"):
        load_truth(root, VERSION, "vall")
    edit(root, "scene", lambda records: records[2].update(name="scene-0916"))
    with pytest.raises(DataError, match=r"no scene of v1\.0-tiny-mini belongs to split mini_train"):
        load_truth(root, VERSION, "mini_train")


@pytest.mark.parametrize(
    ("table", "change", "words"),
    [
        ("sample_annotation", {"attribute_tokens": ["a-vehicle.moving", "a-vehicle.parked"]}, "0-0 has 2 attributes"),
        ("sample_annotation", {"attribute_tokens": ["a-unknown"]}, "0-0 has an attribute that attribute.json does not"),
        ("sample_annotation", {"size": [1.0, 0.0, 1.0]}, "0-0 has the size"),
        ("sample_data", {"is_key_frame": False}, r"sample scene-0103-00+ has no LIDAR_TOP"),
    ],
)
def test_faults_are_named_as_for_the_devkit(root, table, change, words):
    edit(root, table, lambda records: records[0].update(change))
    with pytest.raises(DataError, match=words) as ours:
        load_truth(root, VERSION, "mini_val")
    tables = load_tables(root, VERSION)
    with pytest.raises(DataError) as theirs:
        check_ground_truth(tables, split_tokens(tables, "mini_val"))
    assert str(ours.value) == str(theirs.value)
    load_truth(root, VERSION, "mini_train")


@pytest.mark.parametrize(
    ("table", "key", "lost"),
    [
        ("instance", "category_token", "category"),
        ("sample", "scene_token", "scene"),
        ("sample_annotation", "instance_token", "instance"),
        ("sample_annotation", "next", "sample_annotation"),
        ("sample_data", "ego_pose_token", "ego_pose"),
    ],
)
def test_a_token_that_leads_nowhere_is_named(root, table, key, lost):
    edit(root, table, lambda records: records[0].update({key: "nowhere"}))
    with pytest.raises(DataError, match=rf"{lost}.json has no row with the token 'nowhere'"):
        load_truth(root, VERSION, "mini_val")


def test_missing_strange_and_damaged_tables_are_named(root):
    edit(root, "attribute", lambda records: [record.update(name="asleep") for record in records])
    with pytest.raises(DataError, match="knows no attribute 'asleep'"):
        load_truth(root, VERSION, "mini_val")
    for table in ("log", "map", "visibility"):  # the devkit wants them, we do not
        (root / VERSION / f"{table}.json").unlink()
    (root / VERSION / "instance.json").write_text("[{")
    with pytest.raises(DataError, match=r"instance\.json does not follow"):
        load_truth(root, VERSION, "mini_val")
    (root / VERSION / "instance.json").unlink()
    with pytest.raises(DataError, match=r"lacks instance\.json;"):
        load_truth(root, VERSION, "mini_val")
    with pytest.raises(DataError, match=r"there: v1\.0-tiny-mini"):
        load_truth(root, "v1.0-mini", "mini_val")
