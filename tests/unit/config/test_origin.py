from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lidar_mt.config.origin import NETWORKS, is_current, origin_line, origin_of
from lidar_mt.config.places import Place
from lidar_mt.metrics.json_files import write_json


@pytest.fixture
def published(tmp_path: Path) -> Path:
    folder = tmp_path / "run/published"
    (folder / "int8").mkdir(parents=True)
    (folder / "qat-best.ckpt").write_bytes(b"weights")
    (folder / "int8/signature.json").write_text("{}")
    (tmp_path / "other.ckpt").write_bytes(b"others")
    return folder


def written(published: Path, *paths: Path) -> Path:
    """A result of the networks at some paths."""
    places = {str(number): Place("qat", "qat", "torch", path) for number, path in enumerate(paths)}
    origins = {name: origin_of(place, published) for name, place in places.items()}
    return write_json(published.parent / "result.json", {NETWORKS: origins})


def test_a_result_is_current_until_one_of_its_networks_changes(published: Path, tmp_path: Path) -> None:
    paths = (published / "qat-best.ckpt", published / "int8", tmp_path / "other.ckpt")
    for changed in (paths[0], paths[1] / "signature.json", paths[2]):
        result = written(published, *paths)
        assert is_current(result, published)
        changed.write_bytes(changed.read_bytes() + b" ")
        assert not is_current(result, published)
    result = written(published, *paths)
    paths[2].unlink()
    assert not is_current(result, published)


def test_a_run_that_was_moved_stays_current_and_a_copied_result_does_not(published: Path, tmp_path: Path) -> None:
    result = written(published, published / "qat-best.ckpt")
    assert json.loads(result.read_text())[NETWORKS]["0"]["path"] == "qat-best.ckpt"
    moved = Path(shutil.move(tmp_path / "run", tmp_path / "moved"))
    assert is_current(moved / "result.json", moved / "published")
    (tmp_path / "another").mkdir()
    (tmp_path / "another/qat-best.ckpt").write_bytes(b"another network")
    assert not is_current(moved / "result.json", tmp_path / "another")


def test_the_checkpoint_before_stands_for_one_that_is_gone(published: Path) -> None:
    checkpoint = published / "qat-best.ckpt"
    result = written(published, checkpoint)
    checkpoint.rename(published / "qat-best.previous.ckpt")
    assert is_current(result, published)
    assert is_current(written(published, checkpoint), published)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"networks": {}}', '{"networks": [1]}', '{"networks": 1}'])
def test_a_result_that_does_not_say_is_not_current(published: Path, content: str) -> None:
    (published / "result.json").write_text(content)
    assert not is_current(published / "result.json", published)
    assert not is_current(published / "nothing.json", published)


def test_people_read_the_same(published: Path) -> None:
    origin = origin_of(Place("qat", "qat", "torch", published / "qat-best.ckpt"), published)
    assert origin_line("a", origin) == f"a: qat-best.ckpt, SHA-256 {origin['sha256']}"
    assert len(origin["sha256"]) == 64
