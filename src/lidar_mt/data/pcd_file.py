"""Reads PCD files of the Point Cloud Library: ASCII, binary and binary_compressed, version 0.6 and 0.7.

    FIELDS x y z intensity     names; `_` is padding
    SIZE 4 4 4 4               bytes of a value
    TYPE F F F F               F float, I signed, U unsigned
    COUNT 1 1 1 1              values of a field; 1 where the line is missing
    WIDTH 34720  HEIGHT 1      POINTS = WIDTH * HEIGHT
    DATA binary                the points follow on the next byte, little endian

VIEWPOINT is not applied: the points are in the sensor's frame.

Source: https://pointclouds.org/documentation/tutorials/pcd_file_format.html; the compression is that of liblzf.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lidar_mt.structures.errors import DataError

_KINDS = {"F": "f", "I": "i", "U": "u"}
_SIZES = {"F": (4, 8), "I": (1, 2, 4, 8), "U": (1, 2, 4, 8)}
_DATA = ("ascii", "binary", "binary_compressed")
# A header has about eleven lines; more than this is no PCD file.
_MAX_HEADER_LINES, _MAX_LINE = 100, 4096
_MAX_POINTS = 100_000_000
# A literal run or a match of LZF: from here on the control byte means a match.
_LZF_MATCH = 32


class _Header(NamedTuple):
    """What the header says: one `dtype` field per field of the file, in order."""

    names: tuple[str, ...]
    dtype: np.dtype[np.void]
    points: int
    data: str
    start: int


def read_pcd(path: Path) -> tuple[tuple[str, ...], npt.NDArray[np.float64]]:
    """All points of a PCD file, with the first value of every field.

    Args:
        path: the file.

    Returns:
        Names of the F fields, and (P, F) float64.

    Raises:
        DataError: the header or the data is damaged, cut short or of an unknown kind.
        OSError: the file cannot be read.
    """
    content = path.read_bytes()
    header = _read_header(content, path)
    body = memoryview(content)[header.start :]
    if header.data == "ascii":
        return header.names, _read_ascii(bytes(body), header, path)
    table = _table(body, header, path) if header.data == "binary" else _decompress(body, header, path)
    return header.names, _first_values(table, header)


def _read_header(content: bytes, path: Path) -> _Header:
    lines, start = {}, 0
    for _ in range(_MAX_HEADER_LINES):
        end = content.find(b"\n", start, start + _MAX_LINE)
        if end < 0:
            break
        key, *words = content[start:end].decode("ascii", errors="replace").split() or ["#"]
        start = end + 1
        lines[key.upper()] = words
        if key.upper() == "DATA":
            return _parse(lines, start, path)
    raise DataError(f"{path}: no PCD header with a DATA line; expected a file of the Point Cloud Library")


def _parse(lines: dict[str, list[str]], start: int, path: Path) -> _Header:
    names, types = lines.get("FIELDS", lines.get("COLUMNS", [])), lines.get("TYPE", [])
    data = " ".join(lines["DATA"]).lower()
    try:
        sizes = [int(word) for word in lines.get("SIZE", [])]
        counts = [int(word) for word in lines.get("COUNT", ["1"] * len(names))]
        width, height = (int(lines[key][0]) for key in ("WIDTH", "HEIGHT"))
        points = int(lines["POINTS"][0]) if "POINTS" in lines else width * height
    except (ValueError, KeyError, IndexError) as error:
        raise DataError(f"{path}: the PCD header lacks a number, or holds something else there: {error}") from error
    if not names or not len(names) == len(types) == len(sizes) == len(counts):
        raise DataError(f"{path}: the PCD header names {len(names)} fields, {len(sizes)} sizes, {len(types)} types")
    if data not in _DATA:
        raise DataError(f"{path}: DATA {data}; expected one of {', '.join(_DATA)}")
    known = all(kind in _KINDS and size in _SIZES[kind] for kind, size in zip(types, sizes, strict=True))
    if not known or min(counts) < 1 or max(counts) > _MAX_LINE or not 0 < points <= _MAX_POINTS:
        raise DataError(f"{path}: PCD types {types} of sizes {sizes}, counts {counts}, {points} points: cannot be read")
    fields = [
        (f"{i}", f"<{_KINDS[kind]}{size}", (count,))
        for i, (kind, size, count) in enumerate(zip(types, sizes, counts, strict=True))
    ]
    return _Header(tuple(names), np.dtype(fields), points, data, start)


def _read_ascii(body: bytes, header: _Header, path: Path) -> npt.NDArray[np.float64]:
    counts = [header.dtype[i].shape[0] for i in range(len(header.names))]
    words = body.split()
    if len(words) != header.points * sum(counts):
        raise DataError(
            f"{path}: {len(words)} values; {header.points} points need {sum(counts)} each: cut short or damaged"
        )
    try:
        values = np.array(words, dtype="S").astype(np.float64).reshape(header.points, -1)
    except ValueError as error:
        raise DataError(f"{path}: a value of the ASCII data is no number: {error}") from error
    first: npt.NDArray[np.float64] = values[:, np.cumsum([0, *counts[:-1]])]
    return first


def _table(body: memoryview, header: _Header, path: Path) -> npt.NDArray[np.void]:
    size = header.points * header.dtype.itemsize
    if len(body) < size:
        raise DataError(f"{path}: {len(body)} bytes of data; {header.points} points need {size}: the file is cut short")
    return np.frombuffer(body[:size], dtype=header.dtype)


def _first_values(table: npt.NDArray[np.void], header: _Header) -> npt.NDArray[np.float64]:
    return np.stack([table[f"{i}"][:, 0].astype(np.float64) for i in range(len(header.names))], axis=1)


def _decompress(body: memoryview, header: _Header, path: Path) -> npt.NDArray[np.void]:
    """Compressed data holds all values of the first field, then all of the second, and so on."""
    size = header.points * header.dtype.itemsize
    packed, unpacked = struct.unpack("<II", body[:8]) if len(body) >= 8 else (0, 0)
    if unpacked != size or len(body) < 8 + packed:
        raise DataError(
            f"{path}: {len(body)} bytes of compressed data say {packed} bytes for {unpacked}; the header {size}"
        )
    try:
        plain = _lzf(bytes(body[8 : 8 + packed]), size)
    except (IndexError, ValueError) as error:
        raise DataError(f"{path}: the compressed data is damaged: {error}") from error
    table, start = np.empty(header.points, dtype=header.dtype), 0
    for name in header.dtype.names or ():
        field = header.dtype[name]
        stop = start + field.itemsize * header.points
        table[name] = np.frombuffer(plain[start:stop], dtype=field.base).reshape(header.points, *field.shape)
        start = stop
    return table


def _lzf(data: bytes, size: int) -> bytes:
    """Undoes LZF: runs of plain bytes, and copies of what came up to 8,192 bytes before."""
    out, at = bytearray(), 0
    while at < len(data):
        control = data[at]
        at += 1
        if control < _LZF_MATCH:
            out += data[at : at + control + 1]
            at += control + 1
            continue
        length = control >> 5
        if length == 7:
            length += data[at]
            at += 1
        back = ((control & 31) << 8) + data[at] + 1
        at, length = at + 1, length + 2
        if back > len(out):
            raise ValueError("it refers to bytes before its beginning")
        piece = bytes(out[len(out) - back : len(out) - back + length])
        # A copy may overlap what it writes: the piece repeats itself.
        out += (piece * (length // len(piece) + 1))[:length]
        if len(out) > size:
            break
    if len(out) != size:
        raise ValueError(f"{len(out)} bytes instead of {size}")
    return bytes(out)
