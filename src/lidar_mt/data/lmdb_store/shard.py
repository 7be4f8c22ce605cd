"""One scene's records in a plain file, between the process that makes them and the one that writes the store.

    8 bytes   "LMTSHRD2"
    then per record: uint32 size of the key, uint64 size of the value (little endian), key, value

The last record is the `SceneRecord`, which lists the others with their checksums, so its own checksum stands for the
whole shard. A shard has its name only when it is whole; reading it checks every record all the same. Where the two
processes run on different machines, it travels through the file system that they share.
"""

from __future__ import annotations

import mmap
import os
import struct
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from lidar_mt.data.lmdb_store.codec import SCHEMA_VERSION, decode, encode, scene_key, stored_checksum, verify
from lidar_mt.data.lmdb_store.points import POINT_BYTES
from lidar_mt.data.lmdb_store.records import Array, KeyframeRecord, SceneRecord, SweepRecord
from lidar_mt.structures.errors import DataError

_MAGIC = f"LMTSHRD{SCHEMA_VERSION}".encode()


_SIZES = struct.Struct("<IQ")


class DamagedShardError(DataError):
    """A shard is not what was written."""


def write_shard(
    path: Path,
    scene_token: str,
    scene_name: str,
    records: Iterable[tuple[bytes, msgspec.Struct]],
    skipped: Sequence[str] = (),
) -> int:
    """Writes the shard of a scene.

    Args:
        path: of the shard; its folder exists.
        scene_token: of the scene.
        scene_name: of the scene.
        records: keys and records, the keyframes in time order.
        skipped: what was wrong with files that were left out, read after the last record.

    Returns:
        Checksum of the record that ends the shard.

    Raises:
        OSError: the disk is full, for instance.
    """
    # Unlike any other on every machine: a task that seems lost may be repeated elsewhere while it still runs.
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    written = _Written()
    try:
        with partial.open("wb", buffering=1 << 20) as file:
            file.write(_MAGIC)
            for key, record in records:
                value = encode(key, record)
                written.add(key, record, value)
                file.write(_SIZES.pack(len(key), len(value)) + key)
                file.write(value)
            scene = written.scene_record(scene_token, scene_name, skipped)
            key = scene_key(scene_token)
            value = encode(key, scene)
            file.write(_SIZES.pack(len(key), len(value)) + key + value)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return stored_checksum(value)


class _Written:
    """What went into a shard so far."""

    def __init__(self) -> None:
        self._keys: list[bytes] = []
        self._checksums: list[int] = []
        self._sample_tokens: list[str] = []
        self._sweeps = self._raw_bytes = 0

    def add(self, key: bytes, record: msgspec.Struct, value: bytes) -> None:
        self._keys.append(key)
        self._checksums.append(stored_checksum(value))
        if isinstance(record, SweepRecord):
            self._sweeps += 1
            self._raw_bytes += POINT_BYTES * record.points.count
        elif isinstance(record, KeyframeRecord):
            self._sample_tokens.append(record.sample_token)

    def scene_record(self, token: str, name: str, skipped: Sequence[str]) -> SceneRecord:
        return SceneRecord(
            token=token,
            name=name,
            sample_tokens=self._sample_tokens,
            sweeps=self._sweeps,
            raw_bytes=self._raw_bytes,
            keys=self._keys,
            checksums=Array.pack(np.array(self._checksums, np.uint64)),
            skipped=list(skipped),
        )


def shard_checksum(path: Path, scene_token: str) -> int:
    """Checksum of the record that ends a shard, all of which is read and verified; raises as `read_shard` does."""
    value = memoryview(b"")
    for _, value in read_shard(path, scene_token):  # noqa: B007
        pass
    return stored_checksum(value)


def read_shard(path: Path, scene_token: str, checksum: int | None = None) -> Iterator[tuple[bytes, memoryview]]:
    """Keys and values of a shard, every one verified, the `SceneRecord` last.

    Args:
        path: of the shard.
        scene_token: scene that is expected there.
        checksum: of the record that ends it, as its writer says; None takes any.

    Yields:
        Key and value; the value is valid until the next one is asked for.

    Raises:
        DamagedShardError: the shard is cut short, damaged, of another scene or another one than its writer wrote.
        FileNotFoundError: there is no shard.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size < len(_MAGIC) + _SIZES.size:
            raise DamagedShardError(f"{path} is cut short")
        # Not closed by hand: an error in flight may still hold a view of it.
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    value = memoryview(b"")
    for key, value in _records(path, memoryview(data), scene_token):
        yield key, value
    if checksum is not None and stored_checksum(value) != checksum:
        raise DamagedShardError(f"{path} is not the shard that was reported for scene {scene_token}")


def _records(path: Path, view: memoryview, scene_token: str) -> Iterator[tuple[bytes, memoryview]]:
    if view[: len(_MAGIC)] != _MAGIC:
        raise DamagedShardError(f"{path} is no shard of this program")
    listed: dict[bytes, int] = {}
    at, key = len(_MAGIC), b""
    while at < len(view):
        key_bytes, value_bytes = _SIZES.unpack_from(view, at) if at + _SIZES.size <= len(view) else (0, len(view))
        at += _SIZES.size + key_bytes + value_bytes
        if at > len(view):
            raise DamagedShardError(f"{path} is cut short")
        key, value = bytes(view[at - value_bytes - key_bytes : at - value_bytes]), view[at - value_bytes : at]
        try:
            verify(key, value)
        except DataError as error:
            raise DamagedShardError(f"{path}: {error}") from error
        if key == scene_key(scene_token):
            _check_list(path, decode(key, bytes(value), SceneRecord), listed)
        listed[key] = stored_checksum(value)
        yield key, value
    if key != scene_key(scene_token):
        raise DamagedShardError(f"{path} does not end with its scene {scene_token}")


def _check_list(path: Path, scene: SceneRecord, listed: dict[bytes, int]) -> None:
    if dict(zip(scene.keys, scene.checksums.numpy().tolist(), strict=False)) != listed:
        raise DamagedShardError(f"{path} does not hold the records that it lists")
