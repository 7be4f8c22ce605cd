from __future__ import annotations

import os
import shutil
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
from tests.helpers.tiny_lidar import VERSION, write_raw_nuscenes

from lidar_mt.data.gt_building import DatabasePlan, build_database
from lidar_mt.data.gt_space import check_space
from lidar_mt.data.lmdb_store.reader import StoreReader
from lidar_mt.data.packing import pack_split
from lidar_mt.structures.classes import DETECTION_CLASSES
from lidar_mt.structures.errors import DataError

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    root = tmp_path_factory.mktemp("packed")
    pack_split(write_raw_nuscenes(root / "raw", keyframes=6, between=3), VERSION, "train", root)
    return DatabasePlan(root, VERSION, "train", root / "out", DETECTION_CLASSES)


def needed_bytes(plan, classes, keyframes):
    """Object by object, without margin."""
    reader, total, objects = StoreReader(plan.store), 0, 0
    for i in keyframes:
        record = reader.keyframe(reader.sample_tokens[i].decode())
        for name, valid, count in zip(
            record.detection_names, record.valid.numpy(), record.num_lidar_pts.numpy(), strict=True
        ):
            if valid and name in classes:
                size = 20 * int(count) * (1 + len(record.sweeps))
                total += max(1, int(np.ceil(size / 4096))) * 4096
                objects += 1
    return total, objects


@pytest.mark.parametrize("classes", [DETECTION_CLASSES, ("car",)])
@pytest.mark.parametrize("keyframes", [range(6), [1, 4]])
def test_too_little_space_is_noticed_from_the_annotations(plan, monkeypatch, classes, keyframes):
    wanted, _ = needed_bytes(plan, classes, keyframes)
    assert wanted > 4096
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, int(1.201 * wanted)))
    check_space(plan.store, plan.out.parent, classes, keyframes)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, int(1.199 * wanted)))
    with pytest.raises(DataError, match=rf"not enough space: the objects of {len(keyframes)} keyframes .*pass another"):
        check_space(plan.store, plan.out.parent, classes, keyframes)


def test_a_file_system_without_room_for_the_files_is_noticed(plan, monkeypatch):
    _, objects = needed_bytes(plan, DETECTION_CLASSES, range(6))
    real = os.statvfs(plan.out.parent)

    class Few:
        f_files, f_favail = 10_000, int(1.2 * objects) - 1
        f_bavail, f_frsize, f_blocks, f_bfree = real.f_bavail, real.f_frsize, real.f_blocks, real.f_bfree

    monkeypatch.setattr(os, "statvfs", lambda path: Few)
    with pytest.raises(DataError, match=r"not enough room for files.*df -i"):
        check_space(plan.store, plan.out.parent, DETECTION_CLASSES, range(6))
    Few.f_files = 0  # a file system that makes room for files as they come
    check_space(plan.store, plan.out.parent, DETECTION_CLASSES, range(6))


def test_the_program_stops_before_it_writes_and_goes_on_with_room(plan, tmp_path, monkeypatch):
    plan = replace(plan, out=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 5000))
        with pytest.raises(DataError, match="not enough space"):
            build_database(plan, allow_empty=True)
    assert not list(tmp_path.rglob("*.bin"))
    assert sum(count.stored for count in build_database(plan, allow_empty=True)) > 10
