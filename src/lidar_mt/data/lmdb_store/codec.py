"""The binary form of the records of a packed store: typed msgpack plus raw arrays, never pickle.

A record on disk:

    offset  0        4         6        10
            | magic  | schema  | CRC32  | msgpack of the record's struct ...
              "LMTR"   uint16    uint32   (little endian)

The CRC runs over the key, the schema version and the msgpack bytes, so a damaged page that leads to another
record's bytes is noticed as well.
"""

from __future__ import annotations

import struct
import zlib
from typing import TypeVar

import msgspec

from lidar_mt.structures.errors import DataError

#: Raised by one with every change that older readers would misread.
SCHEMA_VERSION = 1

_MAGIC = b"LMTR"
_HEADER = struct.Struct("<4sHI")
_VERSION = struct.Struct("<H")
_AGAIN = "remove the store and run `make pack-data`"

Record = TypeVar("Record", bound=msgspec.Struct)

#: The one key of the `IndexRecord`.
INDEX_KEY = b"index"


def keyframe_key(sample_token: str) -> bytes:
    """Key of a keyframe record."""
    return b"keyframe/" + sample_token.encode()


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


def decode(key: bytes, value: bytes, kind: type[Record]) -> Record:
    """The record that `value` holds; its arrays share memory with `value`.

    Args:
        key: the key it was read from.
        value: its bytes.
        kind: expected struct.

    Raises:
        DataError: `value` is no record, is damaged, or has another schema version.
    """
    name = key.decode(errors="replace")
    if len(value) < _HEADER.size or value[:4] != _MAGIC:
        raise DataError(
            f"record {name!r} does not start like a packed record; remove the store and run `make pack-data`"
        )
    _, version, checksum = _HEADER.unpack_from(value)
    body = memoryview(value)[_HEADER.size :]
    if checksum != _checksum(key, version, body):
        raise DataError(
            f"record {name!r} is damaged (its checksum is wrong); remove the store and run `make pack-data`"
        )
    if version != SCHEMA_VERSION:
        raise DataError(f"record {name!r} has schema version {version}, this program reads {SCHEMA_VERSION}; {_AGAIN}")
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"record {name!r} is no {kind.__name__}: {error}; {_AGAIN}") from error


def _checksum(key: bytes, version: int, body: bytes | memoryview) -> int:
    return zlib.crc32(body, zlib.crc32(_VERSION.pack(version), zlib.crc32(key)))
