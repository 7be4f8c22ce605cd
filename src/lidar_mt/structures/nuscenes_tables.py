"""The tables of a nuScenes version: what the simulator writes, packing copies and the evaluation opens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

from lidar_mt.structures.errors import DataError

Row = TypeVar("Row")

#: The official tables, each a `<name>.json`. lidarseg comes on top where there are labels per point.
#: Source: the nuScenes schema.
TABLE_NAMES = (
    "attribute",
    "calibrated_sensor",
    "category",
    "ego_pose",
    "instance",
    "log",
    "map",
    "sample",
    "sample_annotation",
    "sample_data",
    "scene",
    "sensor",
    "visibility",
)


def read_rows(folder: Path, name: str, kind: type[Row], block_bytes: int = 1 << 23) -> Iterator[Row]:
    """The rows of a table, one after the other, with only a block of the file in memory.

    The tables of the full nuScenes take gigabytes, most of it camera rows that the caller drops.

    Args:
        folder: of the version's tables.
        name: of the table.
        kind: struct of its rows.
        block_bytes: how much to read at once.

    Raises:
        DataError: the table is missing or breaks the schema.
    """
    path = folder / f"{name}.json"
    try:
        with path.open("rb") as file:
            yield from _blocks(file, kind, block_bytes)
    except FileNotFoundError as error:
        raise DataError(f"missing table {path}; download the metadata of {folder.name} again") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}; download the metadata of {folder.name} again") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} does not follow the nuScenes schema: {error}; download it again") from error


def _blocks(file: BinaryIO, kind: type[Row], block_bytes: int) -> Iterator[Row]:
    """Decodes an array of objects that hold no objects, a block at a time."""
    decoder = msgspec.json.Decoder(list[kind])  # type: ignore[valid-type]
    text, opening = b"", b""
    while len(block := file.read(block_bytes)) == block_bytes:
        text += block
        end = _last_row_end(text)
        if end:
            yield from decoder.decode(opening + text[:end] + b"]")
            text, opening = text[end:].lstrip()[1:], b"["
    yield from decoder.decode(opening + text + block)


def _last_row_end(text: bytes) -> int:
    """Where the last row ends that a comma follows; 0 if there is none."""
    end = len(text)
    while end := text.rfind(b"}", 0, end) + 1:
        if text[end : end + 64].lstrip()[:1] == b",":
            return end
        end -= 1
    return 0
