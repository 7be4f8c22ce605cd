"""The simulated data set as its readers see it: the unmodified devkit, and byte for byte."""

import hashlib
import itertools
import json
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")
import matplotlib.pyplot as plt
from nuscenes import NuScenes
from nuscenes.eval.common.loaders import load_gt
from nuscenes.eval.detection.data_classes import DetectionBox
from nuscenes.eval.detection.utils import category_to_detection_name
from nuscenes.utils.data_classes import LidarPointCloud
from nuscenes.utils.geometry_utils import points_in_box
from shapely.geometry import Polygon

from lidar_mt.data.simulation import Plan, write_dataset
from lidar_mt.structures.classes import DETECTION_CLASSES
from lidar_mt.structures.nuscenes_tables import TABLE_NAMES

KEYFRAMES, SWEEPS = 4, 2
PLAN = Plan("v1.0-mini", ("scene-0061", "scene-0103"), KEYFRAMES, SWEEPS, seed=3)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    out = tmp_path_factory.mktemp("simulated") / "nuscenes"
    write_dataset(out, PLAN, workers=1)
    return out


@pytest.fixture(scope="module")
def tables(root):
    return NuScenes("v1.0-mini", str(root), verbose=False)


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def clouds(tables):
    """(sample, boxes in the sensor frame, points, labels) of every keyframe."""
    for sample in tables.sample:
        token = sample["data"]["LIDAR_TOP"]
        path, boxes, _ = tables.get_sample_data(token)
        label_file = f"{tables.dataroot}/{tables.get('lidarseg', token)['filename']}"
        yield sample, boxes, LidarPointCloud.from_file(path).points, np.fromfile(label_file, dtype=np.uint8)


def test_same_seed_gives_the_same_bytes_with_two_workers(root, tmp_path):
    write_dataset(tmp_path / "again", PLAN, workers=2)
    assert digests(tmp_path / "again") == digests(root)


def test_other_seed_gives_another_town(root, tmp_path):
    write_dataset(tmp_path / "other", Plan("v1.0-mini", ("scene-0061",), 2, 0, seed=4))
    assert not set(digests(tmp_path / "other").values()) & {
        value for name, value in digests(root).items() if name.endswith(".bin")
    }


def test_every_reference_between_tables_is_met(root, tables):
    owners = {"sample_token": "sample", "scene_token": "scene", "log_token": "log", "sensor_token": "sensor"}
    owners |= {
        f"{name}_token": name for name in ("instance", "category", "visibility", "ego_pose", "calibrated_sensor")
    }
    owners |= {f"{end}_{kind}_token": table for end in ("first", "last") for kind, table in (("sample", "sample"),)}
    owners |= {"first_annotation_token": "sample_annotation", "last_annotation_token": "sample_annotation"}
    for name in TABLE_NAMES:
        records = json.loads((root / "v1.0-mini" / f"{name}.json").read_text())
        tokens = [record["token"] for record in records]
        assert len(set(tokens)) == len(tokens) > 0
        for record in records:
            for key in set(record) & set(owners):
                tables.get(owners[key], record[key])
            for key in set(record) & {"prev", "next"}:
                assert (
                    record[key] == ""
                    or tables.get(name, record[key])[{"prev": "next", "next": "prev"}[key]] == record["token"]
                )
            for attribute in record.get("attribute_tokens", []):
                tables.get("attribute", attribute)
    assert len(tables.attribute) == 8
    assert len(tables.visibility) == 4
    assert len(tables.category) == 32


def test_files_named_are_the_files_written(root, tables):
    named = {record["filename"] for name in ("sample_data", "lidarseg", "map") for record in getattr(tables, name)}
    folders = ("samples", "sweeps", "lidarseg", "maps")
    written = {str(p.relative_to(root)) for f in folders for p in (root / f).rglob("*") if p.is_file()}
    assert named == written


def test_scenes_have_keyframes_at_2_hz_and_sweeps_at_20_hz(tables):
    for scene in tables.scene:
        assert scene["nbr_samples"] == KEYFRAMES
        record = tables.get("sample_data", tables.get("sample", scene["first_sample_token"])["data"]["LIDAR_TOP"])
        assert record["prev"] == ""
        chain = [record]
        while chain[-1]["next"]:
            chain.append(tables.get("sample_data", chain[-1]["next"]))
        keys = [record["is_key_frame"] for record in chain]
        assert keys == [True] + [False] * SWEEPS + ([True] + [False] * SWEEPS) * (KEYFRAMES - 2) + [True]
        times = np.array([record["timestamp"] for record in chain]) * 1e-6
        lags = np.diff(times)
        np.testing.assert_allclose(lags[:: SWEEPS + 1], 0.5 - 0.05 * SWEEPS, atol=1e-3)
        np.testing.assert_allclose(np.delete(lags, slice(None, None, SWEEPS + 1)), 0.05, atol=1e-3)
        assert [record["sample_token"] for record in chain[1 : SWEEPS + 2]] == [chain[SWEEPS + 1]["sample_token"]] * (
            SWEEPS + 1
        )


def test_devkit_counts_the_annotated_points_in_every_box(tables):
    boxes_seen = 0
    for _, boxes, points, _ in clouds(tables):
        for box in boxes:
            annotation = tables.get("sample_annotation", box.token)
            assert points_in_box(box, points[:3]).sum() == annotation["num_lidar_pts"]
            boxes_seen += 1
    assert boxes_seen > 200


def test_points_of_an_object_lie_in_its_box_with_its_label(tables):
    index = {category["name"]: category["index"] for category in tables.category}
    inside, total = 0, 0
    for _, boxes, points, labels in clouds(tables):
        assert len(labels) == points.shape[1]
        assert labels.max() <= 31
        for name in {box.name for box in boxes}:
            mine = labels == index[name]
            held = np.zeros(len(labels), dtype=bool)
            for box in boxes:
                if box.name == name:
                    held |= points_in_box(box, points[:3])
            inside, total = inside + (mine & held).sum(), total + mine.sum()
    assert inside > 0.98 * total > 0


def test_boxes_do_not_overlap(tables):
    for sample in tables.sample:
        boxes = [tables.get_box(token) for token in sample["anns"]]
        shapes = [Polygon(box.bottom_corners()[:2].T) for box in boxes]
        for (one, first), (other, second) in itertools.combinations(zip(boxes, shapes, strict=True), 2):
            overlap = first.intersection(second).area
            assert overlap < 1e-6, (one.name, other.name, overlap)


def test_ego_drives_on_the_mask_and_through_nothing(tables):
    for sample, boxes, _, _ in clouds(tables):
        data = tables.get("sample_data", sample["data"]["LIDAR_TOP"])
        x, y, _ = tables.get("ego_pose", data["ego_pose_token"])["translation"]
        log = tables.get("log", tables.get("scene", sample["scene_token"])["log_token"])
        assert tables.get("map", log["map_token"])["mask"].is_on_mask(x, y).all()
        ego = Polygon([(-0.87, -2.05), (0.87, -2.05), (0.87, 2.05), (-0.87, 2.05)])
        assert all(not ego.intersects(Polygon(box.bottom_corners()[:2].T)) for box in boxes)


def test_attributes_match_the_motion_between_boxes(tables):
    moving = {"vehicle.moving", "pedestrian.moving"}
    standing = {"vehicle.stopped", "vehicle.parked", "pedestrian.standing", "pedestrian.sitting_lying_down"}
    seen = set()
    for annotation in tables.sample_annotation:
        name = category_to_detection_name(annotation["category_name"])
        attributes = {tables.get("attribute", token)["name"] for token in annotation["attribute_tokens"]}
        assert len(attributes) == (0 if name in (None, "barrier", "traffic_cone") else 1)
        seen |= attributes
        velocity = tables.box_velocity(annotation["token"])
        if not np.isnan(velocity).any():
            speed = np.hypot(*velocity[:2])
            assert not attributes & moving or speed > 0.29
            assert not attributes & standing or speed < 0.31
    assert seen >= {"vehicle.moving", "vehicle.parked", "pedestrian.moving", "pedestrian.standing"}


def test_detection_evaluation_finds_all_ten_classes(tables):
    truth = load_gt(tables, "mini_train", DetectionBox)
    names = {box.detection_name for token in truth.sample_tokens for box in truth[token]}
    truth = load_gt(tables, "mini_val", DetectionBox)
    names |= {box.detection_name for token in truth.sample_tokens for box in truth[token]}
    assert names == set(DETECTION_CLASSES)


def test_devkit_draws_it(tables, tmp_path):
    token = tables.sample[1]["data"]["LIDAR_TOP"]
    for number, lidarseg in enumerate((False, True)):
        tables.render_sample_data(
            token,
            nsweeps=1 if lidarseg else 3,
            show_lidarseg=lidarseg,
            underlay_map=True,
            out_path=str(tmp_path / f"{number}.png"),
            verbose=False,
        )
    tables.render_egoposes_on_map(tables.log[0]["location"], out_path=str(tmp_path / "map.png"))
    plt.close("all")
    assert all((tmp_path / name).stat().st_size > 10_000 for name in ("0.png", "1.png", "map.png"))


def simulate(*arguments):
    command = [sys.executable, "-m", "lidar_mt.simulate", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_program_writes_a_set_and_says_what_comes_next(tmp_path):
    done = simulate(f"out={tmp_path / 'sim'}", "scenes=2", "keyframes=2", "sweeps=0", "workers=1")
    assert done.returncode == 0, done.stderr
    assert "lidar_mt.pack_data" in done.stdout
    names = {scene["name"] for scene in json.loads((tmp_path / "sim" / "v1.0-mini" / "scene.json").read_text())}
    assert names == {"scene-0061", "scene-0103"}


def test_program_names_a_wrong_key_or_number(tmp_path):
    done = simulate(f"out={tmp_path / 'sim'}", "scenes=11")
    assert done.returncode == 2
    assert "error: scenes=11" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "sim").exists()
