"""Packed splits whose annotations have names outside nuScenes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from lidar_mt.data.layout import store_path
from lidar_mt.data.lmdb_store.codec import decode, encode
from lidar_mt.data.lmdb_store.lmdb_records import LmdbRecords
from lidar_mt.data.lmdb_store.records import KeyframeRecord


class RenamedStores:
    """Reads what `pack_data` wrote, under other class names; those that are not named belong to no class.

    Args:
        packed: root of the packed versions.
        names: new name by old name.
    """

    def __init__(self, packed: str, names: Mapping[str, str]) -> None:
        self._packed, self._names = Path(packed), dict(names)

    def open(self, version: str, split: str) -> dict[bytes, bytes]:
        source = LmdbRecords(store_path(self._packed, version, split))
        return {key: self._renamed(key, bytes(source.get(key) or b"")) for key in list(source.keys())}

    def _renamed(self, key: bytes, value: bytes) -> bytes:
        if not key.startswith(b"keyframe/"):
            return value
        record = decode(key, value, KeyframeRecord)
        names = [self._names.get(name, "") for name in record.detection_names]
        return encode(key, msgspec.structs.replace(record, detection_names=names))
