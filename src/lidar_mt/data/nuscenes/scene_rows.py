"""The table rows of a split, scene by scene, in little memory.

The tables of the full nuScenes hold gigabytes as Python objects. Here each is read once, a block at a time, and what
belongs to a scene is kept as compressed msgpack until a process asks for that scene.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
import zstandard

from lidar_mt.data.nuscenes.tables import (
    AnnotationRow,
    CategoryRow,
    ExtrinsicRow,
    InstanceRow,
    LidarsegRow,
    PoseRow,
    SampleDataRow,
    SampleRow,
    SceneRow,
    Table,
    TableRows,
    Tables,
    build_tables,
    check_version,
    choose_scenes,
    has_lidarseg,
    lidar_sensors,
)
from lidar_mt.structures.nuscenes_tables import read_rows

Row = TypeVar("Row", bound=msgspec.Struct)

#: Rows of a scene that are compressed together; what is left over stays plain, for every scene.
_CHUNK_BYTES = 1 << 14


class _RowsByScene(Generic[Row]):
    """Rows of one table for each of `count` scenes, as compressed msgpack."""

    def __init__(self, kind: type[Row], count: int) -> None:
        self._decoder: Any = msgspec.msgpack.Decoder(kind)
        self._encoder = msgspec.msgpack.Encoder()
        self._chunks: list[list[bytes]] = [[] for _ in range(count)]
        self._tails: list[bytearray] = [bytearray() for _ in range(count)]
        self.total = 0

    def add(self, scene: int, row: Row) -> None:
        tail = self._tails[scene]
        value = self._encoder.encode(row)
        tail += len(value).to_bytes(4, "little") + value
        self.total += 1
        if len(tail) >= _CHUNK_BYTES:
            self._chunks[scene].append(zstandard.ZstdCompressor(level=1).compress(bytes(tail)))
            tail.clear()

    def get(self, scene: int) -> list[Row]:
        parts = [zstandard.ZstdDecompressor().decompress(chunk) for chunk in self._chunks[scene]]
        data = memoryview(b"".join([*parts, bytes(self._tails[scene])]))
        rows, at = [], 0
        while at < len(data):
            size = int.from_bytes(data[at : at + 4], "little")
            rows.append(self._decoder.decode(data[at + 4 : at + 4 + size]))
            at += 4 + size
        return rows


@dataclass(frozen=True)
class SplitRows:
    """A split, ready to be handed out scene by scene.

    Attributes:
        root: data root.
        version: name of the table folder.
        scenes: of the split, by name.
        keyframes: number of keyframes of each scene.
        example_files: one LiDAR file of each scene, relative to the root.
        has_lidarseg: the version has labels per point.
    """

    root: Path
    version: str
    scenes: list[SceneRow]
    keyframes: list[int]
    example_files: list[str]
    has_lidarseg: bool
    _samples: list[list[SampleRow]]
    _lidar: _RowsByScene[SampleDataRow]
    _ego_poses: _RowsByScene[PoseRow]
    _annotations: _RowsByScene[AnnotationRow]
    _extrinsics: Table[ExtrinsicRow]
    _instances: Table[InstanceRow]
    _categories: list[CategoryRow]
    _lidarseg: dict[str, LidarsegRow]

    @property
    def lidar_files(self) -> int:
        """Number of LiDAR sweeps in the tables."""
        return self._lidar.total

    def scene_rows(self, index: int) -> bytes:
        """All rows of one scene; `scene_tables` makes tables of them, in whichever process.

        Raises:
            DataError: a row names a token that is nowhere.
        """
        lidar = self._lidar.get(index)
        annotations = self._annotations.get(index)
        rows = TableRows(
            scenes=[self.scenes[index]],
            samples=self._samples[index],
            lidar=lidar,
            ego_poses=self._ego_poses.get(index),
            extrinsics=[self._extrinsics[token] for token in {row.calibrated_sensor_token: 0 for row in lidar}],
            annotations=annotations,
            instances=[self._instances[token] for token in {row.instance_token: 0 for row in annotations}],
            categories=self._categories,
            lidarseg=[self._lidarseg[row.token] for row in lidar if row.token in self._lidarseg]
            if self.has_lidarseg
            else None,
        )
        return msgspec.msgpack.encode(rows)


def scene_tables(root: Path, version: str, rows: bytes) -> Tables:
    """Tables of the one scene whose rows `SplitRows.scene_rows` gave."""
    return build_tables(root, version, msgspec.msgpack.decode(rows, type=TableRows))


def read_split(root: Path, version: str, split: str) -> SplitRows:
    """Reads the tables of a version and keeps the LiDAR rows of one split.

    Args:
        root: data root in the official layout.
        version: such as v1.0-trainval or v1.0-mini.
        split: 'train' or 'val', in a version whose name ends in 'test' 'test'.

    Raises:
        DataError: a table is missing or breaks the schema, or the split is unknown or empty.
    """
    folder = check_version(root, version)
    scenes = choose_scenes(read_rows(folder, "scene", SceneRow), folder, split)
    scene_index = {scene.token: i for i, scene in enumerate(scenes)}
    samples: list[list[SampleRow]] = [[] for _ in scenes]
    scene_of: dict[str, int] = {}
    for sample in read_rows(folder, "sample", SampleRow):
        if sample.scene_token in scene_index:
            scene_of[sample.token] = scene_index[sample.scene_token]
            samples[scene_of[sample.token]].append(sample)
    extrinsics = Table(folder / "calibrated_sensor.json", read_rows(folder, "calibrated_sensor", ExtrinsicRow))
    lidar, ego_poses, examples = _lidar_rows(folder, scene_of, lidar_sensors(folder, extrinsics.values()), len(scenes))
    annotations = _RowsByScene(AnnotationRow, len(scenes))
    for annotation in read_rows(folder, "sample_annotation", AnnotationRow):
        if annotation.sample_token in scene_of:
            annotations.add(scene_of[annotation.sample_token], annotation)
    lidarseg = read_rows(folder, "lidarseg", LidarsegRow) if has_lidarseg(folder) else ()
    return SplitRows(
        root=root,
        version=version,
        scenes=scenes,
        keyframes=[len(rows) for rows in samples],
        example_files=examples,
        has_lidarseg=has_lidarseg(folder),
        _samples=samples,
        _lidar=lidar,
        _ego_poses=ego_poses,
        _annotations=annotations,
        _extrinsics=extrinsics,
        _instances=Table(folder / "instance.json", read_rows(folder, "instance", InstanceRow)),
        _categories=list(read_rows(folder, "category", CategoryRow)),
        _lidarseg={row.sample_data_token: row for row in lidarseg},
    )


def _lidar_rows(
    folder: Path, scene_of: dict[str, int], sensors: set[str], count: int
) -> tuple[_RowsByScene[SampleDataRow], _RowsByScene[PoseRow], list[str]]:
    lidar, ego_poses = _RowsByScene(SampleDataRow, count), _RowsByScene(PoseRow, count)
    pose_scene: dict[str, int] = {}
    examples: dict[int, str] = {}
    for row in read_rows(folder, "sample_data", SampleDataRow):
        scene = scene_of.get(row.sample_token)
        if scene is not None and row.calibrated_sensor_token in sensors:
            lidar.add(scene, row)
            pose_scene[row.ego_pose_token] = scene
            examples.setdefault(scene, row.filename)
    for pose in read_rows(folder, "ego_pose", PoseRow):
        if pose.token in pose_scene:
            ego_poses.add(pose_scene[pose.token], pose)
    return lidar, ego_poses, list(examples.values())
