"""What a failed write means."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from lidar_mt.structures.errors import DataError


def write_error(path: Path, error: Exception, bytes_wanted: int = 0) -> DataError:
    """Words a failure to write; LMDB reports a full disk as "Input/output error", the free space tells what it was.

    Args:
        path: what was written.
        error: what was raised.
        bytes_wanted: how much was about to be written.
    """
    free = free_bytes(path)
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
    if full or free < bytes_wanted + (1 << 20):
        return DataError(f"disk full: {free} bytes are free for {path}; make room and run the command again")
    return DataError(f"cannot write {path}: {error} ({free} bytes are free)")


def free_bytes(path: Path) -> int:
    """Free bytes where `path` lies or will lie."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
