from __future__ import annotations

import json
import shutil

import lmdb
import pytest
from tests.helpers.tiny_lidar import VERSION

from lidar_mt.data.layout import store_path
from lidar_mt.data.lmdb_store.codec import encode, keyframe_key, sweep_key
from lidar_mt.data.lmdb_store.lmdb_records import close_store
from lidar_mt.data.lmdb_store.reader import StoreReader
from lidar_mt.data.lmdb_store.verify import verify_store
from lidar_mt.data.packing import pack_split
from lidar_mt.structures.errors import DataError


@pytest.fixture(scope="module")
def packed(raw, tmp_path_factory):
    out = tmp_path_factory.mktemp("packed")
    pack_split(raw, VERSION, "val", out)
    return store_path(out, VERSION, "val")


@pytest.fixture
def store(packed, tmp_path):
    shutil.copytree(packed, tmp_path / "store")
    yield tmp_path / "store"
    close_store(tmp_path / "store")


def change(store, action):
    """Lets `action` change records, and the manifest believe that the file has the right size."""
    with lmdb.open(str(store), lock=False, map_size=1 << 28) as environment, environment.begin(write=True) as change:
        action(change)
    manifest = json.loads((store / "manifest.json").read_text())
    manifest["data_bytes"] = (store / "data.mdb").stat().st_size
    (store / "manifest.json").write_text(json.dumps(manifest))


def keyframe_of(store, index=0):
    reader = StoreReader(store)
    record = reader.keyframe(reader.sample_tokens[index].decode())
    close_store(store)
    return record


def test_a_good_store_has_no_bad_key_and_every_record_is_read(store):
    counts = []
    report = verify_store(store, counts.append)
    assert report.bad == []
    assert report.records == sum(counts)
    assert report.records >= 2 + 8 + 32 + 1


def test_a_damaged_a_missing_and_an_exchanged_record_are_all_named(store):
    record = keyframe_of(store, 3)
    damaged, missing = sweep_key(record.sweeps[0].token), sweep_key(record.sweeps[1].token)
    exchanged = keyframe_key(record.sample_token)

    def action(transaction):
        value = bytearray(transaction.get(damaged))
        value[100] ^= 1
        transaction.put(damaged, bytes(value))
        transaction.delete(missing)
        # A sound record, but not the one that was packed.
        transaction.put(exchanged, encode(exchanged, keyframe_of_other))

    keyframe_of_other = keyframe_of(store, 2)
    change(store, action)
    bad = dict(verify_store(store).bad)
    assert "damaged" in bad[damaged.decode()]
    assert bad[missing.decode()] == "the record is missing"
    assert bad[exchanged.decode()] == "the record is another one than its scene lists"
    assert "records in readable scenes" in bad["manifest"]
    assert len(bad) == 4


def test_a_damaged_scene_record_is_named(store):
    key = b"scene/" + keyframe_of(store).scene_token.encode()

    def action(transaction):
        value = bytearray(transaction.get(key))
        value[-1] ^= 1
        transaction.put(key, bytes(value))

    change(store, action)
    bad = verify_store(store).bad
    assert key.decode() in dict(bad)
    assert "index" in dict(bad)  # whose keyframes no readable scene lists


def test_pages_that_kill_a_reader_are_survived(store):
    data = bytearray((store / "data.mdb").read_bytes())
    # All pages behind the two meta pages and the first few: nothing but noise.
    data[3 * 4096 :] = b"\xa5" * (len(data) - 3 * 4096)
    (store / "data.mdb").write_bytes(data)
    assert verify_store(store).bad


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_store_is_an_error_before_it_is_opened(store, share):
    data = store / "data.mdb"
    with data.open("r+b") as file:
        file.truncate(int(share * data.stat().st_size))
    with pytest.raises(DataError, match=r"data.mdb has"):
        verify_store(store)


def test_the_program_ends_well_for_a_good_store_and_badly_for_a_bad_one(store, programs):
    assert programs("verify_data", f"store={store}").status == 0
    key = sweep_key(keyframe_of(store).lidar_token)
    change(store, lambda transaction: transaction.delete(key))
    done = programs("verify_data", f"store={store}")
    assert done.status == 2
    assert f"bad {key.decode()}: the record is missing" in done.out
    assert "records are bad; pack again: `python -m lidar_mt.pack_data src=RAW version=v1.0-tiny-mini" in done.err
