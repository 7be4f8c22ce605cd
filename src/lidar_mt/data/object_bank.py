"""The objects of a GT database as arrays, ready to be drawn from."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from lidar_mt.data import gt_database
from lidar_mt.structures.boxes import BOX_SIZE
from lidar_mt.structures.errors import DataError

log = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


class ObjectReader(Protocol):
    """Reads a GT database from disk; the module `lidar_mt.data.gt_database` is one."""

    def load_dbinfos(self, folder: Path, /) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """Class name -> objects, each with `path` (relative), `box3d_lidar` (9,), `num_points_in_gt` (`xxh3_64`)."""
        ...

    def read_object_points(self, folder: Path, info: Mapping[str, Any], /) -> FloatArray:
        """(k, 5) float32 x y z [m] relative to the box centre, not rotated; intensity, time lag [s]."""
        ...


class ObjectBank:
    """The objects that may be pasted, held in four arrays.

    A list of a million dicts would be copied into every worker as soon as it touched their reference counts; arrays
    are shared with forked workers and pickle quickly into spawned ones.

    Args:
        folder: of the GT database.
        names: class names; the objects of others are left out.
        min_points: objects with fewer points are left out.
        reader: of the database, None takes `lidar_mt.data.gt_database`.

    Raises:
        DataError: the database is missing, or holds no object of any class with so many points.
    """

    def __init__(self, folder: Path, names: Sequence[str], min_points: int, reader: ObjectReader | None = None) -> None:
        self._folder = folder
        self._given_reader = reader
        self.names = tuple(names)
        infos = self._reader.load_dbinfos(folder)
        usable = [_usable(infos.get(name, ()), min_points) for name in self.names]
        counts = [len(objects) for objects in usable]
        if not sum(counts):
            raise DataError(
                f"the GT database in {folder} holds no object with at least {min_points} points of the classes "
                f"{', '.join(self.names)}; run `make create-data` again"
            )
        for name in (name for name, count in zip(self.names, counts, strict=True) if not count):
            log.warning("the GT database in %s has no %s with %d points: none is pasted", folder, name, min_points)
        objects = [info for part in usable for info in part]
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        self.boxes: FloatArray = np.stack([_box(info, folder) for info in objects])
        self._num_points = np.array([info["num_points_in_gt"] for info in objects], dtype=np.int32)
        self._paths = np.array([str(info["path"]).encode() for info in objects])
        # One toolkit wrote all of an index: either every object has a checksum, or none is checked.
        has_checksums = all("xxh3_64" in info for info in objects)
        self._checksums = np.array([info["xxh3_64"] for info in objects] if has_checksums else [], dtype=np.uint64)

    def __len__(self) -> int:
        return len(self._paths)

    def of_class(self, number: int) -> range:
        """Indices of the objects of a class, by its place in `names`."""
        return range(int(self._starts[number]), int(self._starts[number + 1]))

    def points(self, index: int) -> FloatArray:
        """Reads the points of an object.

        Args:
            index: of the object.

        Returns:
            (k, 5) float32 x y z [m] relative to the box centre, not rotated; intensity, time lag [s].

        Raises:
            DataError: the file is missing, of another size or checksum; the message names it.
        """
        path = self._paths[index].decode()
        wanted = int(self._num_points[index])
        info: dict[str, Any] = {"path": path, "num_points_in_gt": wanted}
        if len(self._checksums):
            info["xxh3_64"] = int(self._checksums[index])
        try:
            points = self._reader.read_object_points(self._folder, info)
        except OSError as error:
            raise DataError(
                f"the GT database lacks {self._folder / path}: {error}; run `make create-data` again"
            ) from error
        if points.shape != (wanted, 5):
            raise DataError(
                f"{self._folder / path} holds points of shape {points.shape}, its index says ({wanted}, 5); "
                "run `make create-data` again"
            )
        return points

    @property
    def _reader(self) -> ObjectReader:
        if self._given_reader is not None:
            return self._given_reader
        return cast(ObjectReader, gt_database)


def _usable(infos: Sequence[Mapping[str, Any]], min_points: int) -> list[Mapping[str, Any]]:
    return [info for info in infos if info["num_points_in_gt"] >= min_points]


def _box(info: Mapping[str, Any], folder: Path) -> FloatArray:
    box = np.asarray(info["box3d_lidar"], dtype=np.float32)
    if box.shape != (BOX_SIZE,):
        raise DataError(
            f"the object {info['path']} of the GT database in {folder} has a box of shape {box.shape}; expected "
            f"({BOX_SIZE},): x y z w l h yaw vx vy. Run `make create-data` again"
        )
    return box
