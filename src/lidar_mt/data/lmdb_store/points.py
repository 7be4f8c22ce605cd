"""The packed form of a LiDAR sweep: lossless for any float32 values, small for those of nuScenes.

A raw point is five float32. In nuScenes files the ring is the point's index modulo 32 and the intensity a whole
number up to 255, so a point takes 12 bytes of coordinates and half a byte of compressed intensity: 0.62 of the raw
bytes. The coordinates stay plain, one axis after the other: taking their bytes apart and compressing the exponents
would save another tenth, but then a sweep would be read slower than its raw file, see docs/performance.md.

Every column that does not follow its pattern to the last bit (sign of zero and NaN payload included) is kept as
float32.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt
import zstandard

from lidar_mt.structures.errors import DataError

Points = npt.NDArray[np.float32]

#: Beams of the nuScenes LiDAR, which writes them in turn.
_BEAMS = 32
_COLUMNS = 5
_FLOAT_BYTES = 4
#: Of a raw point.
POINT_BYTES = _COLUMNS * _FLOAT_BYTES
# Forms of a column.
_FLOATS, _BYTES, _BEAM_PATTERN = "f4", "u1-zstd", "index-mod-32"
_ZSTD_LEVEL = 1


@dataclass(frozen=True)
class PointColumns:
    """The points of a sweep, axis by axis, without their rings.

    Attributes:
        xyz: (3, P) float32 x, y, z [m] in the sweep's own LiDAR frame.
        intensity: (P,) float32 or uint8, [0, 255].
    """

    xyz: Points
    intensity: Points | npt.NDArray[np.uint8]

    @classmethod
    def of(cls, points: Points) -> PointColumns:
        """The same points as columns. `points`: (P, >=4) float32 x y z intensity; memory is shared."""
        return cls(points[:, :3].T, points[:, 3])

    def __len__(self) -> int:
        return self.xyz.shape[1]


class Column(msgspec.Struct, array_like=True, frozen=True):
    """Intensity or ring of all points.

    Attributes:
        form: 'f4' little endian float32; 'u1-zstd' one byte each, as a zstd frame; 'index-mod-32' no data at all.
        data: the values in that form.
    """

    form: str
    data: memoryview

    @classmethod
    def pack(cls, values: Points) -> Column:
        """Takes the smallest form that gives every bit back. `values`: (P,) float32."""
        bits = values.view(np.uint32)
        if np.array_equal(bits, _beam_pattern(len(values)).view(np.uint32)):
            return cls(_BEAM_PATTERN, memoryview(b""))
        with np.errstate(invalid="ignore"):  # NaN and out of range fail the comparison
            small = values.astype(np.uint8)
        if np.array_equal(bits, small.astype(np.float32).view(np.uint32)):
            return cls(_BYTES, memoryview(zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(small.tobytes())))
        return cls(_FLOATS, memoryview(values.astype("<f4").tobytes()))

    def values(self, count: int) -> Points | npt.NDArray[np.uint8]:
        """The values in a type that holds them, (count,), read-only; they may share memory with the record.

        Raises:
            DataError: there is another number of them.
        """
        if self.form == _BEAM_PATTERN and not self.data:
            return _beam_pattern(count)
        if self.form == _BYTES:
            return np.frombuffer(_decompress(self.data, count), np.uint8)
        if self.form == _FLOATS and len(self.data) == _FLOAT_BYTES * count:
            return _floats(self.data)
        raise DataError(f"packed column of form {self.form!r} has {len(self.data)} bytes for {count} points")


class PackedPoints(msgspec.Struct, array_like=True, frozen=True):
    """The points of a sweep.

    Attributes:
        count: number of points, P.
        xyz: 12 P bytes: x of all points, then y, then z, little endian float32 [m].
        intensity: [0, 255].
        ring: beam number.
    """

    count: int
    xyz: memoryview
    intensity: Column
    ring: Column

    @classmethod
    def pack(cls, points: Points) -> PackedPoints:
        """Packs (P, 5) float32 x y z intensity ring; `unpack` gives the same bits.

        Raises:
            DataError: `points` has another shape or type.
        """
        if points.dtype.newbyteorder("=") != np.float32 or points.ndim != 2 or points.shape[1] != _COLUMNS:
            raise DataError(f"a sweep is (P, {_COLUMNS}) float32, these points are {points.shape} {points.dtype}")
        columns = np.ascontiguousarray(points.T, dtype=np.float32)
        xyz = memoryview(columns[:3].astype("<f4", copy=False).tobytes())
        return cls(len(points), xyz, Column.pack(columns[3]), Column.pack(columns[4]))

    def columns(self) -> PointColumns:
        """The points without their rings, sharing memory with the record: what merging sweeps needs.

        Raises:
            DataError: the parts disagree in their number of points.
        """
        if self.count < 0 or len(self.xyz) != 3 * _FLOAT_BYTES * self.count:
            raise DataError(f"packed sweep of {self.count} points has {len(self.xyz)} bytes of coordinates")
        return PointColumns(_floats(self.xyz).reshape(3, self.count), self.intensity.values(self.count))

    def unpack(self) -> Points:
        """The points, read-only, sharing no memory with the record.

        Returns:
            (P, 5) float32 in column order: each of its columns is contiguous.

        Raises:
            DataError: the parts disagree in their number of points.
        """
        columns = self.columns()
        points = np.empty((_COLUMNS, self.count), dtype=np.float32)
        points[:3] = columns.xyz
        points[3] = columns.intensity
        points[4] = self.ring.values(self.count)
        points.flags.writeable = False
        return points.T


class _Decompressor(threading.local):
    """One per thread, which may not share it; making one takes a third as long as a column."""

    def __init__(self) -> None:
        self.zstd = zstandard.ZstdDecompressor()


_DECOMPRESSOR = _Decompressor()
_PATTERN = np.tile(np.arange(_BEAMS, dtype=np.float32), 2048)


def _beam_pattern(count: int) -> Points:
    """0 to 31 over and over, (count,) float32."""
    if count <= len(_PATTERN):
        return _PATTERN[:count]
    return np.resize(_PATTERN, count)


def _floats(data: memoryview) -> Points:
    """float32 values; a view of the data where the processor can work on it there."""
    return np.require(np.frombuffer(data, "<f4"), np.float32, "A")


def _decompress(frame: memoryview, size: int) -> bytes:
    """Contents of a zstd frame of a known size; the size that the frame itself states is compared before."""
    try:
        stated = zstandard.frame_content_size(frame)
        if stated != size:
            raise DataError(f"packed column holds {stated} bytes for {size} points")
        data = _DECOMPRESSOR.zstd.decompress(frame)
    except (zstandard.ZstdError, ValueError) as error:
        raise DataError(f"packed column cannot be decompressed: {error}") from error
    if len(data) != size:
        raise DataError(f"packed column holds {len(data)} bytes for {size} points")
    return bytes(data)
