"""Reads a packed split, from any number of processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from lidar_mt.data.lmdb_store.codec import AGAIN, INDEX_KEY, decode, keyframe_key, sweep_key
from lidar_mt.data.lmdb_store.lmdb_records import LmdbRecords
from lidar_mt.data.lmdb_store.manifest import parse_manifest
from lidar_mt.data.lmdb_store.points import PointColumns
from lidar_mt.data.lmdb_store.record_store import MANIFEST_KEY, RecordStore
from lidar_mt.data.lmdb_store.records import IndexRecord, KeyframeRecord, SweepRecord
from lidar_mt.structures.errors import DataError

Record = TypeVar("Record", bound=msgspec.Struct)
Result = TypeVar("Result")


class StoreReader:
    """The typed records of one packed split.

    A reader may travel into forked and spawned worker processes when its store may.

    Args:
        store: where the bytes come from; a path is the folder of an LMDB store.

    Raises:
        DataError: the store is missing, unfinished, truncated or of another format.
    """

    def __init__(self, store: str | Path | RecordStore) -> None:
        self._store: RecordStore = LmdbRecords(store) if isinstance(store, (str, Path)) else store
        self.manifest = self._get(MANIFEST_KEY, lambda text: parse_manifest(bytes(text)))

    def __str__(self) -> str:
        # A mapping would print all that it holds.
        return type(self._store).__name__ if isinstance(self._store, Mapping) else str(self._store)

    @cached_property
    def sample_tokens(self) -> npt.NDArray[np.bytes_]:
        """(K,) bytes: sample tokens in the order of scenes and times.

        Raises:
            DataError: the index is damaged or does not fit the manifest.
        """
        tokens = self._record(INDEX_KEY, IndexRecord).sample_tokens.numpy()
        if len(tokens) != self.manifest.keyframes:
            raise DataError(
                f"{self} lists {len(tokens)} keyframes, its manifest says {self.manifest.keyframes}; {AGAIN}"
            )
        return tokens

    def keyframe(self, sample_token: str) -> KeyframeRecord:
        """The record of a keyframe. Raises DataError when it is missing or damaged."""
        return self._record(keyframe_key(sample_token), KeyframeRecord)

    def sweep(self, lidar_token: str) -> npt.NDArray[np.float32]:
        """Points of a sweep, as in the raw file.

        Args:
            lidar_token: sample_data token.

        Returns:
            (P, 5) float32 in column order, read-only: x y z [m] in the sweep's own LiDAR frame, intensity, ring.

        Raises:
            DataError: the record is missing or damaged.
        """
        # Unpacking copies, so the record itself may lie in the store's memory and is not copied before.
        key = sweep_key(lidar_token)
        return self._get(key, lambda value: decode(key, value, SweepRecord).points.unpack())

    def sweep_columns(self, lidar_token: str) -> PointColumns:
        """The same without the rings and without a copy, for merging.

        Args:
            lidar_token: sample_data token.

        Returns:
            Views that must not be used once the store is closed.

        Raises:
            DataError: the record is missing or damaged.
        """
        key = sweep_key(lidar_token)
        return self._get(key, lambda value: decode(key, value, SweepRecord).points.columns())

    def _record(self, key: bytes, kind: type[Record]) -> Record:
        # A copy, so that it outlives the store.
        return self._get(key, lambda value: decode(key, bytes(value), kind))

    def _get(self, key: bytes, use: Callable[[bytes | memoryview], Result]) -> Result:
        """What `use` makes of a value."""
        try:
            value = self._store.get(key)
            if value is None:
                raise DataError(f"no record {key.decode(errors='replace')!r}; {AGAIN}")
            return use(value)
        except DataError as error:
            raise DataError(f"{self}: {error}") from error
