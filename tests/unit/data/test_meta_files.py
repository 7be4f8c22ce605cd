from __future__ import annotations

import pytest
from tests.helpers.tiny_lidar import VERSION

from lidar_mt.data.meta_files import CHECKSUMS_NAME, verify_meta
from lidar_mt.data.packing import META_TABLES, copy_meta


@pytest.fixture
def meta(raw, tmp_path):
    copy_meta(raw, VERSION, tmp_path / "meta")
    return tmp_path / "meta"


def test_good_copies_have_no_problem_with_and_without_checksums(meta):
    assert verify_meta(meta, VERSION) == []
    (meta / CHECKSUMS_NAME).unlink()
    assert verify_meta(meta, VERSION) == []


def test_every_damaged_copy_is_named(meta):
    files = sorted(path for path in meta.rglob("*") if path.is_file() and path.name != CHECKSUMS_NAME)
    assert len(files) > len(META_TABLES)  # a map too
    for path in files:
        good = path.read_bytes()
        middle = len(good) // 2
        flipped = good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :] if good else b"x"
        for bad in (good + b" ", flipped):
            path.write_bytes(bad)
            assert verify_meta(meta, VERSION) == [(str(path), "differs from what was copied")]
        path.unlink()
        ((name, problem),) = verify_meta(meta, VERSION)
        assert name == str(path)
        assert "cannot be read: No such file" in problem
        path.write_bytes(good)


def test_a_truncated_table_is_named_without_checksums_too(meta):
    (meta / CHECKSUMS_NAME).unlink()
    table = meta / VERSION / "scene.json"
    table.write_bytes(table.read_bytes()[:-3])
    ((name, problem),) = verify_meta(meta, VERSION)
    assert name == str(table)
    assert problem.startswith("is no table")


def test_damaged_checksums_are_named(meta):
    (meta / CHECKSUMS_NAME).write_bytes(b"{")
    ((name, _),) = verify_meta(meta, VERSION)
    assert name == str(meta / CHECKSUMS_NAME)
