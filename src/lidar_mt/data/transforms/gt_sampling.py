"""GT sampling: objects of other scenes are pasted in, so that every scene holds rare classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from lidar_mt.data.gt_database import dbinfos_name
from lidar_mt.data.gt_origin import check_origin
from lidar_mt.data.lmdb_store.manifest import Manifest
from lidar_mt.data.object_bank import ObjectBank, ObjectReader
from lidar_mt.ops.box_geometry import bev_iou_matrix
from lidar_mt.structures.classes import Classes
from lidar_mt.structures.errors import ConfigError
from lidar_mt.structures.sample import Sample

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


class GtSampling:
    """Pastes objects of the GT database at the places where they were recorded.

    Each class is filled up towards its target. An object that would overlap a box of the scene or one pasted before
    it, seen from above, is left out. Pasted points follow all others, so they never vote in BEV labels made from
    lidarseg. No point of the scene is removed.

    Args:
        classes: the detection classes give the labels.
        database: folder of the GT database.
        targets: objects per scene, by class name; classes that are not named get none.
        rate: share of the missing objects that is drawn.
        min_points: least number of points of an object.
        reader: of the database, None takes `lidar_mt.data.gt_database`.

    Raises:
        ConfigError: a target names an unknown class, or a number is negative.

    Source: Yan et al., "SECOND: Sparsely Embedded Convolutional Detection", Sensors 2018, section 3.2.3.
    """

    def __init__(
        self,
        classes: Classes,
        database: str | Path,
        targets: Mapping[str, int],
        rate: float = 1.0,
        min_points: int = 5,
        reader: ObjectReader | None = None,
    ) -> None:
        unknown = [name for name in targets if name not in classes.detection]
        if unknown:
            raise ConfigError(f"GT sampling targets {unknown} are no detection classes; those are {classes.detection}")
        if rate < 0 or min_points < 1 or min(targets.values(), default=0) < 0:
            raise ConfigError(
                f"GT sampling with rate {rate}, min_points {min_points} and targets {dict(targets)}: expected a rate "
                "and targets >= 0 and min_points >= 1"
            )
        self._database = Path(database)
        self._targets = dict(targets)
        self._labels = np.array([classes.detection.index(name) for name in targets], dtype=np.int64)
        self._rate = rate
        self._min_points = min_points
        self._reader = reader

    def prepare(self) -> None:
        """Loads the database's index, once, before workers start.

        Raises:
            DataError: the database is missing or empty.
        """
        self._bank  # noqa: B018

    def check_store(self, store: Path, manifest: Manifest) -> None:
        """Checks that a database beside the training store was made of it; one that lies elsewhere may be any.

        Args:
            store: folder of the packed split.
            manifest: its own.

        Raises:
            DataError: the database is stale.
        """
        if manifest.split == "train" and self._database.resolve() == store.parent.resolve():
            check_origin(self._database, dbinfos_name(), manifest)

    @cached_property
    def _bank(self) -> ObjectBank:
        return ObjectBank(self._database, tuple(self._targets), self._min_points, self._reader)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Draws, tests and pastes.

        Raises:
            DataError: the database is missing, or a file of it; the message names it.
        """
        classes, objects = self._draw(sample.labels, rng)
        free = choose_free(sample.boxes, self._bank.boxes[objects])
        if not len(free):
            return sample
        classes, objects = classes[free], objects[free]
        boxes = self._bank.boxes[objects]
        return replace(
            sample,
            points=np.concatenate([sample.points, *map(self._place, objects.tolist())]),
            boxes=np.concatenate([sample.boxes, boxes]),
            labels=np.concatenate([sample.labels, self._labels[classes]]),
        )

    def _draw(self, present: IntArray, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
        """Places in `targets` and indices into the bank of the candidates, class by class."""
        classes, objects = [], []
        for number, (label, target) in enumerate(zip(self._labels, self._targets.values(), strict=True)):
            missing = target - int((present == label).sum())
            stock = self._bank.of_class(number)
            wanted = min(len(stock), max(0, round(self._rate * missing)))
            objects.append(stock.start + rng.choice(len(stock), wanted, replace=False) if wanted else _NONE)
            classes.append(np.full(wanted, number, dtype=np.int64))
        return np.concatenate([_NONE, *classes]), np.concatenate([_NONE, *objects])

    def _place(self, index: int) -> FloatArray:
        points = self._bank.points(index).astype(np.float32, copy=True)
        points[:, :3] += self._bank.boxes[index, :3]
        return points


_NONE: IntArray = np.empty(0, dtype=np.int64)


def choose_free(scene: FloatArray, candidates: FloatArray) -> IntArray:
    """Which candidates fit into a scene, taken in order.

    Args:
        scene: (N, 9) boxes that are there, see `structures.boxes`.
        candidates: (M, 9) boxes that might be added.

    Returns:
        (F,) int64 ascending indices of candidates that share no area, seen from above, with a box of the scene or
        with one another.
    """
    if not len(candidates):
        return _NONE
    # In double precision: rounding must not join boxes that only touch.
    first = torch.from_numpy(candidates.astype(np.float64))
    both = torch.from_numpy(np.concatenate([scene, candidates]).astype(np.float64))
    overlap = (bev_iou_matrix(first, both) > 0).numpy()
    blocked = overlap[:, : len(scene)].any(axis=1)
    free = []
    for i in range(len(candidates)):
        if not blocked[i]:
            free.append(i)
            blocked |= overlap[:, len(scene) + i]
    return np.array(free, dtype=np.int64)
