"""Raster masks of the maps ("semantic prior"): 255 on driveable surface and sidewalks, 0 elsewhere, 0.1 m per pixel.

A mask has up to 36,871 x 32,286 pixels, 1.2 GB once decoded. It is therefore decoded strip by strip and kept as the
runs of foreground of each row, a few megabytes, from which any tile is cut out in milliseconds.
"""

from __future__ import annotations

import functools
import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from lidar_mt.structures.errors import DataError

BoolArray = npt.NDArray[np.bool_]

#: Metres per pixel of every nuScenes mask.
RESOLUTION_M = 0.1
_FOREGROUND = 255
_STRIP_PIXELS = 4_000_000
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Depth, colour type, compression, filter and interlace of an 8-bit grey picture that can be cut into strips.
_PLAIN_GREY = (8, 0, 0, 0, 0)


@dataclass(frozen=True)
class RasterMask:
    """A mask as runs of foreground.

    Attributes:
        shape: rows, columns [pixels].
        first: (R,) int32 first column of each run, rows from the top.
        end: (R,) int32 column after its last.
        row_start: (rows + 1,) int64 where each row's runs begin.
    """

    shape: tuple[int, int]
    first: npt.NDArray[np.int32]
    end: npt.NDArray[np.int32]
    row_start: npt.NDArray[np.int64]

    def crop(self, top: int, bottom: int, left: int, right: int) -> BoolArray:
        """Cuts out a tile.

        Args:
            top: first row, within the picture.
            bottom: row after the last.
            left: first column.
            right: column after the last.

        Returns:
            (bottom - top, right - left) bool, True on foreground.
        """
        runs = slice(int(self.row_start[top]), int(self.row_start[bottom]))
        rows = np.repeat(np.arange(bottom - top), np.diff(self.row_start[top : bottom + 1]))
        first, end = (np.clip(columns[runs], left, right) - left for columns in (self.first, self.end))
        seen = first < end
        # Runs of a row never touch, so no place is written twice.
        steps = np.zeros((bottom - top, right - left + 1), dtype=np.int8)
        steps[rows[seen], first[seen]] = 1
        steps[rows[seen], end[seen]] = -1
        tile: BoolArray = steps[:, :-1].cumsum(axis=1, dtype=np.int8).view(np.bool_)
        return tile

    def driveable(self, global_from_cell: npt.NDArray[np.float64], shape: tuple[int, int]) -> BoolArray:
        """Looks up the cells of a grid, see `maps.base.DriveableMap`. Beyond the picture nothing is driveable.

        A position belongs to the pixel that the devkit's `MapMask` rounds it to.
        """
        row, column = np.arange(shape[0])[:, None], np.arange(shape[1])
        (a, b, x0), (c, d, y0) = global_from_cell / RESOLUTION_M
        right = np.rint(a * column + (b * row + x0)).astype(np.int32)
        down = np.rint(self.shape[0] - (c * column + (d * row + y0))).astype(np.int32)
        top, bottom = np.clip([down.min(), down.max() + 1], 0, self.shape[0]).tolist()
        left, end = np.clip([right.min(), right.max() + 1], 0, self.shape[1]).tolist()
        found = np.zeros(shape, dtype=bool)
        if top < bottom and left < end:
            # Cells beyond the picture look up any pixel and are cleared afterwards.
            tile = self.crop(top, bottom, left, end)
            found = tile[np.clip(down, top, bottom - 1) - top, np.clip(right, left, end - 1) - left]
            found &= (down >= top) & (down < bottom) & (right >= left) & (right < end)
        return found


@functools.lru_cache(maxsize=64)
def read_mask(path: Path) -> RasterMask:
    """Reads a mask; the last ones stay in the process's memory.

    Args:
        path: of a PNG file. Other kinds than 8-bit grey are decoded in one piece, which takes a byte per pixel.

    Raises:
        DataError: the file is missing, damaged or no PNG.
    """
    try:
        data = path.read_bytes()
        parts = [_runs(strip) for strip in _strips(data)]
        width, height = _header(data)[:2]
    except (OSError, zlib.error, struct.error, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"map mask {path} cannot be read: {error}; copy it from the data set's maps/ again") from error
    first, end, counts = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    if len(counts) != height:
        raise DataError(f"map mask {path} is cut short after {len(counts)} of {height} rows; copy it again")
    row_start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return RasterMask((height, width), first, end, row_start)


def _runs(strip: BoolArray) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """First columns, ends and number per row of the runs of True."""
    change = np.empty((len(strip), strip.shape[1] + 1), dtype=bool)
    change[:, 0], change[:, -1] = strip[:, 0], strip[:, -1]
    np.not_equal(strip[:, 1:], strip[:, :-1], out=change[:, 1:-1])
    columns = (np.flatnonzero(change) % change.shape[1]).astype(np.int32)
    return columns[::2], columns[1::2], np.count_nonzero(change, axis=1) // 2


def _header(data: bytes) -> tuple[int, ...]:
    """Width, height, depth, colour type, compression, filter and interlace method."""
    if not data.startswith(_SIGNATURE):
        raise ValueError("it is no PNG file")
    return struct.unpack_from(">IIBBBBB", data, len(_SIGNATURE) + 8)


def _strips(data: bytes) -> Iterator[BoolArray]:
    """(n, W) foreground of consecutive rows."""
    width, height, *kind = _header(data)
    if tuple(kind) != _PLAIN_GREY:
        yield np.asarray(Image.open(io.BytesIO(data)).convert("L")) == _FOREGROUND
        return
    stride = 1 + width
    rows_at_once = max(1, _STRIP_PIXELS // stride)
    above = bytes(width)
    inflate, pending, done = zlib.decompressobj(), _image_data(data), 0
    while done < height:
        rows = min(rows_at_once, height - done)
        raw = inflate.decompress(pending, rows * stride)
        while len(raw) < rows * stride and inflate.unconsumed_tail:
            raw += inflate.decompress(inflate.unconsumed_tail, rows * stride - len(raw))
        pending = inflate.unconsumed_tail
        complete = len(raw) // stride
        if not complete:
            return
        # PNG filters refer to the row above, so each strip begins with the last row of the one before, unfiltered.
        strip = _decode(width, complete + 1, b"\0" + above + raw[: complete * stride])
        above = strip[-1].tobytes()
        done += complete
        yield strip[1:] == _FOREGROUND


def _decode(width: int, height: int, raw: bytes) -> npt.NDArray[np.uint8]:
    """Lets Pillow undo the filters of some rows, as a picture of their own."""
    header = struct.pack(">IIBBBBB", width, height, *_PLAIN_GREY)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 0)), (b"IEND", b""))
    picture = _SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
    return np.asarray(Image.open(io.BytesIO(picture)))


def _image_data(data: bytes) -> bytes:
    """The compressed rows: the contents of all IDAT chunks.

    Raises:
        ValueError: a chunk's checksum is wrong.
    """
    parts, position = [], len(_SIGNATURE)
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        body = data[position + 8 : position + 8 + length]
        if data[position + 8 + length : position + 12 + length] != struct.pack(">I", zlib.crc32(name + body)):
            raise ValueError(f"the checksum of its part {name!r} is wrong")
        if name == b"IDAT":
            parts.append(body)
        position += 12 + length
    return b"".join(parts)
