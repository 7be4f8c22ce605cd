"""Checksums of the tables and maps that lie beside packed stores, taken from their sources when they are copied.

<meta>/checksums.json   path relative to <meta> -> XXH3 (64 bits), hexadecimal
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
import xxhash

from lidar_mt.structures.errors import DataError

CHECKSUMS_NAME = "checksums.json"


def write_checksums(src: Path, meta: Path, names: Iterable[str]) -> None:
    """Writes the checksums of files that were copied.

    Args:
        src: raw data root.
        meta: target folder of the copies.
        names: of the files, relative to both.

    Raises:
        DataError: a source cannot be read, or the disk is full.
    """
    path = meta / CHECKSUMS_NAME
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        content = {name: _checksum(src / name) for name in sorted(set(names))}
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
        partial.replace(path)
    except OSError as error:
        raise DataError(f"cannot write the checksums of {src} to {path}: {error}") from error


def verify_meta(meta: Path, version: str) -> list[tuple[str, str]]:
    """Compares the copies with the checksums; without these, as in older folders, tables must at least be JSON.

    Args:
        meta: folder of the copies.
        version: name of the table folder in it.

    Returns:
        Path of each bad file and what is wrong with it.
    """
    path = meta / CHECKSUMS_NAME
    try:
        checksums = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except FileNotFoundError:
        problems = {table: _table_problem(table) for table in sorted((meta / version).glob("*.json"))}
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        problems = {path: f"cannot be read: {error}"}
    else:
        problems = {meta / name: _copy_problem(meta / name, checksum) for name, checksum in checksums.items()}
    return [(str(file), problem) for file, problem in problems.items() if problem]


def _copy_problem(path: Path, checksum: str) -> str:
    try:
        return "" if _checksum(path) == checksum else "differs from what was copied"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"


def _table_problem(path: Path) -> str:
    try:
        msgspec.json.decode(path.read_bytes(), type=list[msgspec.Raw])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        return f"is no table: {error}"
    return ""


def _checksum(path: Path) -> str:
    total = xxhash.xxh3_64()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            total.update(block)
    return total.hexdigest()
