"""The binary form of the records of a packed store: typed msgpack plus raw arrays, never pickle.

A record on disk:

    offset  0        4         6           14
            | magic  | schema  | checksum  | msgpack of the record's struct ...
              "LMTR"   uint16    uint64      (little endian)

The checksum is XXH3 (64 bits) over the key, the schema version and the msgpack bytes, so a damaged page that leads to
another record's bytes is noticed as well. A CRC32 would take longer than reading the raw file.
"""

from __future__ import annotations

import struct
from typing import TypeVar

import msgspec
import xxhash

from lidar_mt.structures.errors import DataError

#: Raised by one with every change that older readers would misread.
SCHEMA_VERSION = 2

_MAGIC = b"LMTR"
_HEADER = struct.Struct("<4sHQ")
_VERSION = struct.Struct("<H")
#: Ends the messages about records and stores that cannot be read.
AGAIN = "pack again with `python -m lidar_mt.pack_data ... overwrite=true`"

Record = TypeVar("Record", bound=msgspec.Struct)

#: The one key of the `IndexRecord`.
INDEX_KEY = b"index"
#: Start of the keys of all scene records.
SCENE_PREFIX = b"scene/"


def keyframe_key(sample_token: str) -> bytes:
    """Key of a keyframe record."""
    return b"keyframe/" + sample_token.encode()


def scene_key(scene_token: str) -> bytes:
    """Key of a scene record."""
    return SCENE_PREFIX + scene_token.encode()


def sweep_key(lidar_token: str) -> bytes:
    """Key of a sweep record."""
    return b"sweep/" + lidar_token.encode()


def encode(key: bytes, record: msgspec.Struct) -> bytes:
    """Bytes of a record.

    Args:
        key: the key it will be stored under.
        record: one of the structs of `records`.
    """
    body = msgspec.msgpack.encode(record)
    return _HEADER.pack(_MAGIC, SCHEMA_VERSION, _checksum(key, SCHEMA_VERSION, body)) + body


def decode(key: bytes, value: bytes | memoryview, kind: type[Record]) -> Record:
    """The record that `value` holds; its arrays share memory with `value`.

    Args:
        key: the key it was read from.
        value: its bytes.
        kind: expected struct.

    Raises:
        DataError: `value` is no record, is damaged, or has another schema version.
    """
    body = verify(key, value)
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        name = key.decode(errors="replace")
        raise DataError(f"record {name!r} is no {kind.__name__}: {error}; {AGAIN}") from error


def verify(key: bytes, value: bytes | memoryview) -> memoryview:
    """The msgpack bytes of a record, after header and checksum were found right.

    Raises:
        DataError: `value` is no record, is damaged, or has another schema version.
    """
    name = key.decode(errors="replace")
    if len(value) < _HEADER.size or bytes(value[:4]) != _MAGIC:
        raise DataError(f"record {name!r} does not start like a packed record; {AGAIN}")
    _, version, checksum = _HEADER.unpack_from(value)
    # First, because another version may have another header.
    if version != SCHEMA_VERSION:
        raise DataError(f"record {name!r} has schema version {version}, this program reads {SCHEMA_VERSION}; {AGAIN}")
    body = memoryview(value)[_HEADER.size :]
    if checksum != _checksum(key, version, body):
        raise DataError(f"record {name!r} is damaged (its checksum is wrong); {AGAIN}")
    return body


def stored_checksum(value: bytes | memoryview) -> int:
    """The checksum in the header of a record, not verified."""
    return int(_HEADER.unpack_from(value)[2])


def _checksum(key: bytes, version: int, body: bytes | memoryview) -> int:
    # The short part as the seed of the long one: one pass over the body, and nothing is copied.
    return xxhash.xxh3_64_intdigest(body, xxhash.xxh3_64_intdigest(key + _VERSION.pack(version)))
