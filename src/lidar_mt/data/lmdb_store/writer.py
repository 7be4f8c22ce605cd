"""Writes a packed store: batched commits, a map that grows, and a folder that appears only when it is whole."""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType

import lmdb
import msgspec

from lidar_mt import __version__
from lidar_mt.data.lmdb_store.codec import SCENE_PREFIX, SCHEMA_VERSION, encode, stored_checksum
from lidar_mt.data.lmdb_store.disk import write_error
from lidar_mt.data.lmdb_store.lmdb_records import close_store
from lidar_mt.data.lmdb_store.manifest import (
    CONVENTION,
    DATA_NAME,
    MANIFEST_NAME,
    Manifest,
    hash_records,
    write_manifest,
)
from lidar_mt.structures.errors import DataError

#: Suffix of the folder a store is written into before it is renamed.
PARTIAL_SUFFIX = ".partial"
_LOCK_NAME = "writer.lock"
_RESUME_NAME = "resume.txt"


class StoreWriter:
    """Context manager that writes one store.

    Records go to `<path>.partial`; `finish` writes the manifest and renames. A program that is killed or leaves by
    an exception leaves nothing at `path`. What it committed before stays in the partial folder when `resume` is on.

    Args:
        path: folder of the finished store.
        overwrite: replace a finished store.
        resume: what makes the partial folder's content worth keeping, in words; a partial folder with other words is
            emptied. None always empties it, and also when an exception leaves the context.
        commit_every: records per transaction.
        commit_bytes: bytes after which a transaction is committed early, which bounds memory.
        map_bytes: first size of the memory map; it doubles as needed.

    Raises:
        DataError: a finished store is in the way, another process writes this one, or the disk is full.
    """

    def __init__(
        self,
        path: Path,
        overwrite: bool = False,
        resume: str | None = None,
        commit_every: int = 256,
        commit_bytes: int = 1 << 26,
        map_bytes: int = 1 << 28,
    ) -> None:
        refuse_finished(path, overwrite)
        self.path = path
        self.partial = path.with_name(path.name + PARTIAL_SUFFIX)
        self._resume = resume
        self._commit_every = commit_every
        self._commit_bytes = commit_bytes
        self._pending: list[tuple[bytes, bytes]] = []
        self._pending_bytes = 0
        try:
            self.partial.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(self.partial)
            self._empty_unless_resumed()
            # One writer per folder and no reader before the rename: LMDB needs no lock file. Never `writemap`: it dies
            # by SIGBUS on a full disk. Never `meminit=False`: it writes stray memory into the gaps of the file.
            # Without `metasync` a power cut may lose the last commit, not the store.
            self._env = lmdb.open(str(self.partial), map_size=map_bytes, lock=False, metasync=False)
        except (lmdb.Error, OSError) as error:
            raise self._failed(error) from error

    def get(self, key: bytes) -> bytes | None:
        """A committed value, None where there is none."""
        with self._env.begin() as transaction:
            value: bytes | None = transaction.get(key)
        return value

    def checksums(self, prefix: bytes) -> list[tuple[bytes, int]]:
        """Keys with a prefix and the checksums of their records, in the order of the keys."""
        with self._env.begin(buffers=True) as transaction, transaction.cursor() as cursor:
            cursor.set_range(prefix)
            return [
                (bytes(key), stored_checksum(value))
                for key, value in itertools.takewhile(lambda pair: bytes(pair[0]).startswith(prefix), cursor)
            ]

    def put_together(self, records: Callable[[], Iterable[tuple[bytes, bytes | memoryview]]]) -> None:
        """Writes records in one transaction: all of them are in the store afterwards, or none.

        Args:
            records: gives keys and encoded values; called again when the map had to grow.

        Raises:
            DataError: the disk is full or the file cannot be written, or `records` raises it.
        """
        self.commit()
        while not self._put_all(records()):
            pass

    def put(self, key: bytes, record: msgspec.Struct) -> None:
        """Adds a record; it is on disk after the next commit."""
        value = encode(key, record)
        self._pending.append((key, value))
        self._pending_bytes += len(value)
        if len(self._pending) >= self._commit_every or self._pending_bytes >= self._commit_bytes:
            self.commit()

    def commit(self) -> None:
        """Writes what is pending in one transaction.

        Raises:
            DataError: the disk is full or the file cannot be written.
        """
        while self._pending:
            if self._put_all(self._pending):
                self._pending.clear()
                self._pending_bytes = 0

    def _put_all(self, records: Iterable[tuple[bytes, bytes | memoryview]]) -> bool:
        """One transaction; False when the map was too small and has been doubled."""
        try:
            with self._env.begin(write=True) as transaction:
                for key, value in records:
                    transaction.put(key, value)
        except lmdb.MapFullError:
            # The transaction is rolled back as a whole, so it can simply be repeated in a larger map.
            self._env.set_mapsize(self._env.info()["map_size"] * 2)
            return False
        except (lmdb.Error, OSError) as error:
            raise self._failed(error) from error
        return True

    def _empty_unless_resumed(self) -> None:
        mark = self.partial / _RESUME_NAME
        if self._resume is not None and mark.is_file() and mark.read_text() == self._resume:
            return
        for path in self.partial.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != _LOCK_NAME:
                path.unlink()
        if self._resume is not None:
            mark.write_text(self._resume)

    def finish(
        self, *, source_version: str, split: str, counts: dict[str, int], has_lidarseg: bool, tables_hash: str = ""
    ) -> Manifest:
        """Commits, writes the manifest and moves the store to its final place.

        Args:
            source_version: nuScenes version.
            split: split name.
            counts: numbers of `scenes`, `keyframes`, `sweeps` and `skipped_files`, and `raw_bytes`.
            has_lidarseg: the keyframes have lidarseg labels.
            tables_hash: of the tables that were read.

        Raises:
            DataError: the disk is full or the folder cannot be renamed.
        """
        self.commit()
        try:
            self._env.sync(True)
            records_hash = hash_records(self.checksums(SCENE_PREFIX))
            self._env.close()
            manifest = Manifest(
                schema_version=SCHEMA_VERSION,
                convention=CONVENTION,
                program_version=__version__,
                source_version=source_version,
                split=split,
                has_lidarseg=has_lidarseg,
                tables_hash=tables_hash,
                records_hash=records_hash,
                data_bytes=(self.partial / DATA_NAME).stat().st_size,
                **counts,
            )
            write_manifest(self.partial, manifest)
            for path in self.partial.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name not in (DATA_NAME, MANIFEST_NAME):
                    path.unlink()
            close_store(self.path)
            if self.path.exists():
                shutil.rmtree(self.path)
            self.partial.rename(self.path)
        except (lmdb.Error, OSError) as error:
            raise self._failed(error) from error
        return manifest

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._env.close()
        if kind is not None and self._resume is None:
            shutil.rmtree(self.partial, ignore_errors=True)
        os.close(self._lock)

    def _failed(self, error: Exception) -> DataError:
        return write_error(self.partial, error, self._pending_bytes)


def refuse_finished(path: Path, overwrite: bool) -> None:
    """Raises DataError when a finished store is at `path` and may not be replaced."""
    if (path / MANIFEST_NAME).exists() and not overwrite:
        raise DataError(f"{path} exists already; remove it, or pass overwrite=true to replace it")


def _lock(folder: Path) -> int:
    """Descriptor of a lock that the system takes back when the process ends, however it ends."""
    descriptor = os.open(folder / _LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise DataError(f"another process is writing {folder}; wait for it or stop it") from error
    except OSError:
        pass  # a file system without locks
    return descriptor
