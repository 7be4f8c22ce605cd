"""The records of a packed split in an LMDB file: the store that the programs write and read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import lmdb

from lidar_mt.data.lmdb_store.codec import AGAIN
from lidar_mt.data.lmdb_store.manifest import MANIFEST_NAME, read_manifest
from lidar_mt.data.lmdb_store.record_store import MANIFEST_KEY
from lidar_mt.structures.errors import DataError

#: LMDB refuses a second open of a path in one process, so all readers of a path share one handle. The pid tells a
#: handle that came through a fork, which must not be used.
_HANDLES: dict[str, tuple[int, lmdb.Environment]] = {}


class LmdbRecords:
    """A `RecordStore` in a folder that `pack_data` wrote.

    Nothing is opened before the first value is read, and nothing open is pickled, so it may travel into forked and
    spawned worker processes.

    Args:
        path: folder of the store.

    Raises:
        DataError: the store is missing, unfinished, truncated or of another format.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        read_manifest(self._path)
        # Resolved once: that takes as long as reading a small record.
        self._name = str(self._path.resolve())

    def __str__(self) -> str:
        return str(self._path)

    def keys(self) -> Iterator[bytes]:
        """Every key, `MANIFEST_KEY` first."""
        yield MANIFEST_KEY
        with _handle(self._name).begin() as transaction, transaction.cursor() as cursor:
            yield from cursor.iternext(values=False)

    def get(self, key: bytes) -> bytes | memoryview | None:
        """The value of a key, None where there is none.

        Returns:
            A view of the mapped file. A finished store is never written to, so it outlives its transaction; it may be
            read until `close_store`.

        Raises:
            DataError: the file cannot be read.
        """
        if key == MANIFEST_KEY:
            return (self._path / MANIFEST_NAME).read_bytes()
        try:
            with _handle(self._name).begin(buffers=True) as transaction:
                value: memoryview | None = transaction.get(key)
        except lmdb.Error as error:
            name = key.decode(errors="replace")
            raise DataError(f"record {name!r} cannot be read: {error}; {AGAIN}") from error
        return value


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
