"""What a packed store holds: the typed records and the arrays and poses inside them."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from lidar_mt.data.lmdb_store.points import PackedPoints
from lidar_mt.structures.errors import DataError

#: Length of the tokens in `IndexRecord`: 32 hex digits in nuScenes.
TOKEN_BYTES = 32
_DTYPES = frozenset({"<f4", "<f8", "<i4", "<i8", "<u8", "|u1", "|b1", f"|S{TOKEN_BYTES}"})


class Array(msgspec.Struct, array_like=True, frozen=True):
    """A numpy array as bytes.

    Attributes:
        dtype: numpy type string, little endian.
        shape: shape.
        data: the elements in C order.
    """

    dtype: str
    shape: tuple[int, ...]
    # A view into the record's bytes: decoding copies nothing.
    data: memoryview

    @classmethod
    def pack(cls, array: npt.NDArray[Any]) -> Array:
        """Wraps an array; bits are kept."""
        little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
        return cls(little.dtype.str, array.shape, memoryview(little.tobytes()))

    def numpy(self) -> npt.NDArray[Any]:
        """The array, read-only, sharing memory with the record.

        Raises:
            DataError: the type is not one of this format, or shape and bytes disagree.
        """
        if self.dtype not in _DTYPES:
            raise DataError(f"packed array of the unknown type {self.dtype!r}; pack the data again")
        dtype = np.dtype(self.dtype)
        # min() catches a pair of negative sizes whose product is right.
        if min(self.shape, default=0) < 0 or math.prod(self.shape) * dtype.itemsize != len(self.data):
            raise DataError(f"packed array of shape {self.shape} and type {self.dtype} has {len(self.data)} bytes")
        return np.frombuffer(self.data, dtype).reshape(self.shape)


class Pose(msgspec.Struct, array_like=True, frozen=True):
    """A rigid transform as nuScenes stores it.

    Attributes:
        rotation: unit quaternion w x y z.
        translation: x y z [m].
    """

    rotation: tuple[float, float, float, float]
    translation: tuple[float, float, float]

    def matrix(self) -> npt.NDArray[np.float64]:
        """(4, 4) float64 transform from the posed frame into its parent.

        Example:
            >>> Pose((0.0, 0.0, 0.0, 1.0), (1.0, 2.0, 3.0)).matrix().tolist()[0]
            [-1.0, 0.0, 0.0, 1.0]
        """
        w, x, y, z = np.asarray(self.rotation, dtype=np.float64) / np.linalg.norm(self.rotation)
        out = np.eye(4)
        out[:3, :3] = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
        out[:3, 3] = self.translation
        return out


class SweepRef(msgspec.Struct, array_like=True, frozen=True):
    """A sweep as seen from a keyframe.

    Attributes:
        token: its sample_data token.
        timestamp_us: its time [us].
        keyframe_from_sweep: (4, 4) float64 transform into the keyframe's LiDAR frame, ego motion included.
    """

    token: str
    timestamp_us: int
    keyframe_from_sweep: Array


class SweepRecord(msgspec.Struct, array_like=True, frozen=True):
    """One LiDAR sweep, bit for bit as in the raw file.

    Attributes:
        points: x y z [m] in the sweep's own LiDAR frame, intensity [0, 255], ring.
    """

    points: PackedPoints


class KeyframeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One keyframe: everything but the points, which `SweepRecord` holds under `lidar_token`.

    Attributes:
        sample_token: nuScenes sample token.
        scene_token: token of its scene.
        prev_token: sample token of the previous keyframe, '' for the first.
        next_token: sample token of the next keyframe, '' for the last.
        timestamp_us: time of the keyframe's LiDAR sweep [us].
        lidar_token: sample_data token of the keyframe's LiDAR sweep.
        ego_from_lidar: extrinsic of the LiDAR.
        global_from_ego: ego pose at the LiDAR's time.
        sweeps: up to 10 previous sweeps, nearest first.
        boxes: (N, 9) float64, see `structures.boxes`; velocity NaN where unknown.
        categories: N nuScenes category names.
        detection_names: N detection class names, '' for an annotation of no detection class.
        num_lidar_pts: (N,) int32 LiDAR points inside each box, as annotated.
        num_radar_pts: (N,) int32 radar points inside each box, as annotated.
        valid: (N,) bool, any LiDAR or radar point inside.
        lidarseg: (P,) uint8 raw nuScenes-lidarseg index of each keyframe point, or None.
    """

    sample_token: str
    scene_token: str
    prev_token: str
    next_token: str
    timestamp_us: int
    lidar_token: str
    ego_from_lidar: Pose
    global_from_ego: Pose
    sweeps: list[SweepRef]
    boxes: Array
    categories: list[str]
    detection_names: list[str]
    num_lidar_pts: Array
    num_radar_pts: Array
    valid: Array
    lidarseg: Array | None


class SceneRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What one scene put into the store, to know what is complete and what is missing.

    Attributes:
        token: scene token.
        name: scene name.
        sample_tokens: its keyframes in time order.
        sweeps: number of its LiDAR sweeps.
        raw_bytes: size of their raw files.
        keys: keys of its keyframe and sweep records, in the order they were written.
        checksums: (len(keys),) uint64, from the headers of these records.
        skipped: what was wrong with each of its point files that was left out.
    """

    token: str
    name: str
    sample_tokens: list[str]
    sweeps: int
    raw_bytes: int
    keys: list[bytes]
    checksums: Array
    skipped: list[str] = []


class IndexRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The keyframes of a store, in the order of their scenes and times.

    Attributes:
        sample_tokens: (K,) bytes of length 32.
    """

    sample_tokens: Array
