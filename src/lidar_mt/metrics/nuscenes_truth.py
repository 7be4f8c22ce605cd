"""The ground truth of a split, straight from the tables: what the benchmark needs of them and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec
import numpy as np

from lidar_mt.metrics.detection_protocol import ATTRIBUTE_NAMES, DETECTION_NAMES, RACK_CATEGORY
from lidar_mt.metrics.eval_boxes import EvalBoxes, Floats, Integers, Racks
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


# No row refers to another, so the garbage collector need not look at millions of them.
class _Named(msgspec.Struct, frozen=True, gc=False):
    token: str
    name: str


class _Sample(msgspec.Struct, frozen=True, gc=False):
    token: str
    timestamp: int
    scene_token: str


class _SampleData(msgspec.Struct, frozen=True, gc=False):
    sample_token: str
    ego_pose_token: str
    calibrated_sensor_token: str
    is_key_frame: bool


class _EgoPose(msgspec.Struct, frozen=True, gc=False):
    token: str
    translation: tuple[float, float, float]


class _Extrinsic(msgspec.Struct, frozen=True, gc=False):
    token: str
    sensor_token: str


class _Sensor(msgspec.Struct, frozen=True, gc=False):
    token: str
    channel: str


class _Instance(msgspec.Struct, frozen=True, gc=False):
    token: str
    category_token: str


class _Annotation(msgspec.Struct, frozen=True, gc=False):
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
    names = [detection_name(category) for category in categories]
    truths = [row for row, name in zip(rows, names, strict=True) if name]
    attributes = {row.token: row.name for row in read_rows(folder, "attribute", _Named)}
    _refuse(folder, [*_missing_lidar(place, ego), *(fault for row in truths for fault in _faults(row, attributes))])
    boxes = EvalBoxes(
        sample=np.array([place[row.sample_token] for row in truths], dtype=np.int64),
        label=np.array([DETECTION_NAMES.index(name) for name in names if name], dtype=np.int64),
        center=_matrix((row.translation for row in truths), 3),
        size=_matrix((row.size for row in truths), 3),
        rotation=_matrix((row.rotation for row in truths), 4),
        velocity=_velocities(truths, rows, times_s, folder),
        attribute=_attribute_indices(truths, attributes, folder),
        score=np.full(len(truths), -1.0),
        num_points=np.array([row.num_lidar_pts + row.num_radar_pts for row in truths], dtype=np.int64),
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
    return np.fromiter(chain.from_iterable(rows), np.float64).reshape(-1, width)


def _look_up(mapping: Mapping[Key, Value], keys: Iterable[Key], folder: Path, table: str) -> list[Value]:
    try:
        return [mapping[key] for key in keys]
    except KeyError as error:
        raise DataError(
            f"{folder / table}.json has no row with the token {error}, which another table names; "
            "copy the version's tables again"
        ) from error


def _samples_of_split(folder: Path, scenes: Sequence[str], eval_set: str) -> dict[str, float]:
    """Time [s] of each sample of the scenes, in the table's order."""
    wanted = set(scenes)
    names = {row.token: row.name for row in read_rows(folder, "scene", _Named)}
    samples = list(read_rows(folder, "sample", _Sample))
    scene_names = _look_up(names, (row.scene_token for row in samples), folder, "scene")
    times_s = {
        # As the devkit makes seconds, so that velocities are the same to the last bit.
        row.token: 1e-6 * row.timestamp
        for row, name in zip(samples, scene_names, strict=True)
        if name in wanted
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
    return dict(zip(pose_of, _look_up(position, pose_of.values(), folder, "ego_pose"), strict=True))


def _categories(folder: Path, rows: Sequence[_Annotation]) -> list[str]:
    names = {row.token: row.name for row in read_rows(folder, "category", _Named)}
    wanted = {row.instance_token for row in rows}
    instances = [row for row in read_rows(folder, "instance", _Instance) if row.token in wanted]
    found = _look_up(names, (row.category_token for row in instances), folder, "category")
    category = dict(zip((row.token for row in instances), found, strict=True))
    return _look_up(category, (row.instance_token for row in rows), folder, "instance")


def _velocities(
    truths: Sequence[_Annotation], rows: Sequence[_Annotation], times_s: dict[str, float], folder: Path
) -> Floats:
    """(N, 2) velocity [m/s] from the neighbours in time, NaN where they are too far apart or missing.

    Source: nuscenes-devkit 1.2.0, NuScenes.box_velocity.
    """
    by_token = {row.token: row for row in rows}
    first = _look_up(by_token, (row.prev or row.token for row in truths), folder, "sample_annotation")
    last = _look_up(by_token, (row.next or row.token for row in truths), folder, "sample_annotation")
    begin, end = (np.array([times_s[row.sample_token] for row in part], dtype=np.float64) for part in (first, last))
    shift = _matrix((row.translation for row in last), 3)[:, :2] - _matrix((row.translation for row in first), 3)[:, :2]
    neighbours = np.array([bool(row.prev) + bool(row.next) for row in truths], dtype=np.int64)
    limit = _MAX_TIME_DIFFERENCE_S * np.maximum(neighbours, 1)
    # Two keyframes may bear the same time, which makes a speed infinite as it does for the devkit.
    with np.errstate(divide="ignore", invalid="ignore"):
        velocity: Floats = shift / (end - begin)[:, None]
    velocity[(neighbours == 0) | (end - begin > limit)] = np.nan
    return velocity


def _attribute_indices(truths: Sequence[_Annotation], names: dict[str, str], folder: Path) -> Integers:
    known = {name: index for index, name in enumerate(ATTRIBUTE_NAMES)}
    used = {token for row in truths for token in row.attribute_tokens}
    strange = sorted(names[token] for token in used if names[token] not in known)
    if strange:
        raise DataError(
            f"{folder / 'attribute.json'}: the benchmark knows no attribute {strange[0]!r}; repair the table"
        )
    indices = {token: known[names[token]] for token in used}
    return np.array(
        [indices[row.attribute_tokens[0]] if row.attribute_tokens else -1 for row in truths], dtype=np.int64
    )


def _missing_lidar(samples: Iterable[str], ego: dict[str, tuple[float, float, float]]) -> Iterator[str]:
    for token in samples:
        if token not in ego:
            yield f"sample {token} has no {_LIDAR_CHANNEL} keyframe in sample_data.json"


def _faults(row: _Annotation, attributes: dict[str, str]) -> Iterator[str]:
    count = len(row.attribute_tokens)
    if count > 1:
        yield f"sample_annotation {row.token} has {count} attributes, at most one is allowed"
    elif count and row.attribute_tokens[0] not in attributes:
        yield f"sample_annotation {row.token} has an attribute that attribute.json does not list"
    if not min(row.size) > 0:
        yield f"sample_annotation {row.token} has the size {list(row.size)}"


def _refuse(folder: Path, faults: list[str]) -> None:
    if faults:
        more = f" and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        raise DataError(f"{folder.name} cannot be scored: {'; '.join(faults[:_NAMED])}{more}; repair the tables")
