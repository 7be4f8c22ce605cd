import copy
import json

import pytest

from lidar_mt.metrics.result_check import check_results, read_results
from lidar_mt.structures.errors import ResultError

TOKENS = [f"token{i}" for i in range(6)]
BOX = {
    "sample_token": "token0",
    "translation": [600.0, 1600, 1.0],
    "size": [2.0, 4.5, 1.6],
    "rotation": [1.0, 0.0, 0.0, 0.0],
    "velocity": [0.0, 0.0],
    "detection_name": "car",
    "detection_score": 0.5,
    "attribute_name": "vehicle.parked",
}


def content_with(**changes):
    box = {**copy.deepcopy(BOX), **changes}
    return {"meta": {}, "results": {**{token: [] for token in TOKENS}, "token0": [box]}}


def without(key):
    content = content_with()
    del content["results"]["token0"][0][key]
    return content


def test_sound_content_passes():
    check_results(content_with(), TOKENS)
    check_results(content_with(attribute_name="", detection_score=1, num_pts=3), TOKENS)
    full = content_with()
    full["results"]["token0"] *= 500
    check_results(full, TOKENS)


NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (content_with(translation=[0.0, NAN, 0.0]), "translation has NaN"),
        (content_with(translation=[0.0, 0.0]), "translation is not a list of 3 numbers"),
        (content_with(translation="abc"), "translation is not a list"),
        (content_with(size=[1.0, INFINITY, 1.0]), "size has NaN, infinity"),
        (content_with(size=[1.0, 0.0, 1.0]), "not positive"),
        (content_with(size=[1.0, "2", 1.0]), "size has NaN, infinity or something not a number"),
        (content_with(size=[1.0, 10**400, 1.0]), "size has NaN, infinity"),
        (content_with(rotation=[0, 0, 0, 0]), "zero quaternion"),
        (content_with(rotation=[1, 0, 0, None]), "rotation has NaN"),
        (content_with(velocity=[NAN, NAN]), "velocity has NaN"),
        (content_with(detection_score=NAN), "detection_score is not a finite number"),
        (content_with(detection_score=None), "detection_score is not a finite number"),
        (content_with(detection_score=True), "detection_score is not a finite number"),
        (content_with(num_pts="many"), "num_pts"),
        (content_with(detection_name="lorry"), "unknown class 'lorry' .*car, truck"),
        (content_with(detection_name=["car"]), "unknown class"),
        (content_with(attribute_name="vehicle.flying"), "unknown attribute 'vehicle.flying'"),
        (content_with(attribute_name=None), "unknown attribute None"),
        (content_with(sample_token="token1"), "sample_token is another's"),
        (without("velocity"), "a box without velocity"),
        ({"meta": {}, "results": {**content_with()["results"], "token0": ["box"]}}, "not a mapping"),
        ({"meta": {}, "results": {**content_with()["results"], "token0": None}}, "no list of boxes but a NoneType"),
        ({"meta": {}, "results": {**content_with()["results"], "token0": [BOX] * 501}}, "more than 500 boxes"),
        ({"results": {}}, "'meta'"),
        ({"meta": {}}, "'results'"),
        ({"meta": {}, "results": []}, "'results'"),
    ],
)
def test_fault_is_named_with_its_token(content, words):
    with pytest.raises(ResultError, match=words) as caught:
        check_results(content, TOKENS, "mine.json")
    assert "mine.json" in str(caught.value)
    if "results" in words or "meta" in words:
        return
    assert "1 samples" in str(caught.value)
    assert "'token0'" in str(caught.value)


def test_missing_and_foreign_tokens_are_counted_and_the_first_named():
    results = {"token5": [], **{f"foreign{i}": [] for i in range(7)}}
    with pytest.raises(ResultError) as caught:
        check_results({"meta": {}, "results": results}, TOKENS)
    message = str(caught.value)
    assert "does not fit the 6 samples" in message
    assert "5 samples of the split are missing" in message
    assert "'token0', 'token1', 'token2' and 2 more" in message
    assert "7 samples are not in the split" in message
    assert "'foreign0', 'foreign1', 'foreign2' and 4 more" in message


def test_all_kinds_of_faults_are_listed_at_once():
    content = content_with(detection_name="lorry", velocity=[NAN, 0.0])
    del content["results"]["token3"]
    with pytest.raises(ResultError) as caught:
        check_results(content, TOKENS)
    assert {"token3", "lorry", "velocity"} <= set(str(caught.value).replace("'", " ").split())


def test_many_different_faults_do_not_flood_the_message():
    boxes = [{**BOX, "detection_name": f"class{i}"} for i in range(300)]
    with pytest.raises(ResultError) as caught:
        check_results({"meta": {}, "results": {**content_with()["results"], "token0": boxes}}, TOKENS)
    assert len(str(caught.value).splitlines()) < 20


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ("", "is not JSON"),
        ("[]", "no mapping 'meta'"),
        ('{"results": {}}', "no mapping 'meta'"),
        ('{"meta": {}, "results": [1]}', "no mapping 'results'"),
        ('{"meta": {}, "results": {"t7": [], "t8": [], "t7": []}}', "'t7' given more than once"),
        ('{"meta": {}, "results": {}, "results": {}}', "'results' given more than once"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_file_of_another_form_is_refused(tmp_path, text, words):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(ResultError, match=words) as caught:
        read_results(path)
    assert "results.json" in str(caught.value)


def test_file_that_is_missing_or_binary_is_refused(tmp_path):
    with pytest.raises(ResultError, match=r"cannot read .*nothing\.json"):
        read_results(tmp_path / "nothing.json")
    with pytest.raises(ResultError, match="cannot read"):
        read_results(tmp_path)
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ResultError, match="is not JSON"):
        read_results(tmp_path / "binary.json")


def test_sound_file_comes_back_whole(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(content_with()))
    assert read_results(path) == content_with()
