from __future__ import annotations

import json
import multiprocessing
import pickle
import shutil
import signal
import subprocess
import sys
import time

import lmdb
import numpy as np
import pytest

from lidar_mt.data.lmdb_store.codec import INDEX_KEY, encode, sweep_key
from lidar_mt.data.lmdb_store.lmdb_records import close_store
from lidar_mt.data.lmdb_store.manifest import read_manifest
from lidar_mt.data.lmdb_store.points import PackedPoints
from lidar_mt.data.lmdb_store.reader import StoreReader
from lidar_mt.data.lmdb_store.records import Array, IndexRecord, SweepRecord
from lidar_mt.data.lmdb_store.writer import StoreWriter
from lidar_mt.structures.errors import DataError

COUNTS = {"scenes": 1, "keyframes": 2, "sweeps": 20}


def points(i: int) -> np.ndarray:
    return np.random.default_rng(i).normal(size=(1000 + i, 5)).astype(np.float32)


def write(path, overwrite=False, count=20, **options):
    with StoreWriter(path, overwrite, **options) as writer:
        for i in range(count):
            writer.put(sweep_key(str(i)), SweepRecord(PackedPoints.pack(points(i))))
        writer.put(INDEX_KEY, IndexRecord(sample_tokens=Array.pack(np.array([b"a", b"b"], dtype="S32"))))
        return writer.finish(source_version="v1.0-mini", split="val", counts=COUNTS, has_lidarseg=False)


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "val_lmdb"
    write(path)
    yield path
    close_store(path)


def read_in_child(reader, queue):
    queue.put(float(reader.sweep("3").sum()))


def test_everything_comes_back_in_order(store):
    reader = StoreReader(store)
    assert reader.manifest == read_manifest(store)
    assert (reader.manifest.keyframes, reader.manifest.sweeps, reader.manifest.split) == (2, 20, "val")
    assert reader.sample_tokens.tolist() == [b"a", b"b"]
    for i in range(20):
        assert reader.sweep(str(i)).tobytes() == points(i).tobytes()


@pytest.mark.parametrize("options", [{"commit_every": 1}, {"commit_every": 1000}, {"commit_bytes": 1}])
def test_the_map_grows_whatever_the_transaction_size(tmp_path, options):
    write(tmp_path / "s", map_bytes=1 << 15, **options)
    reader = StoreReader(tmp_path / "s")
    assert all(reader.sweep(str(i)).tobytes() == points(i).tobytes() for i in range(20))


def test_two_readers_of_a_path_share_one_handle(store):
    first, second = StoreReader(store), StoreReader(str(store))
    np.testing.assert_array_equal(first.sweep("1"), second.sweep("1"))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_an_opened_reader_works_in_child_processes_and_after(store, method):
    reader = StoreReader(store)
    expected = float(reader.sweep("3").sum())  # opens the handle before the child exists
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    for _ in range(2):
        child = context.Process(target=read_in_child, args=(reader, queue))
        child.start()
        assert queue.get(timeout=60) == expected
        child.join()
    assert float(reader.sweep("3").sum()) == expected


def test_a_pickled_reader_reads(store):
    reader = StoreReader(store)
    reader.sweep("1")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(reader)).sweep("2"), points(2))  # noqa: S301


def test_a_finished_store_is_not_overwritten_unless_asked(store):
    with pytest.raises(DataError, match=r"exists already.*overwrite=true"):
        write(store)
    StoreReader(store).sweep("1")  # an open handle must not survive the replacement
    write(store, overwrite=True, count=5)
    reader = StoreReader(store)
    np.testing.assert_array_equal(reader.sweep("4"), points(4))
    with pytest.raises(DataError, match=r"no record 'sweep/5'"):
        reader.sweep("5")


def test_an_exception_leaves_nothing_and_keeps_the_old_store(store):
    def fails():
        with StoreWriter(store, overwrite=True) as writer:
            writer.put(b"k", SweepRecord(PackedPoints.pack(points(0))))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    np.testing.assert_array_equal(StoreReader(store).sweep("19"), points(19))
    assert [path.name for path in store.parent.iterdir()] == ["val_lmdb"]


KILLED = """
import sys, numpy as np
from pathlib import Path
from lidar_mt.data.lmdb_store.points import PackedPoints
from lidar_mt.data.lmdb_store.records import SweepRecord
from lidar_mt.data.lmdb_store.writer import StoreWriter
writer = StoreWriter(Path(sys.argv[1]), commit_every=1)
i = 0
while True:
    writer.put(b"sweep/%d" % i, SweepRecord(PackedPoints.pack(np.zeros((5000, 5), np.float32))))
    i += 1
    print(i, flush=True)
"""


def test_a_killed_writer_leaves_no_store_and_the_next_one_succeeds(tmp_path):
    path = tmp_path / "s"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE) as process:
        for _ in range(5):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert not path.exists()
    with pytest.raises(DataError, match=r"no lmdb at .*make pack-data"):
        StoreReader(path)
    write(path)
    np.testing.assert_array_equal(StoreReader(path).sweep("0"), points(0))
    assert [entry.name for entry in tmp_path.iterdir()] == ["s"]


@pytest.mark.parametrize("share", [0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999, 1.01])
def test_a_data_file_of_the_wrong_size_is_refused_before_it_is_opened(store, share):
    data = store / "data.mdb"
    size = data.stat().st_size
    with data.open("r+b") as file:
        file.truncate(int(size * share))
    start = time.perf_counter()
    with pytest.raises(DataError, match=rf"data.mdb has {int(size * share)} bytes, its manifest says {size}"):
        StoreReader(store)
    assert time.perf_counter() - start < 0.1


def test_a_missing_data_file_is_named(store):
    (store / "data.mdb").unlink()
    with pytest.raises(DataError, match=r"data.mdb has 0 bytes"):
        StoreReader(store)


def test_an_unfinished_store_is_refused(store):
    (store / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"no finished lmdb.*make pack-data"):
        StoreReader(store)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b'{"schema_version": 2}', b'{"schema_version": "x"}'])
def test_a_damaged_manifest_is_named(store, text):
    (store / "manifest.json").write_bytes(text)
    with pytest.raises(DataError, match=r"manifest.json cannot be read"):
        StoreReader(store)


@pytest.mark.parametrize(("key", "value"), [("schema_version", 99), ("convention", "corner-first")])
def test_another_format_is_named(store, key, value):
    path = store / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(DataError, match=rf"{value}.*pack[-_]data"):
        StoreReader(store)


def test_an_index_that_does_not_fit_the_manifest_is_refused(store):
    path = store / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "keyframes": 3}))
    with pytest.raises(DataError, match=r"lists 2 keyframes, its manifest says 3"):
        _ = StoreReader(store).sample_tokens


def test_a_damaged_record_names_store_and_key(tmp_path):
    path = tmp_path / "s"
    write(path)
    value = bytearray(encode(sweep_key("7"), SweepRecord(PackedPoints.pack(points(7)))))
    value[-1] ^= 1
    with (
        lmdb.open(str(path), lock=False, map_size=1 << 26) as environment,
        environment.begin(write=True) as transaction,
    ):
        transaction.put(sweep_key("7"), bytes(value))
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["data_bytes"] = (path / "data.mdb").stat().st_size
    (path / "manifest.json").write_text(json.dumps(manifest))
    reader = StoreReader(path)
    with pytest.raises(DataError, match=rf"{path}: record 'sweep/7' is damaged"):
        reader.sweep("7")
    np.testing.assert_array_equal(reader.sweep("8"), points(8))


def test_two_writers_of_a_store_are_refused(tmp_path):
    with (
        StoreWriter(tmp_path / "s", resume="x"),
        pytest.raises(DataError, match=r"another process is writing .*s\.partial"),
    ):
        StoreWriter(tmp_path / "s", resume="x")
    StoreWriter(tmp_path / "s", resume="x").__exit__(None, None, None)


def test_a_writer_goes_on_with_the_same_words_only(tmp_path):
    with StoreWriter(tmp_path / "s", resume="a") as writer:
        writer.put_together(lambda: iter([(b"k", b"v")]))
    with StoreWriter(tmp_path / "s", resume="a") as writer:
        assert writer.get(b"k") == b"v"
    with StoreWriter(tmp_path / "s", resume="b") as writer:
        assert writer.get(b"k") is None


def test_records_put_together_are_there_as_a_whole_or_not_at_all(tmp_path):
    def fails():
        yield b"k", b"v"
        raise DataError("no more")

    with StoreWriter(tmp_path / "s", resume="a") as writer:
        with pytest.raises(DataError, match="no more"):
            writer.put_together(fails)
        assert writer.get(b"k") is None
        writer.put_together(lambda: ((b"%d" % i, bytes(1 << 20)) for i in range(400)))  # the map has to grow
        assert writer.get(b"399") == bytes(1 << 20)


def test_paths_with_spaces_and_umlauts_work(tmp_path):
    path = tmp_path / "größe und so" / "s"
    write(path)
    np.testing.assert_array_equal(StoreReader(path).sweep("0"), points(0))


FULL_DISK = """
import sys, numpy as np
from pathlib import Path
from lidar_mt.data.lmdb_store.points import PackedPoints
from lidar_mt.data.lmdb_store.records import SweepRecord
from lidar_mt.data.lmdb_store.writer import StoreWriter
from lidar_mt.structures.errors import DataError
try:
    with StoreWriter(Path(sys.argv[1]) / "s", commit_every=4) as writer:
        for i in range(100):
            writer.put(b"sweep/%d" % i, SweepRecord(PackedPoints.pack(np.zeros((5000, 5), np.float32))))
except DataError as error:
    print(error, [path.name for path in Path(sys.argv[1]).iterdir()])
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare to mount a small disk")
def test_a_full_disk_is_called_by_its_name(tmp_path):
    mount = f"mount -t tmpfs -o size=2m tmpfs {tmp_path} && exec {sys.executable} - {tmp_path}"
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount]
    done = subprocess.run(command, input=FULL_DISK, capture_output=True, text=True, check=False)
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip(f"cannot mount a small disk here: {done.stderr.strip()[:100]}")
    assert "disk full" in done.stdout
    assert done.stdout.strip().endswith("[]")
