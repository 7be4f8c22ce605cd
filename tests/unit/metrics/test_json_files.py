import json
import resource

import pytest

from lidar_mt.metrics.json_files import nan_to_none, write_json
from lidar_mt.structures.errors import DataError


def test_numbers_that_json_cannot_hold_become_null_at_any_depth():
    value = {"a": float("nan"), 0.5: [1.0, float("inf"), ("x", float("-inf"))], "b": None, "c": True, "d": 3}
    expected = {"a": None, "0.5": [1.0, None, ["x", None]], "b": None, "c": True, "d": 3}
    assert nan_to_none(value) == expected
    assert json.loads(json.dumps(nan_to_none(value), allow_nan=False)) == expected


def test_old_content_stays_when_writing_fails(tmp_path):
    path = write_json(tmp_path / "metrics.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 2}


def test_file_that_does_not_fit_is_named_and_the_old_one_stays(tmp_path):
    path = write_json(tmp_path / "metrics.json", {"a": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(DataError, match=r"cannot write .*metrics\.json: File too large"):
            write_json(path, {"a": "x" * 100_000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert json.loads(path.read_text()) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["metrics.json"]
