from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.tiny_lidar import VERSION, write_raw_nuscenes

from lidar_mt.data import gt_building
from lidar_mt.data.gt_building import DatabasePlan, build_database
from lidar_mt.data.gt_database import load_dbinfos, load_infos, read_object_points
from lidar_mt.data.layout import store_path
from lidar_mt.data.lmdb_store.reader import StoreReader
from lidar_mt.data.packing import pack_split
from lidar_mt.structures.boxes import points_in_boxes
from lidar_mt.structures.classes import DETECTION_CLASSES
from lidar_mt.structures.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> Path:
    """Four keyframes of one scene, packed as the training split; do not change it."""
    root = tmp_path_factory.mktemp("packed")
    # Many scattered points, so that every class is hit.
    raw = write_raw_nuscenes(root / "raw", keyframes=8, between=9)
    pack_split(raw, VERSION, "train", root)
    return root


@pytest.fixture
def plan(packed, tmp_path, monkeypatch) -> DatabasePlan:
    monkeypatch.setattr(gt_building, "_CHUNK", 2)
    return DatabasePlan(packed, VERSION, "train", tmp_path / "out", DETECTION_CLASSES)


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_index_and_points_belong_together(plan):
    counts = build_database(plan, allow_empty=True)
    assert sorted(path.name for path in plan.out.iterdir()) == [
        "nuscenes_dbinfos_train.pkl",
        "nuscenes_gt_database",
        "nuscenes_infos_train.pkl",
    ]
    reader = StoreReader(plan.store)
    infos, dbinfos = load_infos(plan.out), load_dbinfos(plan.out)
    assert [info["sample_token"] for info in infos] == [token.decode() for token in reader.sample_tokens]
    assert list(dbinfos) == list(DETECTION_CLASSES)
    by_token = {info["sample_token"]: info for info in infos}
    entries = [entry for name in DETECTION_CLASSES for entry in dbinfos[name]]
    assert sorted(entry["group_id"] for entry in entries) == list(range(len(entries)))
    assert len(list((plan.out / "nuscenes_gt_database").iterdir())) == len(entries) > 20
    for entry in entries:
        info, record = by_token[entry["image_idx"]], reader.keyframe(entry["image_idx"])
        assert info["gt_names"][entry["gt_idx"]] == entry["name"]
        assert info["valid_flag"][entry["gt_idx"]]
        assert entry["path"] == f"nuscenes_gt_database/{entry['image_idx']}_{entry['name']}_{entry['gt_idx']}.bin"
        np.testing.assert_array_equal(entry["box3d_lidar"], record.boxes.numpy()[entry["gt_idx"]].astype(np.float32))
        assert entry["box3d_lidar"].dtype == np.float32
        assert entry["difficulty"] == 0
        points = read_object_points(plan.out, entry)
        assert len(points) == entry["num_points_in_gt"]
        assert (points[:, 4] >= 0).all()
        points[:, :3] += entry["box3d_lidar"][:3]
        larger = entry["box3d_lidar"].astype(np.float64)
        larger[3:6] += 1e-4  # subtracting and adding the centre rounds
        assert points_in_boxes(points, larger[None]).all()
    for count in counts:
        names = np.concatenate([info["gt_names"] for info in infos])
        valid = np.concatenate([info["valid_flag"] for info in infos])
        mine = dbinfos[count.name]
        assert count.annotated == (names == count.name).sum()
        assert count.valid == ((names == count.name) & valid).sum()
        assert count.stored == len(mine)
        assert count.usable == sum(entry["num_points_in_gt"] >= 5 for entry in mine)
        assert count.points == sum(entry["num_points_in_gt"] for entry in mine)
        assert count.keyframes == len({entry["image_idx"] for entry in mine})
    assert any("static_object.bicycle_rack" in info["gt_names"] for info in infos)


def test_the_number_of_processes_changes_no_byte(plan):
    results = []
    for workers in (1, 2):
        mine = replace(plan, out=plan.out / str(workers))
        build_database(mine, workers, allow_empty=True)
        results.append(contents(mine.out))
    assert results[0] == results[1]


def test_a_finished_database_stays_unless_it_may_be_replaced(plan):
    build_database(plan, allow_empty=True)
    before = contents(plan.out)
    with pytest.raises(DataError, match=r"nuscenes_dbinfos_train.pkl exists already.*overwrite=true"):
        build_database(plan, allow_empty=True)
    (plan.out / "nuscenes_gt_database" / "stale.bin").write_bytes(b"")
    build_database(plan, allow_empty=True, overwrite=True)
    assert contents(plan.out) == before


def test_an_empty_class_is_an_error_that_says_why_and_nothing_is_lost(plan, monkeypatch):
    plan = replace(plan, classes=(*DETECTION_CLASSES[:2], "tram"))
    with pytest.raises(
        DataError, match=r"lacks classes: tram, because no keyframe of the split 'train' has one.*allow_e"
    ):
        build_database(plan)
    assert not list(plan.out.glob("nuscenes*"))
    monkeypatch.setattr(gt_building, "run_chunk", None)  # everything is there already
    counts = build_database(plan, allow_empty=True)
    assert [count.stored > 0 for count in counts] == [True, True, False]
    assert load_dbinfos(plan.out)["tram"] == []


def test_missing_stores_and_wrong_splits_are_named(plan, tmp_path):
    with pytest.raises(ConfigError, match="unknown split 'trian'; expected one of train, val"):
        build_database(replace(plan, split="trian"))
    with pytest.raises(DataError, match=r"no lmdb at .*val_lmdb.*run `make pack-data"):
        build_database(replace(plan, split="val"))
    with pytest.raises(ConfigError, match="workers=0"):
        build_database(plan, workers=0)
    other = store_path(tmp_path, VERSION, "val")
    other.parent.mkdir(parents=True)
    other.symlink_to(plan.store)
    with pytest.raises(DataError, match=r"val_lmdb holds the split 'train', not 'val'"):
        build_database(replace(plan, packed=tmp_path, split="val"))


def test_lost_or_strange_files_are_noticed_before_the_index_appears(plan):
    with pytest.raises(DataError, match="tram"):
        build_database(replace(plan, classes=(*DETECTION_CLASSES, "tram")))
    plan = replace(plan, classes=(*DETECTION_CLASSES, "tram"))
    points = next((plan.partial / "nuscenes_gt_database").iterdir())
    points.unlink()
    with pytest.raises(DataError, match=r"holds \d+ files of \d+ bytes, but \d+ objects"):
        build_database(plan, allow_empty=True)
    assert not list(plan.out.glob("nuscenes*"))


def test_work_begun_on_another_store_is_not_used(plan, monkeypatch):
    with pytest.raises(DataError, match="tram"):
        build_database(replace(plan, classes=(*DETECTION_CLASSES, "tram")))
    (plan.partial / "nuscenes_gt_database" / "stale.bin").write_bytes(b"")
    build_database(plan, allow_empty=True)  # other classes
    assert not (plan.out / "nuscenes_gt_database" / "stale.bin").exists()


@pytest.mark.parametrize("step", ["rename", "replace", "rmtree"])
def test_a_kill_while_files_are_moved_can_be_repeated(plan, tmp_path, monkeypatch, step):
    expected = replace(plan, out=tmp_path / "expected")
    build_database(expected, allow_empty=True)

    class KilledError(Exception):
        pass

    moves = {"rename": Path.rename, "replace": Path.replace}

    def kill(source, target=None, **kwargs):
        # Files are also replaced while they are written; only the move to the final folder is cut off.
        if step != "rmtree" and Path(target).parent != plan.out:
            return moves[step](source, target)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(gt_building.shutil if step == "rmtree" else Path, step, kill)
        with pytest.raises(KilledError):
            build_database(plan, allow_empty=True)
    # The index is the last to arrive, so only the clean-up after it meets a finished database.
    assert (plan.out / "nuscenes_dbinfos_train.pkl").exists() == (step == "rmtree")
    build_database(plan, allow_empty=True, overwrite=step == "rmtree")
    assert contents(plan.out) == contents(expected.out)


PROGRAM = """
import sys, time
from pathlib import Path
from lidar_mt.data import gt_building
from lidar_mt.data.gt_extraction import run_chunk
from lidar_mt.structures.classes import DETECTION_CLASSES

def slow_chunk(job):
    time.sleep(0.1)
    return run_chunk(job)

gt_building._CHUNK = 1
gt_building.run_chunk = slow_chunk
if __name__ == "__main__":
    plan = gt_building.DatabasePlan(Path(sys.argv[1]), sys.argv[2], "train", Path(sys.argv[3]), DETECTION_CLASSES)
    gt_building.build_database(plan, int(sys.argv[4]), allow_empty=True)
"""


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_kills_change_no_byte_and_finished_ranges_are_not_repeated(packed, tmp_path, monkeypatch, workers):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    command = [sys.executable, str(script), str(packed), VERSION, str(tmp_path / "killed"), str(workers)]
    parts = tmp_path / "killed" / "create_data_train.partial" / "parts"
    times = {}
    for wanted in (1, 4):
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True) as process:
            while len(list(parts.glob("*.part"))) < wanted:
                assert process.poll() is None
                time.sleep(0.01)
            os.killpg(process.pid, signal.SIGKILL)
        found = {path.name: path.stat().st_mtime_ns for path in parts.glob("*.part")}
        assert {name: found[name] for name in times} == times
        assert len(found) < 8
        times = found
    subprocess.run(command, check=True, capture_output=True)
    monkeypatch.setattr(gt_building, "_CHUNK", 3)
    plan = DatabasePlan(packed, VERSION, "train", tmp_path / "whole", DETECTION_CLASSES)
    build_database(plan, allow_empty=True)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_a_killed_worker_is_an_error_and_what_is_finished_is_kept(plan, monkeypatch):
    """The second range kills its process; ranges before it stay."""
    monkeypatch.setattr(gt_building, "run_chunk", kill_in_second_chunk)
    with pytest.raises(DataError, match=r"worker processes was killed.*what is finished is kept"):
        build_database(plan, 2, allow_empty=True)
    parts = sorted(path.name for path in (plan.partial / "parts").glob("*.part"))
    assert "0000000.part" in parts
    assert "0000002.part" not in parts
    monkeypatch.undo()
    monkeypatch.setattr(gt_building, "_CHUNK", 2)
    build_database(plan, 1, allow_empty=True)


def kill_in_second_chunk(job):
    from lidar_mt.data.gt_extraction import run_chunk

    if job.first == 2:
        while not job.part.with_name("0000000.part").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    return run_chunk(job)
