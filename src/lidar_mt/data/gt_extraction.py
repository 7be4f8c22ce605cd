"""Cuts the objects out of keyframes: the part of the GT database that runs in worker processes."""

from __future__ import annotations

import errno
import os
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from lidar_mt.data.box_index import BoxIndex
from lidar_mt.data.lmdb_store.points import PointColumns
from lidar_mt.data.lmdb_store.reader import StoreReader
from lidar_mt.data.lmdb_store.records import KeyframeRecord
from lidar_mt.data.sweeps import CLOSE_M, TIME_LAG, Sweep
from lidar_mt.structures.boxes import BOX_SIZE, W, X, Y, Z
from lidar_mt.structures.errors import DataError

_INTENSITY = 3
#: Of an object's points: x y z intensity time lag.
_COLUMNS = 5
_CRC_BYTES = 4


class FrameObjects(msgspec.Struct, array_like=True, frozen=True):
    """What one keyframe gave to the database.

    Attributes:
        sample_token: nuScenes sample token.
        names: of all annotations: the detection class, or the nuScenes category where there is none.
        valid: of all annotations: any LiDAR or radar point inside.
        gt_idx: M indices of the annotations whose points were stored.
        num_points: M numbers of points.
        boxes: (M, 9) little-endian float32.
    """

    sample_token: str
    names: list[str]
    valid: list[bool]
    gt_idx: list[int]
    num_points: list[int]
    boxes: bytes

    def boxes_array(self) -> npt.NDArray[np.float32]:
        """(M, 9) float32, see `structures.boxes`."""
        return np.frombuffer(self.boxes, dtype="<f4").astype(np.float32).reshape(-1, BOX_SIZE)


@dataclass(frozen=True)
class ChunkJob:
    """A range of keyframes to cut objects out of; may travel to another process.

    Attributes:
        store: folder of the packed split.
        database: folder of the points.
        part: file that says what the range gave; it exists when all points of the range are written.
        classes: detection classes to store.
        first: index of the first keyframe.
        last: one behind the last.
    """

    store: Path
    database: Path
    part: Path
    classes: tuple[str, ...]
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first


def run_chunk(job: ChunkJob) -> int:
    """Writes the points of every object of a range of keyframes, then its part file.

    Returns:
        Number of keyframes.

    Raises:
        DataError: a record is missing or damaged, or a file cannot be written.
    """
    reader = StoreReader(job.store)
    tokens = reader.sample_tokens[job.first : job.last]
    try:
        frames = [_store_objects(job, reader, token.decode()) for token in tokens]
        body = msgspec.msgpack.encode(frames)
        partial = job.part.with_suffix(f".{uuid.uuid4().hex}.partial")
        partial.write_bytes(zlib.crc32(body).to_bytes(_CRC_BYTES, "little") + body)
        partial.replace(job.part)
    except OSError as error:
        raise DataError(
            f"cannot write the GT database to {job.database.parent}: {error.strerror or error}; what is finished is "
            "kept: free space and run the same command again"
        ) from error
    return len(job)


def read_part(job: ChunkJob) -> list[FrameObjects] | None:
    """What a finished range gave; None when it is not finished or its part file is damaged."""
    try:
        data = job.part.read_bytes()
        if zlib.crc32(data[_CRC_BYTES:]) != int.from_bytes(data[:_CRC_BYTES], "little"):
            return None
        frames = msgspec.msgpack.decode(data[_CRC_BYTES:], type=list[FrameObjects])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return frames if len(frames) == len(job) else None


def object_file(sample_token: str, name: str, gt_idx: int) -> str:
    """Name of the file of an object's points."""
    return f"{sample_token}_{name}_{gt_idx}.bin"


def object_points(
    keyframe: PointColumns, sweeps: Sequence[Sweep], boxes: npt.NDArray[np.float32]
) -> list[npt.NDArray[np.float32]]:
    """Cuts boxes out of a keyframe and its sweeps.

    Points near the sensor are dropped from all of them. A keyframe without sweeps is not repeated, so every point was
    measured.

    Args:
        keyframe: its points.
        sweeps: previous sweeps.
        boxes: (N, 9) float32 in the keyframe's LiDAR frame, see `structures.boxes`.

    Returns:
        For each box (k, 5) float32: x y z [m] relative to its centre, not rotated, intensity [0, 255], time lag [s],
        the keyframe's points first, then the sweeps' in order.
    """
    index = BoxIndex(boxes)
    # (5, P), so that a column is one piece of memory.
    cloud = np.concatenate([_near_boxes(index, sweep) for sweep in (Sweep(keyframe, np.eye(4), 0.0), *sweeps)], axis=1)
    box, point = index.pairs(cloud.T)
    points = np.empty((len(point), len(cloud)), dtype=np.float32)
    for column, values in enumerate(cloud):
        points[:, column] = values.take(point)
        if column < W:
            points[:, column] -= boxes[:, column].take(box)
    ends = np.searchsorted(box, np.arange(1, len(boxes) + 1)).tolist()
    # Not np.split, which takes as long as finding the points.
    return [points[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)] if len(boxes) else []


def _near_boxes(index: BoxIndex, sweep: Sweep) -> npt.NDArray[np.float32]:
    """(5, C) points of a sweep that may lie in a box, in the frame of the boxes, with their time lag."""
    transform = sweep.keyframe_from_sweep
    xyz = sweep.points.xyz
    near = index.candidates(xyz.T, transform)
    x, y = (xyz[axis].take(near, mode="clip") for axis in (X, Y))
    close = (np.abs(x) < CLOSE_M) & (np.abs(y) < CLOSE_M)
    if close.any():
        near, x, y = near[~close], x[~close], y[~close]
    out = np.empty((_COLUMNS, len(near)), dtype=np.float32)
    z = xyz[Z].take(near, mode="clip").astype(np.float64)
    x, y = x.astype(np.float64), y.astype(np.float64)
    for axis in (X, Y, Z):
        # Sums written out, in double precision: a matrix product may round otherwise on another number of threads.
        a, b, c, shift = transform[axis]
        out[axis] = a * x + b * y + c * z + shift
    out[_INTENSITY] = sweep.points.intensity.take(near, mode="clip")
    out[TIME_LAG] = sweep.time_lag_s
    return out


def _store_objects(job: ChunkJob, reader: StoreReader, sample_token: str) -> FrameObjects:
    record = reader.keyframe(sample_token)
    valid = record.valid.numpy()
    wanted = [i for i, name in enumerate(record.detection_names) if valid[i] and name in job.classes]
    boxes = record.boxes.numpy()[wanted].astype("<f4")
    clouds = object_points(reader.sweep_columns(record.lidar_token), _sweeps(reader, record), boxes) if wanted else []
    kept = [i for i, points in enumerate(clouds) if len(points)]
    folder = os.fspath(job.database)
    for i in kept:
        name = object_file(sample_token, record.detection_names[wanted[i]], wanted[i])
        _write(f"{folder}{os.sep}{name}", clouds[i].astype("<f4", copy=False).data)
    return FrameObjects(
        sample_token=sample_token,
        names=[name or category for name, category in zip(record.detection_names, record.categories, strict=True)],
        valid=valid.tolist(),
        gt_idx=[wanted[i] for i in kept],
        num_points=[len(clouds[i]) for i in kept],
        boxes=boxes[kept].tobytes(),
    )


def _write(path: str, data: memoryview) -> None:
    """Writes a file. There are a million small ones: pathlib and buffers would take longer than the file system."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        written = os.write(file, data)
    finally:
        os.close(file)
    if written != data.nbytes:
        raise OSError(errno.ENOSPC, "disk full", path)


def _sweeps(reader: StoreReader, record: KeyframeRecord) -> list[Sweep]:
    return [
        Sweep(
            points=reader.sweep_columns(ref.token),
            keyframe_from_sweep=ref.keyframe_from_sweep.numpy(),
            time_lag_s=1e-6 * (record.timestamp_us - ref.timestamp_us),
        )
        for ref in record.sweeps
    ]
