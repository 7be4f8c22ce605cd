from __future__ import annotations

import json
import pickle
from collections import Counter

import numpy as np
import pytest
import shapely.affinity
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helpers.object_database import JsonObjects, write_objects
from tests.helpers.samples import random_sample

from lidar_mt.config import compose
from lidar_mt.data.object_bank import ObjectBank
from lidar_mt.data.transforms import BevLabelMap, GtSampling
from lidar_mt.data.transforms.gt_sampling import choose_free
from lidar_mt.structures.boxes import points_in_boxes
from lidar_mt.structures.classes import DETECTION_CLASSES, Classes
from lidar_mt.structures.errors import ConfigError, DataError
from lidar_mt.structures.grid import Grid

CLASSES = Classes(DETECTION_CLASSES, (DETECTION_CLASSES,), ("others", "driveable_surface"))
TARGETS = dict(zip(DETECTION_CLASSES, (2, 3, 7, 4, 6, 2, 6, 6, 2, 2), strict=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("objects")
    write_objects(folder, {**dict.fromkeys(DETECTION_CLASSES, 40), "animal": 5})
    return folder


def sampling(folder, targets=None, **options):
    return GtSampling(CLASSES, folder, TARGETS if targets is None else targets, reader=JsonObjects(), **options)


def outline(box):
    x, y, width, length, yaw = (float(box[i]) for i in (0, 1, 3, 4, 6))
    flat = shapely.box(-length / 2, -width / 2, length / 2, width / 2)
    return shapely.affinity.translate(shapely.affinity.rotate(flat, yaw, (0, 0), use_radians=True), x, y)


def pasted(before, after):
    return after.points[len(before.points) :], after.boxes[len(before.boxes) :], after.labels[len(before.labels) :]


def test_what_was_there_stays_in_front(folder):
    for seed in range(10):
        before = random_sample(seed)
        after = sampling(folder)(before, np.random.default_rng(seed))
        points, boxes, labels = pasted(before, after)
        assert len(boxes) == len(labels) > 5
        assert len(points) >= 5 * len(boxes)
        np.testing.assert_array_equal(after.points[: len(before.points)], before.points)
        np.testing.assert_array_equal(after.boxes[: len(before.boxes)], before.boxes)
        np.testing.assert_array_equal(after.labels[: len(before.labels)], before.labels)
        assert after.num_keyframe_points == before.num_keyframe_points
        assert (after.points.dtype, after.boxes.dtype, after.labels.dtype) == (np.float32, np.float32, np.int64)


def test_nothing_that_was_pasted_overlaps(folder):
    for seed in range(10):
        before = random_sample(seed)
        _, boxes, _ = pasted(before, sampling(folder)(before, np.random.default_rng(seed)))
        outlines = [outline(box) for box in [*before.boxes, *boxes]]
        for i in range(len(before.boxes), len(outlines)):
            for j in range(i):
                assert outlines[i].intersection(outlines[j]).area < 1e-6


def slow_choice(scene, candidates):
    taken, chosen = [outline(box) for box in scene], []
    for i, box in enumerate(candidates):
        shape = outline(box)
        if all(shape.intersection(other).area < 1e-9 for other in taken):
            taken.append(shape)
            chosen.append(i)
    return chosen


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 12), st.integers(0, 25), st.floats(5, 40))
def test_as_many_as_fit_are_taken_in_order(seed, scene, candidates, spread):
    rng = np.random.default_rng(seed)
    count = scene + candidates
    boxes = np.column_stack(
        [rng.uniform(-spread, spread, (count, 2)), np.zeros(count), rng.uniform(0.5, 8, (count, 3))]
    )
    boxes = np.column_stack([boxes, rng.uniform(-4, 4, count), np.full((count, 2), np.nan)]).astype(np.float32)
    assert choose_free(boxes[:scene], boxes[scene:]).tolist() == slow_choice(boxes[:scene], boxes[scene:])


def test_pasted_points_are_those_of_the_file_around_their_box(folder):
    infos = JsonObjects().load_dbinfos(folder)
    files = {
        tuple(np.float32(info["box3d_lidar"]).tolist()): (name, np.fromfile(folder / info["path"], np.float32))
        for name, objects in infos.items()
        for info in objects
    }
    before = random_sample(1)
    points, boxes, labels = pasted(before, sampling(folder)(before, np.random.default_rng(1)))
    for box, label in zip(boxes, labels, strict=True):
        name, raw = files[tuple(box.tolist())]
        assert DETECTION_CLASSES[label] == name
        raw = raw.reshape(-1, 5)
        mine, points = points[: len(raw)], points[len(raw) :]
        np.testing.assert_allclose(mine[:, :3], raw[:, :3] + box[:3], atol=1e-5)
        np.testing.assert_array_equal(mine[:, 3:], raw[:, 3:])
        assert points_in_boxes(mine, box[None]).all()
    assert not len(points)


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.5, 1.0])
def test_numbers_drawn_are_those_of_the_formula(tmp_path, rate):
    # Far apart, so that nothing collides and every object drawn is pasted.
    infos = write_objects(tmp_path / "db", dict.fromkeys(DETECTION_CLASSES, 30), spread_m=1e6)
    plenty = {name: sum(info["num_points_in_gt"] >= 5 for info in objects) for name, objects in infos.items()}
    for seed in range(5):
        before = random_sample(seed, boxes=12)
        _, _, labels = pasted(before, sampling(tmp_path / "db", rate=rate)(before, np.random.default_rng(seed)))
        present, added = Counter(before.labels.tolist()), Counter(labels.tolist())
        for label, (name, target) in enumerate(TARGETS.items()):
            assert added[label] == min(plenty[name], max(0, round(rate * (target - present[label]))))


def test_no_object_is_pasted_twice_and_none_with_few_points(tmp_path):
    infos = write_objects(tmp_path / "db", {"car": 12}, spread_m=1e6)
    few = {tuple(np.float32(info["box3d_lidar"])) for info in infos["car"] if info["num_points_in_gt"] < 12}
    assert 0 < len(few) < 12
    transform = sampling(tmp_path / "db", {"car": 100}, min_points=12)
    _, boxes, _ = pasted(empty := random_sample(0, boxes=0), transform(empty, np.random.default_rng(0)))
    got = [tuple(box) for box in boxes]
    assert len(set(got)) == len(got) == 12 - len(few)
    assert not few & set(got)


def test_every_object_comes_up(tmp_path):
    write_objects(tmp_path / "db", {"bus": 15})
    transform = sampling(tmp_path / "db", {"bus": 1}, min_points=1)
    empty = random_sample(0, boxes=0)
    drawn = {float(transform(empty, np.random.default_rng(seed)).boxes[0, 0]) for seed in range(200)}
    assert len(drawn) == 15


def test_pasted_points_have_no_vote_in_bev_labels(folder):
    grid = Grid((-51.2, -51.2, -5.0, 51.2, 51.2, 3.0), (0.4, 0.4, 8.0))
    before = random_sample(2)
    after = sampling(folder)(before, np.random.default_rng(2))
    expected = BevLabelMap(grid)(before, np.random.default_rng(0)).bev_labels
    np.testing.assert_array_equal(BevLabelMap(grid)(after, np.random.default_rng(0)).bev_labels, expected)


def test_a_function_of_the_generator_alone(folder):
    used = sampling(folder)
    used(random_sample(5), np.random.default_rng(9))
    for transform in (used, pickle.loads(pickle.dumps(used))):  # noqa: S301
        first = transform(random_sample(3), np.random.default_rng(1))
        second = sampling(folder)(random_sample(3), np.random.default_rng(1))
        np.testing.assert_array_equal(first.points, second.points)
        np.testing.assert_array_equal(first.boxes, second.boxes)
    other = sampling(folder)(random_sample(3), np.random.default_rng(2))
    assert len(other.points) != len(first.points) or not np.array_equal(other.points, first.points)


def test_the_bank_holds_arrays_and_no_object_per_entry(folder):
    bank = ObjectBank(folder, DETECTION_CLASSES, 5, JsonObjects())
    held = [value for value in vars(bank).values() if hasattr(value, "__len__") and len(value) >= len(bank)]
    assert len(bank) > 200
    assert held
    assert all(isinstance(value, np.ndarray) and value.dtype != object for value in held)
    assert len(pickle.dumps(bank)) < 150 * len(bank)


def test_a_missing_file_is_named(tmp_path):
    infos = write_objects(tmp_path / "db", {"car": 1})
    path = tmp_path / "db" / infos["car"][0]["path"]
    transform = sampling(tmp_path / "db", {"car": 1}, min_points=1)
    for spoil in (lambda: path.write_bytes(path.read_bytes()[:20]), path.unlink):
        spoil()
        with pytest.raises(DataError, match=rf"{path}.*run `make create-data` again"):
            transform(random_sample(0, boxes=0), np.random.default_rng(0))


def test_an_empty_database_is_refused_before_training_and_an_empty_class_is_named(tmp_path, caplog):
    write_objects(tmp_path / "db", {"car": 10, "animal": 3})
    with pytest.raises(DataError, match=r"holds no object with at least 5 points of the classes truck, bus"):
        sampling(tmp_path / "db", {"truck": 2, "bus": 1}).prepare()
    sampling(tmp_path / "db", {"truck": 2, "car": 1}).prepare()
    assert "has no truck with 5 points: none is pasted" in caplog.text


def test_a_box_of_another_size_is_refused(tmp_path):
    infos = write_objects(tmp_path / "db", {"car": 1})
    infos["car"][0]["box3d_lidar"] = infos["car"][0]["box3d_lidar"][:7]
    (tmp_path / "db" / "dbinfos.json").write_text(json.dumps(infos))
    with pytest.raises(DataError, match=r"has a box of shape \(7,\)"):
        ObjectBank(tmp_path / "db", ["car"], 1, JsonObjects())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": {"cart": 2}}, "cart"),
        ({"targets": {"car": -2}}, "expected a rate"),
        ({"rate": -1.0}, "expected a rate"),
        ({"min_points": 0}, "min_points >= 1"),
    ],
)
def test_impossible_settings_are_refused(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        sampling(tmp_path, **options)


def test_configuration_holds_the_published_targets_and_puts_sampling_first():
    cfg = compose("train", ["augmentation=full"])
    assert cfg.augmentation.gt_sampling.targets == TARGETS
    assert next(iter(cfg.augmentation)) == "gt_sampling"
    assert compose("train").augmentation.gt_sampling is None
    assert compose("train", ["experiment=reference"]).data.cbgs
