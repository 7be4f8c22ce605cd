"""Reads a packed store, from any number of processes."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import lmdb
import msgspec
import numpy as np
import numpy.typing as npt

from lidar_mt.data.lmdb_store.codec import INDEX_KEY, decode, keyframe_key, sweep_key
from lidar_mt.data.lmdb_store.manifest import read_manifest
from lidar_mt.data.lmdb_store.records import IndexRecord, KeyframeRecord, SweepRecord
from lidar_mt.structures.errors import DataError

Record = TypeVar("Record", bound=msgspec.Struct)

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

    @cached_property
    def sample_tokens(self) -> npt.NDArray[np.bytes_]:
        """(K,) bytes: sample tokens in the order of scenes and times.

        Raises:
            DataError: the index is damaged or does not fit the manifest.
        """
        tokens = self._get(INDEX_KEY, IndexRecord).sample_tokens.numpy()
        if len(tokens) != self.manifest.keyframes:
            raise DataError(
                f"{self.path} lists {len(tokens)} keyframes, its manifest says {self.manifest.keyframes}; "
                "remove it and run `make pack-data`"
            )
        return tokens

    def keyframe(self, sample_token: str) -> KeyframeRecord:
        """The record of a keyframe. Raises DataError when it is missing or damaged."""
        return self._get(keyframe_key(sample_token), KeyframeRecord)

    def sweep(self, lidar_token: str) -> npt.NDArray[np.float32]:
        """Points of a sweep, as in the raw file.

        Args:
            lidar_token: sample_data token.

        Returns:
            (P, 5) float32, read-only: x y z [m] in the sweep's own LiDAR frame, intensity [0, 255], ring.

        Raises:
            DataError: the record is missing or damaged.
        """
        return self._get(sweep_key(lidar_token), SweepRecord).points.numpy()

    def close(self) -> None:
        """Closes this process's handle; the next read opens it again."""
        close_store(self.path)

    def _get(self, key: bytes, kind: type[Record]) -> Record:
        try:
            with _handle(self.path).begin() as transaction:
                # A copy, so it outlives the transaction and the map.
                value = transaction.get(key)
        except lmdb.Error as error:
            raise DataError(f"{self.path}: {error}; remove it and run `make pack-data`") from error
        if value is None:
            raise DataError(f"{self.path} has no record {key.decode()!r}; remove it and run `make pack-data`")
        try:
            return decode(key, value, kind)
        except DataError as error:
            raise DataError(f"{self.path}: {error}") from error


def close_store(path: str | Path) -> None:
    """Closes this process's handle on a store, if there is one; needed before a store is replaced."""
    held = _HANDLES.pop(str(Path(path).resolve()), None)
    if held is not None:
        held[1].close()


def _handle(path: Path) -> lmdb.Environment:
    name = str(path.resolve())
    pid = os.getpid()
    held = _HANDLES.get(name)
    if held is not None and held[0] == pid:
        return held[1]
    if held is not None:
        # Inherited through a fork: without a lock file, closing only unmaps it here.
        held[1].close()
    environment = lmdb.open(
        str(path), readonly=True, lock=False, readahead=False, meminit=False, create=False, max_readers=1
    )
    _HANDLES[name] = (pid, environment)
    return environment
