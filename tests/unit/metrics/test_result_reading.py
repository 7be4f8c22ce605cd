"""The fast reader against the slow one: the same boxes of a sound file, the same words about a bad one."""

import copy
import json

import numpy as np
import pytest

from lidar_mt.metrics.detection_protocol import ATTRIBUTE_NAMES, DETECTION_NAMES
from lidar_mt.metrics.eval_boxes import EvalBoxes
from lidar_mt.metrics.nuscenes_results import results_of_samples, write_result_boxes
from lidar_mt.metrics.result_check import check_results, read_results
from lidar_mt.metrics.result_reading import read_result_boxes
from lidar_mt.structures.errors import ResultError

TOKENS = ["b", "a", "Straße", 'd"e\\']
BOX = {
    "sample_token": "a",
    "translation": [600.25, 1600, 1.0],
    "size": [2.0, 4.5, 1.6],
    "rotation": [0.5, 0.0, 0.0, -0.1],
    "velocity": [0.0, -1.5],
    "detection_name": "bus",
    "detection_score": 0.75,
    "attribute_name": "vehicle.moving",
}


def content(**changes):
    results = {token: [] for token in TOKENS}
    results["a"] = [copy.deepcopy(BOX), {**copy.deepcopy(BOX), **changes}]
    return {"meta": {"use_lidar": True}, "results": results}


@pytest.mark.parametrize("layout", [{}, {"indent": 2}, {"separators": (",", ":")}, {"ensure_ascii": False}])
def test_a_sound_file_comes_back_whatever_its_layout(tmp_path, layout):
    whole = content(attribute_name="", detection_score=1, num_pts=3)
    whole["extra"] = {"results": {"a": []}}
    (tmp_path / "r.json").write_text(json.dumps(whole, **layout))
    results = read_result_boxes(tmp_path / "r.json", sorted(TOKENS))
    assert results.meta == {"use_lidar": True}
    assert results.tokens == TOKENS
    boxes = results.boxes
    assert boxes.sample.tolist() == [1, 1]
    assert boxes.center.tolist() == [BOX["translation"]] * 2
    assert (boxes.size[0].tolist(), boxes.rotation[0].tolist()) == (BOX["size"], BOX["rotation"])
    assert boxes.velocity[0].tolist() == BOX["velocity"]
    assert [DETECTION_NAMES[i] for i in boxes.label] == ["bus", "bus"]
    assert boxes.score.tolist() == [0.75, 1.0]
    assert boxes.attribute.tolist() == [ATTRIBUTE_NAMES.index("vehicle.moving"), -1]
    assert boxes.num_points.tolist() == [-1, 1]


def test_written_boxes_come_back_to_the_last_bit(tmp_path):
    rng = np.random.default_rng(0)
    sample = np.sort(rng.integers(0, 4, 300))
    boxes = EvalBoxes(
        sample=sample,
        label=rng.integers(0, 10, 300),
        center=rng.normal(size=(300, 3)) * [1e-8, 1.0, 1e8],
        size=rng.uniform(0.1, 9, (300, 3)),
        rotation=rng.normal(size=(300, 4)),
        velocity=rng.normal(size=(300, 2)),
        attribute=rng.integers(-1, 8, 300),
        score=rng.random(300),
        num_points=np.full(300, -1),
    )
    path = write_result_boxes(tmp_path / "r.json", TOKENS, boxes)
    back = read_result_boxes(path, TOKENS)
    for ours, theirs in zip(back.boxes, boxes, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # And the slow way reads the same.
    slow = read_results(path)
    check_results(slow, TOKENS)
    assert [len(rows) for rows in results_of_samples(TOKENS, boxes)] == [len(v) for v in slow["results"].values()]
    np.testing.assert_array_equal([row["translation"] for v in slow["results"].values() for row in v], boxes.center)


def test_samples_in_another_order():
    boxes = EvalBoxes(np.array([0, 0, 1, 3]), *[np.arange(4)] * 8)
    from lidar_mt.metrics.result_reading import ResultBoxes

    results = ResultBoxes({}, TOKENS, boxes)
    as_in_file = results.for_samples(TOKENS[::-1], in_their_order=False)
    assert (as_in_file.sample.tolist(), as_in_file.label.tolist()) == ([3, 3, 2, 0], [0, 1, 2, 3])
    in_order = results.for_samples(TOKENS[::-1], in_their_order=True)
    assert (in_order.sample.tolist(), in_order.label.tolist()) == ([0, 2, 3, 3], [3, 2, 0, 1])


@pytest.mark.parametrize(
    "bad",
    [
        json.dumps(content(translation=[float("nan"), 0, 0])),
        json.dumps(content(translation=[1.0, 2.0])),
        json.dumps(content(size=[1.0, 0.0, 1.0])),
        json.dumps(content(rotation=[0, 0, 0, 0])),
        json.dumps(content(velocity=[None, 0.0])),
        json.dumps(content(detection_name="lorry")),
        json.dumps(content(attribute_name="asleep")),
        json.dumps(content(detection_score=True)),
        json.dumps(content(detection_score="0.5")),
        json.dumps(content(sample_token="b")),
        json.dumps(content(num_pts="many")),
        json.dumps({"meta": {}, "results": {**content()["results"], "a": [BOX] * 501}}),
        json.dumps({"meta": {}, "results": {**content()["results"], "nobody": []}}),
        json.dumps({"meta": {}, "results": {token: [] for token in TOKENS[1:]}}),
        json.dumps({"meta": {}, "results": {**content()["results"], "a": None}}),
        json.dumps({"meta": {}}),
        json.dumps({"meta": None, "results": {}}),
        "[]",
        "{",
        "",
        "[" * 100_000,
        json.dumps(content()).replace('"b": []', '"b": [], "b": []'),
        json.dumps(content()).replace('"b": []', '"b": [], "a": []'),
        json.dumps(content())[:-1] + ', "results": {}}',
        json.dumps(content()).replace(": 0.75", ": 1e999"),
        json.dumps(content()) + " x",
    ],
)
def test_bad_files_are_refused_in_the_slow_readers_words(tmp_path, bad):
    path = tmp_path / "r.json"
    path.write_text(bad)
    with pytest.raises(ResultError) as ours:
        read_result_boxes(path, TOKENS)
    with pytest.raises(ResultError) as slow:
        check_results(read_results(path), TOKENS, str(path))
    assert str(ours.value) == str(slow.value)
    assert "r.json" in str(ours.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ResultError, match=r"cannot read .*nothing\.json"):
        read_result_boxes(tmp_path / "nothing.json", TOKENS)
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ResultError, match="is not JSON"):
        read_result_boxes(tmp_path / "binary.json", TOKENS)


def test_an_unusual_but_sound_file_is_read_the_slow_way(tmp_path):
    (tmp_path / "r.json").write_text(json.dumps(content(num_pts=10**30)))
    results = read_result_boxes(tmp_path / "r.json", TOKENS)
    assert (results.tokens, results.meta) == (TOKENS, {"use_lidar": True})
    assert results.boxes.num_points.tolist() == [-1, 1]


def test_a_member_given_twice_within_a_box_counts_the_last_time_as_the_devkit_reads_it(tmp_path):
    twice = '"detection_score": 0.1, "detection_score": 0.75'
    text = json.dumps(content()).replace('"detection_score": 0.75', twice, 1)
    (tmp_path / "r.json").write_text(text)
    assert read_result_boxes(tmp_path / "r.json", TOKENS).boxes.score.tolist() == [0.75, 0.75]


def test_a_part_of_the_split(tmp_path):
    part = content()
    del part["results"]["b"]
    (tmp_path / "r.json").write_text(json.dumps(part))
    assert read_result_boxes(tmp_path / "r.json", TOKENS, is_partial=True).tokens == TOKENS[1:]
    with pytest.raises(ResultError, match="1 samples of the split are missing"):
        read_result_boxes(tmp_path / "r.json", TOKENS)
    part["results"]["nobody"] = []
    (tmp_path / "r.json").write_text(json.dumps(part))
    with pytest.raises(ResultError, match="'nobody'"):
        read_result_boxes(tmp_path / "r.json", TOKENS, is_partial=True)
