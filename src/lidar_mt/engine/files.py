"""Files that are always whole: written under another name, flushed to the disk, then renamed."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

from lidar_mt.data.lmdb_store.disk import write_error
from lidar_mt.structures.errors import CheckpointError

# .<name>.<host>-<pid>.tmp: whose it is, so that the leftovers of a killed process can be told from files in the making.
_TEMPORARY = re.compile(r"^\..+\.(?P<host>[^.]+)-(?P<pid>\d+)(\.link)?\.tmp$")
_HOST = re.sub(r"[^A-Za-z0-9_-]", "_", socket.gethostname())


class _Watched:
    """Writes everything it is given and remembers why it could not: torch's zip writer hides what a file raises."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        done = 0
        try:
            while done < len(view):
                done += self._file.write(view[done:])
        except OSError as error:
            self.error = self.error or error
            raise
        return done

    def flush(self) -> None:
        """Nothing is held back."""


def write_whole(path: Path, write: Callable[[IO[bytes]], object], keep_previous: bool = False) -> None:
    """Writes a file so that a kill at any time leaves the old one or the new one, never a part.

    Args:
        path: target; its folder is made.
        write: fills the opened file.
        keep_previous: keep what was there as `previous_of(path)`.

    Raises:
        CheckpointError: the file cannot be written; "disk full" where that is why.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{_HOST}-{os.getpid()}.tmp")
    watched = None
    try:
        with temporary.open("wb", buffering=0) as file:
            watched = _Watched(file)
            write(cast(IO[bytes], watched))
            os.fsync(file.fileno())
        if keep_previous and path.is_file():
            _set_aside(path)
        temporary.replace(path)
        _flush_folder(path.parent)
    except (OSError, RuntimeError) as error:
        failure = watched.error if watched is not None and watched.error is not None else error
        message = str(write_error(path, failure))
        temporary.unlink(missing_ok=True)
        raise CheckpointError(message) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def copy_whole(source: Path, target: Path) -> None:
    """Copies a file; see `write_whole`."""
    with source.open("rb") as read:
        write_whole(target, lambda file: shutil.copyfileobj(read, file))


def previous_of(path: Path) -> Path:
    """Where `write_whole` keeps the file before: `last.ckpt` -> `last.previous.ckpt`."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def remove_stale(folder: Path) -> list[Path]:
    """Removes temporary files that killed processes of this machine left in a folder; returns what was removed."""
    removed = []
    for path in folder.glob(".*.tmp"):
        match = _TEMPORARY.match(path.name)
        if match and match["host"] == _HOST and not _is_alive(int(match["pid"])):
            path.unlink(missing_ok=True)
            removed.append(path)
    return removed


def _set_aside(path: Path) -> None:
    """A second name for the present file, so that the path itself is never without one."""
    link = path.with_name(f".{path.name}.{_HOST}-{os.getpid()}.link.tmp")
    link.unlink(missing_ok=True)
    try:
        os.link(path, link)
    except OSError:
        # File systems without hard links: for a moment only the previous file exists, and reading falls back to it.
        path.replace(previous_of(path))
        return
    link.replace(previous_of(path))


def _flush_folder(folder: Path) -> None:
    """Makes the rename itself durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        pass  # some network file systems cannot; the rename is atomic all the same
    finally:
        os.close(handle)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
