"""Keyframes and their sweeps, from raw tables and point files to records."""

from __future__ import annotations

import math
from collections.abc import Container
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lidar_mt.data.lmdb_store.points import POINT_BYTES
from lidar_mt.data.lmdb_store.records import Array, KeyframeRecord, Pose, SweepRef
from lidar_mt.data.nuscenes.labels import box_velocity
from lidar_mt.data.nuscenes.tables import AnnotationRow, SampleDataRow, SampleRow, Tables
from lidar_mt.data.point_values import LARGEST_VALUE, all_within, describe_bad
from lidar_mt.structures.boxes import BOX_SIZE, YAW, W, transform_boxes
from lidar_mt.structures.classes import detection_name
from lidar_mt.structures.errors import DataError

#: Previous sweeps that a keyframe refers to.
MAX_SWEEPS = 10
_NORM_TOLERANCE = 1e-2


class PointFileError(DataError):
    """A raw point file is missing, empty, short or holds values that are no points."""


def read_points(root: Path, lidar: SampleDataRow) -> npt.NDArray[np.float32]:
    """Points of a raw LiDAR file.

    Args:
        root: data root.
        lidar: LIDAR_TOP row.

    Returns:
        (P, 5) float32: x y z [m] in the sweep's own LiDAR frame, intensity [0, 255], ring.

    Raises:
        PointFileError: the file is missing, empty, short or holds values that are no points.
    """
    path = root / lidar.filename
    what = f"{path} (sample_data {lidar.token})"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PointFileError(f"missing point file {what}; download that part of the data set again") from error
    if not data or len(data) % POINT_BYTES:
        raise PointFileError(
            f"{what} has {len(data)} bytes, expected a positive multiple of {POINT_BYTES}; "
            "download that part of the data set again"
        )
    points = np.frombuffer(data, dtype="<f4").reshape(-1, 5)
    if not all_within(points):
        bad = ~(np.abs(points).max(axis=1) < LARGEST_VALUE)
        raise PointFileError(f"{what}: {describe_bad(points, bad)}; download that part of the data set again")
    return points


def keyframe_lidar(tables: Tables, sample: SampleRow) -> SampleDataRow:
    """LIDAR_TOP row of a keyframe. Raises DataError when it has none."""
    try:
        return tables.keyframe_lidar[sample.token]
    except KeyError as error:
        raise DataError(f"{tables.lidar.path} has no LIDAR_TOP keyframe for the sample {sample.token}") from error


def previous_sweeps(tables: Tables, lidar: SampleDataRow) -> list[SampleDataRow]:
    """Up to `MAX_SWEEPS` sweeps before a keyframe, nearest first."""
    sweeps: list[SampleDataRow] = []
    while lidar.prev and len(sweeps) < MAX_SWEEPS:
        lidar = tables.lidar[lidar.prev]
        sweeps.append(lidar)
    return sweeps


def keyframe_record(
    tables: Tables,
    sample: SampleRow,
    lidarseg: npt.NDArray[np.uint8] | None = None,
    left_out: Container[str] = (),
) -> KeyframeRecord:
    """Everything about a keyframe but its points.

    Args:
        tables: the version.
        sample: the keyframe.
        lidarseg: (P,) uint8 labels of its points.
        left_out: sample_data tokens of sweeps that it shall not refer to.

    Raises:
        DataError: a row that the keyframe names is missing.
    """
    lidar = keyframe_lidar(tables, sample)
    ego_from_lidar, global_from_ego = _poses(tables, lidar)
    lidar_from_global = np.linalg.inv(global_from_ego.matrix() @ ego_from_lidar.matrix())
    sweeps = [sweep for sweep in previous_sweeps(tables, lidar) if sweep.token not in left_out]
    annotations = tables.annotations_of.get(sample.token, [])
    categories = [tables.category_name(annotation) for annotation in annotations]
    counts = np.array([(row.num_lidar_pts, row.num_radar_pts) for row in annotations], dtype=np.int32).reshape(-1, 2)
    return KeyframeRecord(
        sample_token=sample.token,
        scene_token=sample.scene_token,
        prev_token=sample.prev,
        next_token=sample.next,
        timestamp_us=lidar.timestamp,
        lidar_token=lidar.token,
        ego_from_lidar=ego_from_lidar,
        global_from_ego=global_from_ego,
        sweeps=[_sweep_ref(tables, sweep, lidar_from_global) for sweep in sweeps],
        boxes=Array.pack(transform_boxes(global_boxes(tables, annotations), lidar_from_global)),
        categories=categories,
        detection_names=[detection_name(category) for category in categories],
        num_lidar_pts=Array.pack(counts[:, 0]),
        num_radar_pts=Array.pack(counts[:, 1]),
        valid=Array.pack(counts.sum(axis=1) > 0),
        lidarseg=None if lidarseg is None else Array.pack(lidarseg),
    )


def global_boxes(tables: Tables, annotations: list[AnnotationRow]) -> npt.NDArray[np.float64]:
    """Boxes of annotations.

    Returns:
        (N, 9) float64 in the global frame, see `structures.boxes`.
    """
    boxes = np.empty((len(annotations), BOX_SIZE))
    boxes[:, :W] = [row.translation for row in annotations] or np.empty((0, 3))
    boxes[:, W:YAW] = [row.size for row in annotations] or np.empty((0, 3))
    boxes[:, YAW + 1 :] = [box_velocity(tables, row) for row in annotations] or np.empty((0, 2))
    bad = ~(np.isfinite(boxes[:, :YAW]).all(axis=1) & (boxes[:, W:YAW] > 0).all(axis=1))
    if bad.any():
        row = annotations[int(bad.argmax())]
        raise DataError(
            f"sample_annotation {row.token} has the centre {list(row.translation)} and the size {list(row.size)}, "
            "which is no box; download the metadata again"
        )
    # The direction of the box's x axis, from all quaternions at once: a matrix each takes ten times as long.
    w, x, y, z = np.array([row.rotation for row in annotations], dtype=np.float64).reshape(-1, 4).T
    boxes[:, YAW] = np.arctan2(2 * (x * y + w * z), w * w + x * x - y * y - z * z)
    return boxes


def _poses(tables: Tables, lidar: SampleDataRow) -> tuple[Pose, Pose]:
    extrinsic = tables.extrinsics[lidar.calibrated_sensor_token].pose()
    ego = tables.ego_poses[lidar.ego_pose_token].pose()
    _check_rotation(extrinsic, f"calibrated_sensor {lidar.calibrated_sensor_token}")
    _check_rotation(ego, f"ego_pose {lidar.ego_pose_token}")
    return extrinsic, ego


def _check_rotation(pose: Pose, what: str) -> None:
    if not abs(math.hypot(*pose.rotation) - 1.0) < _NORM_TOLERANCE:
        raise DataError(f"{what} has the rotation {list(pose.rotation)}, which is no unit quaternion; download again")


def _sweep_ref(tables: Tables, sweep: SampleDataRow, lidar_from_global: npt.NDArray[np.float64]) -> SweepRef:
    """Keyframe LiDAR <- keyframe ego <- global <- sweep ego <- sweep LiDAR."""
    ego_from_lidar, global_from_ego = _poses(tables, sweep)
    transform = lidar_from_global @ global_from_ego.matrix() @ ego_from_lidar.matrix()
    return SweepRef(sweep.token, sweep.timestamp, Array.pack(transform))
