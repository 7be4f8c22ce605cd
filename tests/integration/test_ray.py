"""Packing and the GT database on a Ray instance of this machine, with workers that are killed in the middle."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import lmdb
import pytest

from lidar_mt.data import gt_building
from lidar_mt.data.gt_building import DatabasePlan, build_database
from lidar_mt.data.layout import store_path
from lidar_mt.data.lmdb_store.lmdb_records import close_store
from lidar_mt.data.lmdb_store.manifest import manifest_hash
from lidar_mt.data.packing import pack_split
from lidar_mt.data.ray_executor import RayExecutor
from lidar_mt.structures.classes import DETECTION_CLASSES
from tests.helpers.killing import KillingExecutor
from tests.helpers.tiny_lidar import VERSION, write_raw_nuscenes

pytestmark = pytest.mark.cluster
SCENES = [f"scene-{n}" for n in ("0061", "0553", "0655", "0757", "0796", "1077")]


@pytest.fixture(scope="module")
def executor():
    """Two workers of a Ray instance of this machine."""
    ray = pytest.importorskip("ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=1 << 27, logging_level="ERROR")
    yield RayExecutor()
    ray.shutdown()


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return write_raw_nuscenes(tmp_path_factory.mktemp("raw") / "nuscenes", keyframes=4, between=3, scenes=SCENES)


@pytest.fixture(scope="module")
def packed(raw, tmp_path_factory):
    """What one undisturbed process makes."""
    out = tmp_path_factory.mktemp("packed")
    pack_split(raw, VERSION, "train", out)
    return out


def records(out):
    path = store_path(out, VERSION, "train")
    close_store(path)
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return manifest_hash(path), dict(transaction.cursor())


def files(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def test_a_store_packed_while_a_worker_is_killed_is_the_same(raw, packed, executor, tmp_path):
    # In the middle of a scene: some of its records are written.
    killing = KillingExecutor(executor, tmp_path / "killed", 2, "lidar_mt.data.lmdb_store.shard:encode", 7)
    pack_split(raw, VERSION, "train", tmp_path, executor=killing)
    assert int((tmp_path / "killed").read_text()) != os.getpid()
    assert records(tmp_path) == records(packed)
    assert sorted(path.name for path in store_path(tmp_path, VERSION, "train").iterdir()) == [
        "data.mdb",
        "manifest.json",
    ]


def test_a_gt_database_made_while_a_worker_is_killed_is_the_same(packed, executor, tmp_path, monkeypatch):
    monkeypatch.setattr(gt_building, "_CHUNK", 4)
    plans = [DatabasePlan(packed, VERSION, "train", tmp_path / name, DETECTION_CLASSES) for name in ("ray", "local")]
    killing = KillingExecutor(executor, tmp_path / "killed", 2, "lidar_mt.data.gt_extraction:object_points", 3)
    counts = build_database(plans[0], allow_empty=True, executor=killing)
    assert (tmp_path / "killed").exists()
    assert counts == build_database(plans[1], allow_empty=True)
    assert sum(count.stored for count in counts) > 20
    assert files(plans[0].out) == files(plans[1].out)


@pytest.mark.slow
def test_the_program_starts_and_stops_ray_by_itself(raw, packed, tmp_path):
    pytest.importorskip("ray")
    command = [sys.executable, "-m", "lidar_mt.pack_data", f"src={raw}", f"version={VERSION}", "split=train"]
    done = subprocess.run(
        [*command, f"out={tmp_path}", "executor=ray", "workers=2"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert records(tmp_path) == records(packed)
    listing = subprocess.run(["ps", "-eo", "ppid,args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in listing
