"""Reads a packed store, from any number of processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import lmdb
import msgspec
import numpy as np
import numpy.typing as npt

from lidar_mt.data.lmdb_store.codec import AGAIN, INDEX_KEY, decode, keyframe_key, sweep_key
from lidar_mt.data.lmdb_store.manifest import read_manifest
from lidar_mt.data.lmdb_store.records import IndexRecord, KeyframeRecord, SweepRecord
from lidar_mt.structures.errors import DataError

Record = TypeVar("Record", bound=msgspec.Struct)
Result = TypeVar("Result")

#: LMDB refuses a second open of a path in one process, so all readers of a path share one handle. The pid tells a
#: handle that came through a fork, which must not be used.
_HANDLES: dict[str, tuple[int, lmdb.Environment]] = {}


class StoreReader:
    """Read access to one packed store.

    Nothing is opened before the first record is read, and nothing open is pickled, so a reader may travel into
    forked and spawned worker processes.

    Args:
        path: folder of the store.

    Raises:
        DataError: the store is missing, unfinished, truncated or of another format.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.manifest = read_manifest(self.path)
        # Resolved once: that takes as long as reading a small record.
        self._name = str(self.path.resolve())

    @cached_property
    def sample_tokens(self) -> npt.NDArray[np.bytes_]:
        """(K,) bytes: sample tokens in the order of scenes and times.

        Raises:
            DataError: the index is damaged or does not fit the manifest.
        """
        tokens = self._record(INDEX_KEY, IndexRecord).sample_tokens.numpy()
        if len(tokens) != self.manifest.keyframes:
            raise DataError(
                f"{self.path} lists {len(tokens)} keyframes, its manifest says {self.manifest.keyframes}; {AGAIN}"
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
        # Unpacking copies, so the record itself may lie in the map and is not copied before.
        key = sweep_key(lidar_token)
        return self._get(key, lambda value: decode(key, value, SweepRecord).points.unpack())

    def close(self) -> None:
        """Closes this process's handle; the next read opens it again."""
        close_store(self.path)

    def _record(self, key: bytes, kind: type[Record]) -> Record:
        # A copy, so that it outlives the transaction and the map.
        return self._get(key, lambda value: decode(key, bytes(value), kind))

    def _get(self, key: bytes, use: Callable[[memoryview], Result]) -> Result:
        """What `use` makes of a value; it must keep no reference to it."""
        try:
            with _handle(self._name).begin(buffers=True) as transaction:
                value = transaction.get(key)
                if value is None:
                    raise DataError(f"no record {key.decode(errors='replace')!r}; {AGAIN}")
                return use(value)
        except DataError as error:
            raise DataError(f"{self.path}: {error}") from error
        except lmdb.Error as error:
            name = key.decode(errors="replace")
            raise DataError(f"{self.path}: record {name!r} cannot be read: {error}; {AGAIN}") from error


def close_store(path: str | Path) -> None:
    """Closes this process's handle on a store, if there is one; needed before a store is replaced."""
    held = _HANDLES.pop(str(Path(path).resolve()), None)
    if held is not None:
        held[1].close()


def _handle(name: str) -> lmdb.Environment:
    pid = os.getpid()
    held = _HANDLES.get(name)
    if held is not None and held[0] == pid:
        return held[1]
    if held is not None:
        # Inherited through a fork: without a lock file, closing only unmaps it here.
        held[1].close()
    environment = lmdb.open(
        name, readonly=True, lock=False, readahead=False, meminit=False, create=False, max_readers=1
    )
    _HANDLES[name] = (pid, environment)
    return environment
