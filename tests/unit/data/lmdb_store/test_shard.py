from __future__ import annotations

import numpy as np
import pytest

from lidar_mt.data.lmdb_store.codec import decode, scene_key, sweep_key
from lidar_mt.data.lmdb_store.points import PackedPoints
from lidar_mt.data.lmdb_store.records import SceneRecord, SweepRecord
from lidar_mt.data.lmdb_store.shard import DamagedShardError, read_shard, shard_checksum, write_shard


def points(i: int) -> np.ndarray:
    return np.random.default_rng(i).normal(size=(10 + i, 5)).astype(np.float32)


@pytest.fixture
def shard(tmp_path):
    path = tmp_path / "a.shard"
    write_shard(
        path, "token", "scene-1", ((sweep_key(str(i)), SweepRecord(PackedPoints.pack(points(i)))) for i in range(3))
    )
    return path


def test_records_come_back_in_order_and_the_scene_last(shard):
    got = [(key, bytes(value)) for key, value in read_shard(shard, "token")]
    assert [key for key, _ in got] == [b"sweep/0", b"sweep/1", b"sweep/2", b"scene/token"]
    for i in range(3):
        assert decode(*got[i], SweepRecord).points.unpack().tobytes() == points(i).tobytes()
    scene = decode(scene_key("token"), got[3][1], SceneRecord)
    assert (scene.name, scene.sweeps, scene.raw_bytes) == ("scene-1", 3, 20 * (10 + 11 + 12))
    assert list(shard.parent.iterdir()) == [shard]


def test_a_shard_cut_anywhere_is_refused(shard):
    data = shard.read_bytes()
    for size in [*range(0, len(data), 7), len(data) - 1]:
        shard.write_bytes(data[:size])
        with pytest.raises(DamagedShardError):
            list(read_shard(shard, "token"))


def test_a_flip_anywhere_is_refused(shard):
    data = shard.read_bytes()
    for byte in range(0, len(data), 5):
        damaged = bytearray(data)
        damaged[byte] ^= 1 << byte % 8
        shard.write_bytes(damaged)
        with pytest.raises(DamagedShardError):
            list(read_shard(shard, "token"))


def test_the_shard_of_another_scene_is_refused(shard):
    with pytest.raises(DamagedShardError, match="does not end with its scene"):
        list(read_shard(shard, "other"))


def test_a_shard_is_known_by_the_checksum_of_its_last_record(shard, tmp_path):
    """Another shard of the same scene, whole in itself, is not the one that was reported."""
    other = tmp_path / "other.shard"
    records = [(sweep_key(str(i)), SweepRecord(PackedPoints.pack(points(i)))) for i in range(2)]
    checksums = [write_shard(path, "token", "scene-1", records) for path in (other, tmp_path / "again.shard")]
    assert checksums == [shard_checksum(other, "token")] * 2
    assert shard_checksum(shard, "token") != checksums[0]
    assert len(list(read_shard(shard, "token", shard_checksum(shard, "token")))) == 4
    with pytest.raises(DamagedShardError, match="is not the shard that was reported"):
        list(read_shard(shard, "token", checksums[0]))


def test_a_shard_without_one_of_its_records_is_refused(shard):
    data = shard.read_bytes()
    start, end = data.index(b"sweep/1") - 12, data.index(b"sweep/2") - 12
    shard.write_bytes(data[:start] + data[end:])
    with pytest.raises(DamagedShardError, match="does not hold the records that it lists"):
        list(read_shard(shard, "token"))


def test_an_exception_leaves_no_shard(tmp_path):
    def fails():
        yield sweep_key("0"), SweepRecord(PackedPoints.pack(points(0)))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(tmp_path / "a.shard", "token", "scene-1", fails())
    assert not list(tmp_path.iterdir())
