"""Writes a packed store: batched commits, a map that grows, and a folder that appears only when it is whole."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from types import TracebackType

import lmdb
import msgspec

from lidar_mt.data.lmdb_store.codec import SCHEMA_VERSION, encode
from lidar_mt.data.lmdb_store.manifest import CONVENTION, DATA_NAME, MANIFEST_NAME, Manifest, write_manifest
from lidar_mt.data.lmdb_store.reader import close_store
from lidar_mt.structures.errors import DataError

#: Suffix of the folder a store is written into before it is renamed.
PARTIAL_SUFFIX = ".partial"


class StoreWriter:
    """Context manager that writes one store.

    Records go to `<path>.partial`; `finish` writes the manifest and renames. A program that is killed or leaves by
    an exception leaves nothing at `path`.

    Args:
        path: folder of the finished store.
        overwrite: replace a finished store.
        commit_every: records per transaction.
        commit_bytes: bytes after which a transaction is committed early, which bounds memory.
        map_bytes: first size of the memory map; it doubles as needed.

    Raises:
        DataError: a finished store is in the way, or the disk is full.
    """

    def __init__(
        self,
        path: Path,
        overwrite: bool = False,
        commit_every: int = 256,
        commit_bytes: int = 1 << 26,
        map_bytes: int = 1 << 28,
    ) -> None:
        if (path / MANIFEST_NAME).exists() and not overwrite:
            raise DataError(f"{path} exists already; remove it, or pass overwrite=true to replace it")
        self.path = path
        self.partial = path.with_name(path.name + PARTIAL_SUFFIX)
        self._commit_every = commit_every
        self._commit_bytes = commit_bytes
        self._pending: list[tuple[bytes, bytes]] = []
        self._pending_bytes = 0
        try:
            shutil.rmtree(self.partial, ignore_errors=True)
            self.partial.mkdir(parents=True)
            # One writer per folder and no reader before the rename: no lock file is needed. Never `writemap`: it dies
            # by SIGBUS on a full disk. Never `meminit=False`: it writes stray memory into the gaps of the file.
            self._env = lmdb.open(str(self.partial), map_size=map_bytes, lock=False)
        except (lmdb.Error, OSError) as error:
            raise self._failed(error) from error

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
            try:
                with self._env.begin(write=True) as transaction:
                    for key, value in self._pending:
                        transaction.put(key, value)
            except lmdb.MapFullError:
                # The transaction is rolled back as a whole, so it can simply be repeated in a larger map.
                self._env.set_mapsize(self._env.info()["map_size"] * 2)
            except (lmdb.Error, OSError) as error:
                raise self._failed(error) from error
            else:
                self._pending.clear()
                self._pending_bytes = 0

    def finish(self, *, source_version: str, split: str, counts: dict[str, int], has_lidarseg: bool) -> Manifest:
        """Commits, writes the manifest and moves the store to its final place.

        Args:
            source_version: nuScenes version.
            split: split name.
            counts: numbers of `scenes`, `keyframes` and `sweeps`.
            has_lidarseg: the keyframes have lidarseg labels.

        Raises:
            DataError: the disk is full or the folder cannot be renamed.
        """
        self.commit()
        try:
            self._env.sync(True)
            self._env.close()
            manifest = Manifest(
                schema_version=SCHEMA_VERSION,
                convention=CONVENTION,
                source_version=source_version,
                split=split,
                has_lidarseg=has_lidarseg,
                data_bytes=(self.partial / DATA_NAME).stat().st_size,
                **counts,
            )
            write_manifest(self.partial, manifest)
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
        if kind is not None:
            shutil.rmtree(self.partial, ignore_errors=True)

    def _failed(self, error: Exception) -> DataError:
        """LMDB reports a full disk as "Input/output error"; the free space tells what it was."""
        free = shutil.disk_usage(_existing(self.partial)).free
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        if full or free < self._pending_bytes + (1 << 20):
            return DataError(
                f"disk full: {free} bytes are free for {self.partial}; make room and run the command again"
            )
        return DataError(f"cannot write {self.partial}: {error} ({free} bytes are free)")


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
