"""The ground truth of a split, straight from the tables: what the benchmark needs of them and nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec
import numpy as np

from lidar_mt.metrics.detection_protocol import ATTRIBUTE_NAMES, DETECTION_NAMES, RACK_CATEGORY
from lidar_mt.metrics.eval_boxes import EvalBoxes, Floats, Racks
from lidar_mt.metrics.eval_splits import check_tables, scenes_of_split
from lidar_mt.structures.classes import detection_name
from lidar_mt.structures.errors import DataError
from lidar_mt.structures.nuscenes_tables import read_rows

#: The tables that are read here.
TRUTH_TABLES = (
    "attribute",
    "calibrated_sensor",
    "category",
    "ego_pose",
    "instance",
    "sample",
    "sample_annotation",
    "sample_data",
    "scene",
    "sensor",
)
_LIDAR_CHANNEL = "LIDAR_TOP"
_NAMED = 3
#: Keyframes further apart say nothing about velocity [s]; twice as much for a centred difference.
_MAX_TIME_DIFFERENCE_S = 1.5
Key = TypeVar("Key")
Value = TypeVar("Value")


class GroundTruth(NamedTuple):
    """All boxes of the detection classes in a split, before range and points are looked at.

    Attributes:
        version: nuScenes version.
        eval_set: name of the split.
        tokens: S sample tokens, in the order of the tables.
        ego_xy: (S, 2) float64 ego position of each LiDAR keyframe in the global frame [m].
        boxes: those of a sample in the order of the tables.
        racks: bicycle racks.
    """

    version: str
    eval_set: str
    tokens: list[str]
    ego_xy: Floats
    boxes: EvalBoxes
    racks: Racks

    def only(self, tokens: Sequence[str]) -> GroundTruth:
        """The part that belongs to some of the samples, which keep the order given."""
        old = {token: index for index, token in enumerate(self.tokens)}
        rows = np.array([old[token] for token in tokens], dtype=np.int64)
        new = np.full(len(self.tokens), -1)
        new[rows] = np.arange(len(rows))
        boxes, racks = self.boxes, self.racks
        keep, keep_racks = new[boxes.sample] >= 0, new[racks.sample] >= 0
        return self._replace(
            tokens=list(tokens),
            ego_xy=self.ego_xy[rows],
            boxes=boxes._replace(sample=new[boxes.sample]).select(keep),
            racks=racks._replace(sample=new[racks.sample]).select(keep_racks),
        )


class _Named(msgspec.Struct, frozen=True):
    token: str
    name: str


class _Sample(msgspec.Struct, frozen=True):
    token: str
    timestamp: int
    scene_token: str


class _SampleData(msgspec.Struct, frozen=True):
    sample_token: str
    ego_pose_token: str
    calibrated_sensor_token: str
    is_key_frame: bool


class _EgoPose(msgspec.Struct, frozen=True):
    token: str
    translation: tuple[float, float, float]


class _Extrinsic(msgspec.Struct, frozen=True):
    token: str
    sensor_token: str


class _Sensor(msgspec.Struct, frozen=True):
    token: str
    channel: str


class _Instance(msgspec.Struct, frozen=True):
    token: str
    category_token: str


class _Annotation(msgspec.Struct, frozen=True):
    token: str
    sample_token: str
    instance_token: str
    attribute_tokens: list[str]
    translation: tuple[float, float, float]
    size: tuple[float, float, float]
    rotation: tuple[float, float, float, float]
    prev: str
    next: str
    num_lidar_pts: int
    num_radar_pts: int


def load_truth(data_root: str | Path, version: str, eval_set: str) -> GroundTruth:
    """Reads the ground truth of a split.

    The tables pass by a block at a time, so that the annotations of other splits and the readings of other sensors
    never lie in memory together.

    Args:
        data_root: folder of the official layout; only tables are read.
        version: nuScenes version.
        eval_set: as `resolve_eval_set` returns it.

    Raises:
        ConfigError: unknown split.
        DataError: a table is missing or damaged, no scene belongs to the split, or an annotation cannot be scored.
    """
    check_tables(data_root, version, TRUTH_TABLES)
    folder = Path(data_root) / version
    times_s = _samples_of_split(folder, scenes_of_split(data_root, version, eval_set), eval_set)
    place = {token: index for index, token in enumerate(times_s)}
    ego = _ego_positions(folder, place)
    # A stable sort keeps the tables' order within a sample, which decides between truths that are equally near.
    rows = sorted(
        (row for row in read_rows(folder, "sample_annotation", _Annotation) if row.sample_token in place),
        key=lambda row: place[row.sample_token],
    )
    categories = _categories(folder, rows)
    attributes = {row.token: row.name for row in read_rows(folder, "attribute", _Named)}
    named = [(row, detection_name(category)) for row, category in zip(rows, categories, strict=True)]
    truths = [(row, name) for row, name in named if name]
    _refuse(folder, [*_missing_lidar(place, ego), *(fault for row, _ in truths for fault in _faults(row, attributes))])
    by_token = {row.token: row for row in rows}
    boxes = EvalBoxes(
        sample=np.array([place[row.sample_token] for row, _ in truths], dtype=np.int64),
        label=np.array([DETECTION_NAMES.index(name) for _, name in truths], dtype=np.int64),
        center=_matrix((row.translation for row, _ in truths), 3),
        size=_matrix((row.size for row, _ in truths), 3),
        rotation=_matrix((row.rotation for row, _ in truths), 4),
        velocity=_matrix((_velocity(row, by_token, times_s, folder) for row, _ in truths), 2),
        attribute=np.array([_attribute(row, attributes, folder) for row, _ in truths], dtype=np.int64),
        score=np.full(len(truths), -1.0),
        num_points=np.array([row.num_lidar_pts + row.num_radar_pts for row, _ in truths], dtype=np.int64),
    )
    racks = [row for row, category in zip(rows, categories, strict=True) if category == RACK_CATEGORY]
    return GroundTruth(
        version=version,
        eval_set=eval_set,
        tokens=list(place),
        ego_xy=_matrix((ego[token] for token in place), 3)[:, :2],
        boxes=boxes,
        racks=Racks(
            np.array([place[row.sample_token] for row in racks], dtype=np.int64),
            _matrix((row.translation for row in racks), 3),
            _matrix((row.size for row in racks), 3),
            _matrix((row.rotation for row in racks), 4),
        ),
    )


def _matrix(rows: Iterable[Sequence[float]], width: int) -> Floats:
    return np.array(list(rows), dtype=np.float64).reshape(-1, width)


def _look_up(mapping: dict[Key, Value], key: Key, path: Path) -> Value:
    try:
        return mapping[key]
    except KeyError as error:
        raise DataError(
            f"{path} has no row with the token {key!r}, which another table names; copy the version's tables again"
        ) from error


def _samples_of_split(folder: Path, scenes: Sequence[str], eval_set: str) -> dict[str, float]:
    """Time [s] of each sample of the scenes, in the table's order."""
    wanted = set(scenes)
    names = {row.token: row.name for row in read_rows(folder, "scene", _Named)}
    times_s = {
        # As the devkit makes seconds, so that velocities are the same to the last bit.
        row.token: 1e-6 * row.timestamp
        for row in read_rows(folder, "sample", _Sample)
        if _look_up(names, row.scene_token, folder / "scene.json") in wanted
    }
    if not times_s:
        there = ", ".join(list(names.values())[:_NAMED])
        raise DataError(
            f"no scene of {folder.name} belongs to split {eval_set} "
            f"(it has {len(names)} scenes: {there}, ...); choose another split=NAME or version=NAME"
        )
    return times_s


def _ego_positions(folder: Path, samples: dict[str, int]) -> dict[str, tuple[float, float, float]]:
    """Ego position of the LiDAR keyframe of each sample that has one."""
    sensors = {row.token for row in read_rows(folder, "sensor", _Sensor) if row.channel == _LIDAR_CHANNEL}
    lidars = {row.token for row in read_rows(folder, "calibrated_sensor", _Extrinsic) if row.sensor_token in sensors}
    pose_of = {
        row.sample_token: row.ego_pose_token
        for row in read_rows(folder, "sample_data", _SampleData)
        if row.is_key_frame and row.calibrated_sensor_token in lidars and row.sample_token in samples
    }
    wanted = set(pose_of.values())
    position = {row.token: row.translation for row in read_rows(folder, "ego_pose", _EgoPose) if row.token in wanted}
    return {sample: _look_up(position, token, folder / "ego_pose.json") for sample, token in pose_of.items()}


def _categories(folder: Path, rows: Sequence[_Annotation]) -> list[str]:
    names = {row.token: row.name for row in read_rows(folder, "category", _Named)}
    wanted = {row.instance_token for row in rows}
    category = {
        row.token: _look_up(names, row.category_token, folder / "category.json")
        for row in read_rows(folder, "instance", _Instance)
        if row.token in wanted
    }
    return [_look_up(category, row.instance_token, folder / "instance.json") for row in rows]


def _velocity(
    row: _Annotation, rows: dict[str, _Annotation], times_s: dict[str, float], folder: Path
) -> tuple[float, float]:
    """Velocity [m/s] from the neighbours in time, NaN where they are too far apart or missing.

    Source: nuscenes-devkit 1.2.0, NuScenes.box_velocity.
    """
    path = folder / "sample_annotation.json"
    if not row.prev and not row.next:
        return math.nan, math.nan
    first = _look_up(rows, row.prev, path) if row.prev else row
    last = _look_up(rows, row.next, path) if row.next else row
    time_s = times_s[last.sample_token] - times_s[first.sample_token]
    if time_s > _MAX_TIME_DIFFERENCE_S * (2 if row.prev and row.next else 1):
        return math.nan, math.nan
    vx, vy = (_divide(last.translation[axis] - first.translation[axis], time_s) for axis in (0, 1))
    return vx, vy


def _divide(distance: float, time_s: float) -> float:
    """As arrays divide: infinite or NaN where two keyframes bear the same time."""
    if time_s:
        return distance / time_s
    return math.copysign(math.inf, distance) if distance else math.nan


def _attribute(row: _Annotation, names: dict[str, str], folder: Path) -> int:
    if not row.attribute_tokens:
        return -1
    name = names[row.attribute_tokens[0]]
    if name not in ATTRIBUTE_NAMES:
        raise DataError(f"{folder / 'attribute.json'} has the attribute {name!r}, which the benchmark does not know")
    return ATTRIBUTE_NAMES.index(name)


def _missing_lidar(samples: Iterable[str], ego: dict[str, tuple[float, float, float]]) -> Iterator[str]:
    for token in samples:
        if token not in ego:
            yield f"sample {token} has no {_LIDAR_CHANNEL} keyframe in sample_data.json"


def _faults(row: _Annotation, attributes: dict[str, str]) -> Iterator[str]:
    what = f"sample_annotation {row.token}"
    if len(row.attribute_tokens) > 1:
        yield f"{what} has {len(row.attribute_tokens)} attributes, at most one is allowed"
    elif not attributes.keys() >= set(row.attribute_tokens):
        yield f"{what} has an attribute that attribute.json does not list"
    if not min(row.size) > 0:
        yield f"{what} has the size {list(row.size)}"


def _refuse(folder: Path, faults: list[str]) -> None:
    if faults:
        more = f" and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        raise DataError(f"{folder.name} cannot be scored: {'; '.join(faults[:_NAMED])}{more}; repair the tables")
