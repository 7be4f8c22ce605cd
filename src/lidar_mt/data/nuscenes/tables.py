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
from lidar_mt.structures.nuscenes_tables import read_rows

#: Names of the tables that are read here.
READ_TABLES = (
    "calibrated_sensor",
    "category",
    "ego_pose",
    "instance",
    "lidarseg",
    "sample",
    "sample_annotation",
    "sample_data",
    "scene",
    "sensor",
)
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


class TableRows(msgspec.Struct, frozen=True, kw_only=True):
    """The rows behind `Tables`, which see; they travel to worker processes as msgpack."""

    scenes: list[SceneRow]
    samples: list[SampleRow]
    lidar: list[SampleDataRow]
    ego_poses: list[PoseRow]
    extrinsics: list[ExtrinsicRow]
    annotations: list[AnnotationRow]
    instances: list[InstanceRow]
    categories: list[CategoryRow]
    lidarseg: list[LidarsegRow] | None


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
    folder = check_version(root, version)
    extrinsics = list(read_rows(folder, "calibrated_sensor", ExtrinsicRow))
    is_lidar = lidar_sensors(folder, extrinsics)
    lidar = [row for row in read_rows(folder, "sample_data", SampleDataRow) if row.calibrated_sensor_token in is_lidar]
    poses = {row.ego_pose_token for row in lidar}
    return build_tables(
        root,
        version,
        TableRows(
            scenes=list(read_rows(folder, "scene", SceneRow)),
            samples=list(read_rows(folder, "sample", SampleRow)),
            lidar=lidar,
            ego_poses=[row for row in read_rows(folder, "ego_pose", PoseRow) if row.token in poses],
            extrinsics=extrinsics,
            annotations=list(read_rows(folder, "sample_annotation", AnnotationRow)),
            instances=list(read_rows(folder, "instance", InstanceRow)),
            categories=list(read_rows(folder, "category", CategoryRow)),
            lidarseg=list(read_rows(folder, "lidarseg", LidarsegRow)) if has_lidarseg(folder) else None,
        ),
    )


def check_version(root: Path, version: str) -> Path:
    """Folder of the tables of a version. Raises DataError when it is not there."""
    folder = root / version
    if not folder.is_dir():
        raise DataError(
            f"no nuScenes tables at {folder}; expected the official layout (samples/, sweeps/, maps/, {version}/). "
            "Pass src=<data root> version=<folder>, or make simulated data with `make demo-data`"
        )
    return folder


def build_tables(root: Path, version: str, rows: TableRows) -> Tables:
    """Puts an index over rows, of a whole version or of one scene."""
    folder = root / version
    annotations_of = defaultdict(list)
    for annotation in rows.annotations:
        annotations_of[annotation.sample_token].append(annotation)
    samples_of = defaultdict(list)
    for sample in sorted(rows.samples, key=lambda row: row.timestamp):
        samples_of[sample.scene_token].append(sample)
    return Tables(
        root=root,
        version=version,
        scenes=Table(folder / "scene.json", rows.scenes),
        samples=Table(folder / "sample.json", rows.samples),
        samples_of=dict(samples_of),
        lidar=Table(folder / "sample_data.json", rows.lidar),
        keyframe_lidar={row.sample_token: row for row in rows.lidar if row.is_key_frame},
        ego_poses=Table(folder / "ego_pose.json", rows.ego_poses),
        extrinsics=Table(folder / "calibrated_sensor.json", rows.extrinsics),
        annotations=Table(folder / "sample_annotation.json", rows.annotations),
        annotations_of=dict(annotations_of),
        instances=Table(folder / "instance.json", rows.instances),
        categories=Table(folder / "category.json", rows.categories),
        lidarseg=None if rows.lidarseg is None else {row.sample_data_token: row for row in rows.lidarseg},
    )


def split_scenes(tables: Tables, split: str) -> list[SceneRow]:
    """The scenes of a split that this version holds, by name. Raises DataError as `choose_scenes` does."""
    return choose_scenes(tables.scenes.values(), tables.root / tables.version, split)


def choose_scenes(scenes: Iterable[SceneRow], folder: Path, split: str) -> list[SceneRow]:
    """The scenes of a split among `scenes`, by name.

    Args:
        scenes: all scenes of the version.
        folder: of the version's tables; its name decides between the full and the mini splits.
        split: 'train' or 'val', in a version whose name ends in 'test' 'test'.

    Raises:
        DataError: no such split, or none of its scenes is in this version.
    """
    official = scene_names(folder.name)
    if split not in official:
        raise DataError(f"unknown split {split!r} of {folder.name}; pass split={' or split='.join(official)}")
    names = set(official[split])
    chosen = sorted((row for row in scenes if row.name in names), key=lambda row: row.name)
    if not chosen:
        raise DataError(
            f"{folder / 'scene.json'} holds no scene of split {split!r} (such as {official[split][0]}); "
            f"pass another split ({', '.join(official)}) or another version"
        )
    return chosen


def has_lidarseg(folder: Path) -> bool:
    """The version has a table of LiDAR point labels."""
    return (folder / "lidarseg.json").exists()


def lidar_sensors(folder: Path, extrinsics: Iterable[ExtrinsicRow]) -> set[str]:
    """Tokens of the calibrated sensors that are LiDARs."""
    sensors = Table(folder / "sensor.json", read_rows(folder, "sensor", SensorRow))
    return {row.token for row in extrinsics if sensors[row.sensor_token].channel == LIDAR_CHANNEL}
