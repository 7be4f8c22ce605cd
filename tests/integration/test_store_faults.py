"""Injected faults: packing that is killed, stores with damaged bits, disks without room."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import time

import lmdb
import pytest

from lidar_mt.data import packing
from lidar_mt.data.executor import LocalExecutor
from lidar_mt.data.layout import store_path
from lidar_mt.data.lmdb_store.lmdb_records import close_store
from lidar_mt.data.lmdb_store.manifest import manifest_hash
from lidar_mt.data.lmdb_store.reader import StoreReader
from lidar_mt.data.lmdb_store.verify import verify_store
from lidar_mt.data.nuscenes.tables import load_tables
from lidar_mt.data.packing import pack_split
from lidar_mt.structures.errors import DataError
from tests.helpers.tiny_lidar import VERSION, write_raw_nuscenes

MINI_TRAIN = [f"scene-{n}" for n in ("0061", "0553", "0655", "0757", "0796", "1077", "1094", "1100")]
FORK = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return write_raw_nuscenes(tmp_path_factory.mktemp("raw") / "nuscenes", keyframes=3, between=3, scenes=MINI_TRAIN)


@pytest.fixture(scope="module")
def whole(raw, tmp_path_factory):
    """Store of a run in one process that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole")
    pack_split(raw, VERSION, "train", out)
    return store_path(out, VERSION, "train")


def contents(path):
    """Hash of the manifest, and every record; the pages that hold them may lie otherwise after a stop."""
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return manifest_hash(path), dict(transaction.cursor())


@pytest.mark.parametrize("workers", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_any_number_of_processes_gives_the_same_store(raw, whole, tmp_path, workers):
    pack_split(raw, VERSION, "train", tmp_path, workers=workers)
    assert contents(store_path(tmp_path, VERSION, "train")) == contents(whole)


def finished_scenes(partial):
    """Scenes that a stopped run left for the next one, in the store or as shards."""
    if not (partial / "data.mdb").exists() or not (partial / "data.mdb").stat().st_size:
        return set()
    names = {path.stem for path in (partial / "scenes").glob("*.shard")}
    with lmdb.open(str(partial), readonly=True, lock=False) as environment, environment.begin() as transaction:
        tokens = {key.decode() for key in transaction.cursor().iternext(values=False) if key.startswith(b"scene/")}
    return names | {token.removeprefix("scene/") for token in tokens}


def kill_and_resume(raw, out, kills, duration_s, rng):
    """Packs in forked processes that are killed at random times; how many kills hit a run at work."""
    path = store_path(out, VERSION, "train")
    partial, before, hits = path.with_name("train_lmdb.partial"), set(), 0
    for _ in range(kills):
        child = FORK.Process(target=pack_split, args=(raw, VERSION, "train", out), kwargs={"overwrite": True})
        child.start()
        child.join(rng.uniform(0.1, 0.9) * duration_s)
        hits += child.is_alive()
        child.kill()
        child.join()
        if path.exists():
            shutil.rmtree(path)
            before = set()
            continue
        after = finished_scenes(partial)
        assert before <= after  # nothing that was finished is lost
        before = after
    pack_split(raw, VERSION, "train", out)
    return hits


@pytest.mark.parametrize("rounds", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_packing_killed_at_random_times_ends_with_the_same_store(raw, whole, tmp_path, rounds):
    start = time.perf_counter()
    pack_split(raw, VERSION, "train", tmp_path / "timed")
    duration_s = time.perf_counter() - start
    rng, hits = random.Random(rounds), 0
    for i in range(rounds):
        hits += kill_and_resume(raw, tmp_path / str(i), 3, duration_s, rng)
        assert contents(store_path(tmp_path / str(i), VERSION, "train")) == contents(whole)
    assert hits > rounds  # else the kills came too late to test anything


KILLED = "import sys; from pathlib import Path; from lidar_mt.data.packing import pack_split\n"
KILLED += "if __name__ == '__main__': pack_split(Path(sys.argv[1]), sys.argv[2], 'train', Path(sys.argv[3]), workers=2)"


@pytest.mark.slow
def test_packing_in_two_processes_killed_ends_with_the_same_store_and_no_orphans(raw, whole, tmp_path):
    program = tmp_path / "pack.py"
    program.write_text(KILLED)
    path = store_path(tmp_path / "out", VERSION, "train")
    rng = random.Random(0)
    for _ in range(6):
        with subprocess.Popen([sys.executable, str(program), str(raw), VERSION, str(tmp_path / "out")]) as process:
            partial = path.with_name("train_lmdb.partial") / "scenes"
            while process.poll() is None and not partial.exists():
                time.sleep(0.05)
            time.sleep(rng.uniform(0, 6))
            process.kill()
        if path.exists():
            break
    time.sleep(2)
    listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(program) not in listing
    pack_split(raw, VERSION, "train", tmp_path / "out", overwrite=True, workers=2)
    assert contents(path) == contents(whole)


def test_a_shard_damaged_between_two_runs_is_made_again(raw, whole, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(packing, "_merge", stop_at_the_third(packing._merge))
    with pytest.raises(KeyboardInterrupt):
        pack_split(raw, VERSION, "train", tmp_path)
    monkeypatch.undo()
    path = store_path(tmp_path, VERSION, "train")
    (shard,) = path.with_name("train_lmdb.partial").glob("scenes/*.shard")
    shard.write_bytes(shard.read_bytes()[:-100])
    pack_split(raw, VERSION, "train", tmp_path)
    assert "packing that scene again" in caplog.text
    assert contents(path) == contents(whole)


def stop_at_the_third(merge):
    def stops(writer, shard, scene, checksum):
        if scene.name == MINI_TRAIN[2]:
            raise KeyboardInterrupt
        merge(writer, shard, scene, checksum)

    return stops


class LosingExecutor(LocalExecutor):
    """Like machines without a common file system: what a task wrote is not there for who merges."""

    def run(self, function, tasks, count):
        for task in tasks:
            checksum = function(task)
            task.shard.unlink()
            yield checksum


class MixingExecutor(LocalExecutor):
    """Puts the shard of another scene, whole in itself, in the place of one."""

    def run(self, function, tasks, count):
        first, *others = tasks
        data = None
        for task in (first, *others):
            checksum = function(task)
            data = data or task.shard.read_bytes()
            if task is others[0]:
                task.shard.write_bytes(data)
            yield checksum


def test_a_shard_that_does_not_arrive_names_the_file_system(raw, tmp_path):
    with pytest.raises(DataError, match=r"0061.shard is not there, though scene-0061 .*share.*pass out="):
        pack_split(raw, VERSION, "train", tmp_path, executor=LosingExecutor(1))


def test_a_shard_of_another_scene_is_not_merged(raw, whole, tmp_path, caplog):
    pack_split(raw, VERSION, "train", tmp_path, executor=MixingExecutor(1))
    assert "scene-0553.shard does not end with its scene" in caplog.text
    assert contents(store_path(tmp_path, VERSION, "train")) == contents(whole)


def test_tables_that_changed_since_the_stop_start_anew(raw, tmp_path, monkeypatch):
    copy = tmp_path / "raw"
    shutil.copytree(raw, copy)
    monkeypatch.setattr(packing, "_merge", stop_at_the_third(packing._merge))
    with pytest.raises(KeyboardInterrupt):
        pack_split(copy, VERSION, "train", tmp_path)
    monkeypatch.undo()
    table = copy / VERSION / "sample_annotation.json"
    rows = json.loads(table.read_text())
    rows[0]["num_lidar_pts"] += 5
    table.write_text(json.dumps(rows))
    pack_split(copy, VERSION, "train", tmp_path)
    pack_split(copy, VERSION, "train", tmp_path / "fresh")
    assert contents(store_path(tmp_path, VERSION, "train")) == contents(
        store_path(tmp_path / "fresh", VERSION, "train")
    )


def test_too_little_room_is_said_before_packing(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "free_bytes", lambda path: 1000)
    with pytest.raises(DataError, match=r"not enough space: packing \d+ sweeps takes about .* GB are free for"):
        pack_split(raw, VERSION, "train", tmp_path)


@pytest.mark.parametrize(("version", "split"), [("v1.0-mini", "train"), ("v1.0-trainval", "val")])
def test_an_official_version_with_another_number_of_keyframes_is_refused(raw, tmp_path, version, split):
    scenes = MINI_TRAIN if split == "train" else ["scene-0103"]
    root = write_raw_nuscenes(tmp_path / "raw", keyframes=2, between=0, scenes=scenes)
    (root / VERSION).rename(root / version)
    with pytest.raises(DataError, match=rf"{version} has \d+ keyframes in split {split}, the official one has \d+"):
        pack_split(root, version, split, tmp_path)
    (root / "simulation.json").write_text("{}")
    assert pack_split(root, version, split, tmp_path).keyframes == 2 * len(scenes)


def read_all(path, expected, queue):
    """What a reader of every sweep meets: 'equal', 'error' or 'wrong'."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    seen = "equal"
    try:
        reader = StoreReader(path)
        tokens = reader.sample_tokens.tolist()
    except DataError:
        queue.put("error")
        return
    for token, data in expected.items():
        try:
            if reader.sweep(token).tobytes() != data:
                queue.put("wrong")
                return
        except DataError as error:
            seen = "error" if f"sweep/{token}" in str(error) else "unnamed"
    for token in tokens:
        try:
            reader.keyframe(token.decode())
        except DataError:
            seen = "error"
    queue.put(seen)


@pytest.mark.parametrize("flips", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_flipped_bits_never_give_wrong_values_and_are_named(raw, whole, tmp_path, flips):
    path = tmp_path / "store"
    shutil.copytree(whole, path)
    expected = {row.token: (raw / row.filename).read_bytes() for row in load_tables(raw, VERSION).lidar.values()}
    data = (path / "data.mdb").read_bytes()
    rng, caught = random.Random(flips), 0
    for _ in range(flips):
        bit = rng.randrange(8 * len(data))
        with (path / "data.mdb").open("r+b") as file:
            file.seek(bit // 8)
            file.write(bytes([data[bit // 8] ^ 1 << bit % 8]))
        queue = FORK.SimpleQueue()
        child = FORK.Process(target=read_all, args=(path, expected, queue))
        child.start()
        child.join(60)
        outcome = "died" if child.exitcode else queue.get()
        assert outcome in ("equal", "error", "died"), bit
        report = verify_store(path)
        if outcome != "equal":
            assert report.bad, bit
            caught += 1
        with (path / "data.mdb").open("r+b") as file:
            file.seek(bit // 8)
            file.write(data[bit // 8 : bit // 8 + 1])
    assert caught > flips // 3
    assert not verify_store(path).bad
    close_store(path)
