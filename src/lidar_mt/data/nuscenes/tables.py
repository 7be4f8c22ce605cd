"""The raw tables of a nuScenes version, read as typed rows and reduced to what LiDAR needs.

The devkit's own loader keeps every camera and radar row, and refuses to start when a lidarseg file is missing; these
tables hold the LiDAR rows alone and name whatever is missing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from lidar_mt.data.lmdb_store.records import Pose
from lidar_mt.data.nuscenes.splits import scene_names
from lidar_mt.structures.errors import DataError

LIDAR_CHANNEL = "LIDAR_TOP"
Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]


class SceneRow(msgspec.Struct, frozen=True):
    """A row of scene.json."""

    token: str
    name: str


class SampleRow(msgspec.Struct, frozen=True):
    """A row of sample.json: a keyframe. `timestamp` in us."""

    token: str
    timestamp: int
    prev: str
    next: str
    scene_token: str


class SampleDataRow(msgspec.Struct, frozen=True):
    """A row of sample_data.json: one sensor reading. `timestamp` in us, `filename` relative to the data root."""

    token: str
    sample_token: str
    ego_pose_token: str
    calibrated_sensor_token: str
    timestamp: int
    is_key_frame: bool
    filename: str
    prev: str


class PoseRow(msgspec.Struct, frozen=True):
    """A row of ego_pose.json: the ego frame in the global frame. Quaternion w x y z, metres."""

    token: str
    rotation: Quaternion
    translation: Vector

    def pose(self) -> Pose:
        """The pose alone."""
        return Pose(self.rotation, self.translation)


class ExtrinsicRow(PoseRow, frozen=True):
    """A row of calibrated_sensor.json: a sensor in the ego frame."""

    sensor_token: str


class SensorRow(msgspec.Struct, frozen=True):
    """A row of sensor.json."""

    token: str
    channel: str


class AnnotationRow(msgspec.Struct, frozen=True):
    """A row of sample_annotation.json: a box in the global frame; `size` is w l h [m]."""

    token: str
    sample_token: str
    instance_token: str
    translation: Vector
    size: Vector
    rotation: Quaternion
    prev: str
    next: str
    num_lidar_pts: int
    num_radar_pts: int


class InstanceRow(msgspec.Struct, frozen=True):
    """A row of instance.json."""

    token: str
    category_token: str


class CategoryRow(msgspec.Struct, frozen=True):
    """A row of category.json; `index` is present in sets with lidarseg."""

    token: str
    name: str
    index: int | None = None


class LidarsegRow(msgspec.Struct, frozen=True):
    """A row of lidarseg.json: the label file of a LiDAR keyframe."""

    token: str
    sample_data_token: str
    filename: str


class _HasToken(Protocol):
    @property
    def token(self) -> str: ...


Row = TypeVar("Row", bound=_HasToken)


class Table(dict[str, Row]):
    """Rows by token; a token that is not there raises DataError naming the file."""

    def __init__(self, path: Path, rows: Iterable[Row]) -> None:
        super().__init__((row.token, row) for row in rows)
        self.path = path

    def __missing__(self, token: str) -> Row:
        raise DataError(
            f"{self.path} has no row with the token {token!r}, which another table names; download it again"
        )


@dataclass(frozen=True)
class Tables:
    """The LiDAR part of one nuScenes version.

    Attributes:
        root: data root, the folder of samples/, sweeps/ and maps/.
        version: name of the table folder.
        scenes: all scenes, by token.
        samples: all keyframes, by token.
        samples_of: keyframes of each scene token, in time order.
        lidar: LIDAR_TOP rows of sample_data, by token.
        keyframe_lidar: LIDAR_TOP row of each sample token.
        ego_poses: of the LiDAR rows, by token.
        extrinsics: by token.
        annotations: by token.
        annotations_of: annotations of each sample token, in table order.
        instances: by token.
        categories: by token.
        lidarseg: label row of each sample_data token, or None for a set without lidarseg.
    """

    root: Path
    version: str
    scenes: Table[SceneRow]
    samples: Table[SampleRow]
    samples_of: dict[str, list[SampleRow]]
    lidar: Table[SampleDataRow]
    keyframe_lidar: dict[str, SampleDataRow]
    ego_poses: Table[PoseRow]
    extrinsics: Table[ExtrinsicRow]
    annotations: Table[AnnotationRow]
    annotations_of: dict[str, list[AnnotationRow]]
    instances: Table[InstanceRow]
    categories: Table[CategoryRow]
    lidarseg: dict[str, LidarsegRow] | None

    def category_name(self, annotation: AnnotationRow) -> str:
        """Category name of a box, such as vehicle.car."""
        return self.categories[self.instances[annotation.instance_token].category_token].name


def load_tables(root: Path, version: str) -> Tables:
    """Reads the tables of a version.

    Args:
        root: data root in the official layout (samples/, sweeps/, maps/, v1.0-*/).
        version: such as v1.0-trainval or v1.0-mini.

    Raises:
        DataError: the folder or a table is missing, or a table does not hold what the nuScenes schema says.
    """
    folder = root / version
    if not folder.is_dir():
        raise DataError(
            f"no nuScenes tables at {folder}; expected the official layout (samples/, sweeps/, maps/, {version}/). "
            "Pass src=<data root> version=<folder>, or make simulated data with `make demo-data`"
        )
    extrinsics = _table(folder, "calibrated_sensor", ExtrinsicRow)
    sensors = _table(folder, "sensor", SensorRow)
    is_lidar = {token for token, row in extrinsics.items() if sensors[row.sensor_token].channel == LIDAR_CHANNEL}
    lidar_rows = [row for row in _rows(folder, "sample_data", SampleDataRow) if row.calibrated_sensor_token in is_lidar]
    pose_tokens = {row.ego_pose_token for row in lidar_rows}
    samples = _table(folder, "sample", SampleRow)
    annotations = _table(folder, "sample_annotation", AnnotationRow)
    annotations_of = defaultdict(list)
    for annotation in annotations.values():
        annotations_of[annotation.sample_token].append(annotation)
    samples_of = defaultdict(list)
    for sample in sorted(samples.values(), key=lambda row: row.timestamp):
        samples_of[sample.scene_token].append(sample)
    return Tables(
        root=root,
        version=version,
        scenes=_table(folder, "scene", SceneRow),
        samples=samples,
        samples_of=dict(samples_of),
        lidar=Table(folder / "sample_data.json", lidar_rows),
        keyframe_lidar={row.sample_token: row for row in lidar_rows if row.is_key_frame},
        ego_poses=Table(
            folder / "ego_pose.json", (row for row in _rows(folder, "ego_pose", PoseRow) if row.token in pose_tokens)
        ),
        extrinsics=extrinsics,
        annotations=annotations,
        annotations_of=dict(annotations_of),
        instances=_table(folder, "instance", InstanceRow),
        categories=_table(folder, "category", CategoryRow),
        lidarseg=_lidarseg(folder),
    )


def split_scenes(tables: Tables, split: str) -> list[SceneRow]:
    """The scenes of a split that this version holds, by name.

    Args:
        tables: the version.
        split: 'train' or 'val'; in a version whose name ends in 'mini' the devkit's mini_train and mini_val.

    Raises:
        DataError: no such split, or none of its scenes is in this version.
    """
    official = scene_names(tables.version)
    if split not in official:
        raise DataError(f"unknown split {split!r} of {tables.version}; pass split={' or split='.join(official)}")
    names = set(official[split])
    scenes = sorted((row for row in tables.scenes.values() if row.name in names), key=lambda row: row.name)
    if not scenes:
        raise DataError(
            f"{tables.scenes.path} holds no scene of split {split!r} (such as {official[split][0]}); "
            f"pass another split ({', '.join(official)}) or another version"
        )
    return scenes


def _lidarseg(folder: Path) -> dict[str, LidarsegRow] | None:
    if not (folder / "lidarseg.json").exists():
        return None
    return {row.sample_data_token: row for row in _rows(folder, "lidarseg", LidarsegRow)}


def _table(folder: Path, name: str, kind: type[Row]) -> Table[Row]:
    return Table(folder / f"{name}.json", _rows(folder, name, kind))


def _rows(folder: Path, name: str, kind: type[Row]) -> list[Row]:
    path = folder / f"{name}.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[kind])  # type: ignore[valid-type]
    except FileNotFoundError as error:
        raise DataError(f"missing table {path}; download the metadata of {folder.name} again") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} does not follow the nuScenes schema: {error}; download it again") from error
