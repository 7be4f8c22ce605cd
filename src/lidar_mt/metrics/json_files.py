"""Writing JSON files so that a reader sees the old content or the new one, never half of it."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lidar_mt.structures.errors import DataError


def write_json(path: str | Path, content: Mapping[str, Any], indent: int | None = None) -> Path:
    """Writes plain JSON; the folder is made, an older file is replaced in one step.

    Args:
        path: file to write.
        content: mappings, sequences, strings and numbers.
        indent: spaces per level, or None for one line.

    Returns:
        The path written.

    Raises:
        DataError: the folder cannot be made or the file cannot be written, a full disk among others.
    """
    # In one piece: json.dump into a file is several times slower.
    return write_parts(path, [json.dumps(content, indent=indent).encode()])


def write_parts(path: str | Path, parts: Iterable[bytes]) -> Path:
    """Writes a file from its parts, so that a long one never lies in memory as a whole; see `write_json`."""
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.writelines(parts)
        temporary.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):  # the folder itself may be what is wrong
            temporary.unlink()
        full = "disk full: " if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        message = f"{full}cannot write {target}: {error.strerror}; free space or choose another folder"
        raise DataError(message) from error
    except BaseException:  # a signal, most likely
        temporary.unlink(missing_ok=True)
        raise
    return target


def nan_to_none(value: Any) -> Any:
    """Replaces numbers that JSON cannot hold (NaN, infinity) by None, at any depth.

    Example:
        >>> nan_to_none({"car": [0.5, float("nan")]})
        {'car': [0.5, None]}
    """
    if isinstance(value, Mapping):
        return {str(key): nan_to_none(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [nan_to_none(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
