"""Checks every record of a store, also of one so damaged that reading it kills the process."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lmdb
import msgspec

from lidar_mt.data.lmdb_store.codec import (
    INDEX_KEY,
    SCENE_PREFIX,
    decode,
    keyframe_key,
    stored_checksum,
    sweep_key,
    verify,
)
from lidar_mt.data.lmdb_store.manifest import Manifest, hash_records, read_manifest
from lidar_mt.data.lmdb_store.records import IndexRecord, KeyframeRecord, SceneRecord, SweepRecord
from lidar_mt.structures.errors import DataError

#: After so many deaths of the reading process, the rest is given up.
_MAX_DEATHS = 100
_BATCH = 64
#: A process that says nothing for so long is caught in damaged pages [s].
_PATIENCE_S = 120.0


@dataclass
class Report:
    """What came of a check.

    Attributes:
        records: number of records that were read.
        bad: key, or file, and what is wrong with it.
    """

    records: int = 0
    bad: list[tuple[str, str]] = field(default_factory=list)


def verify_store(path: Path, progress: Callable[[int], None] = lambda _: None) -> Report:
    """Reads a whole store.

    A process of its own does the reading, because a damaged page can lead LMDB out of the file, which ends a process
    by a signal. Its place is then known, and another process goes on behind it.

    Args:
        path: folder of the store.
        progress: called with the number of records since the last call.

    Raises:
        DataError: there is no store, or it is unfinished, truncated or of another format.
    """
    manifest = read_manifest(path)
    report = Report()
    start = deaths = 0
    while start >= 0:
        start = _read_from(path, manifest, start, report, progress)
        deaths += start >= 0
        if deaths > _MAX_DEATHS:
            report.bad.append((str(path), f"reading it died {deaths} times; the rest was not checked"))
            break
    return report


def _read_from(path: Path, manifest: Manifest, start: int, report: Report, progress: Callable[[int], None]) -> int:
    """Checks the records from number `start` on in a process; where to go on after its death, or -1 at the end."""
    # Forked where that exists: it takes milliseconds, and the child does nothing but read.
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    context: Any = multiprocessing.get_context(method)
    receive, send = context.Pipe(duplex=False)
    place, name = context.Value("q", -1, lock=False), context.Array("c", 256, lock=False)
    child = context.Process(target=_child, args=(path, manifest, start, send, place, name), daemon=True)
    child.start()
    send.close()
    finished = _listen(receive, report, progress)
    if not finished:
        # Dead already, unless damaged pages lead it in a circle.
        child.kill()
    child.join()
    if finished:
        return -1
    how = signal.Signals(-child.exitcode).name if (child.exitcode or 0) < 0 else f"exit {child.exitcode}"
    report.bad.append((name.value.decode(errors="replace"), f"reading it ended the process ({how}): damaged pages"))
    # Death before the first record, in the list of scenes: there is nothing to go on with.
    return int(place.value) + 1 if place.value >= start else -1


def _listen(receive: multiprocessing.connection.Connection, report: Report, progress: Callable[[int], None]) -> bool:
    """Collects what the child says; True when it came to its end."""
    try:
        while receive.poll(_PATIENCE_S):
            message = receive.recv()
            if message is None:
                return True
            count, bad = message
            report.records += count
            report.bad += bad
            progress(count)
    except (EOFError, OSError):
        pass
    return False


def _child(path: Path, manifest: Manifest, start: int, send: Any, place: Any, name: Any) -> None:
    """Body of the reading process: sends (number of records, bad keys) now and then, and None at the end."""
    # What LMDB's abort() prints would only confuse; the parent says it better.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    count, bad = 0, []

    def mark(number: int, key: bytes) -> None:
        place.value, name.value = number, key[:255]

    with lmdb.open(str(path), readonly=True, lock=False, readahead=True, create=False) as environment:
        for found in _check_all(environment, manifest, start, mark):
            count += found is None
            if found is not None:
                bad.append(found)
            if count >= _BATCH or found is not None:
                send.send((count, bad))
                count, bad = 0, []
    send.send((count, bad))
    send.send(None)


Finding = tuple[str, str] | None


def _check_all(
    environment: lmdb.Environment, manifest: Manifest, start: int, mark: Callable[[int, bytes], None]
) -> Iterator[Finding]:
    """A finding per record, None for a good one."""
    mark(-1, b"the list of scenes")
    first = start == 0
    with environment.begin(buffers=True) as transaction:
        scenes, checksums, problems = _scenes(transaction)
        if first:
            yield from problems
            yield from _check_whole(environment, manifest, scenes, checksums)
        keys = [
            (key, checksum)
            for scene in scenes
            for key, checksum in zip(scene.keys, scene.checksums.numpy().tolist(), strict=False)
        ]
        known = {key for key, _ in keys}
        for number in range(start, len(keys) + 1):
            key, checksum = keys[number] if number < len(keys) else (INDEX_KEY, None)
            mark(number, key)
            yield _check_record(transaction, key, checksum, known)


def _scenes(transaction: lmdb.Transaction) -> tuple[list[SceneRecord], list[tuple[bytes, int]], list[Finding]]:
    scenes: list[SceneRecord] = []
    checksums: list[tuple[bytes, int]] = []
    problems: list[Finding] = []
    with transaction.cursor() as cursor:
        found = cursor.set_range(SCENE_PREFIX)
        while found and bytes(cursor.key()).startswith(SCENE_PREFIX):
            key = bytes(cursor.key())
            try:
                scene = decode(key, bytes(cursor.value()), SceneRecord)
                if len(scene.keys) != len(scene.checksums.numpy()):
                    raise DataError(f"record {key.decode()!r} lists other numbers of keys and checksums")
                scenes.append(scene)
                checksums.append((key, stored_checksum(cursor.value())))
                problems.append(None)
            except DataError as error:
                problems.append((key.decode(errors="replace"), str(error)))
            found = cursor.next()
    return scenes, checksums, problems


def _check_whole(
    environment: lmdb.Environment, manifest: Manifest, scenes: list[SceneRecord], checksums: list[tuple[bytes, int]]
) -> Iterator[Finding]:
    sweeps, keyframes = sum(scene.sweeps for scene in scenes), sum(len(scene.sample_tokens) for scene in scenes)
    for what, found, wanted in (
        ("scenes", len(scenes), manifest.scenes),
        ("keyframes", keyframes, manifest.keyframes),
        ("sweeps", sweeps, manifest.sweeps),
        ("records", environment.stat()["entries"], manifest.scenes + manifest.keyframes + manifest.sweeps + 1),
    ):
        if found != wanted:
            yield "manifest", f"{found} {what} in readable scenes, the manifest says {wanted}"
    if hash_records(checksums) != manifest.records_hash:
        yield "manifest", "the hash over all scene records is not the manifest's"


def _check_record(transaction: lmdb.Transaction, key: bytes, checksum: int | None, known: set[bytes]) -> Finding:
    name = key.decode(errors="replace")
    try:
        value: Any = transaction.get(key)
        if value is None:
            return name, "the record is missing"
        _check_value(key, value, known)
        if checksum is not None and stored_checksum(value) != checksum:
            return name, "the record is another one than its scene lists"
    except (lmdb.Error, DataError) as error:
        return name, str(error)
    return None


def _check_value(key: bytes, value: memoryview, known: set[bytes]) -> None:
    """Raises DataError when a value is damaged or points to records that its store does not list."""
    if key.startswith(sweep_key("")):
        decode(key, value, SweepRecord).points.unpack()
    elif key == INDEX_KEY:
        tokens = decode(key, bytes(value), IndexRecord).sample_tokens.numpy().tolist()
        _require([keyframe_key(token.decode()) for token in tokens], known)
    elif key.startswith(keyframe_key("")):
        record = decode(key, bytes(value), KeyframeRecord)
        arrays = [getattr(record, name) for name in record.__struct_fields__]
        for array in [*arrays, *(ref.keyframe_from_sweep for ref in record.sweeps)]:
            if hasattr(array, "numpy"):
                array.numpy()
        _require([sweep_key(token) for token in (record.lidar_token, *(ref.token for ref in record.sweeps))], known)
    else:
        msgspec.msgpack.decode(verify(key, value))


def _require(keys: list[bytes], known: set[bytes]) -> None:
    missing = [key.decode() for key in keys if key not in known]
    if missing:
        raise DataError(f"it points to {len(missing)} records that no scene lists, the first is {missing[0]!r}")
