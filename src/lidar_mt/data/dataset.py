"""A packed split as a map-style dataset of samples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from lidar_mt.data.lmdb_store.reader import StoreReader
from lidar_mt.data.lmdb_store.record_store import RecordStore
from lidar_mt.data.lmdb_store.records import KeyframeRecord
from lidar_mt.data.sweeps import Sweep, choose_sweeps, merge_sweeps
from lidar_mt.data.transforms import Transforms, as_list
from lidar_mt.structures.classes import Classes
from lidar_mt.structures.errors import DataError
from lidar_mt.structures.sample import Sample

#: An index, or (epoch, index) or (epoch, index, copy) as a sampler draws it.
Item = int | tuple[int, ...]


class NuScenesLidarDataset(Dataset[Sample]):
    """Keyframes with their sweeps.

    A sample is a function of (seed, epoch, index) alone, never of the worker that makes it: a run gives the same
    samples with any number of workers, and goes on with the same ones after a stop. It holds no Python object per
    keyframe, so workers cost no memory each.

    Args:
        store: folder of a packed split, or any other store of its records.
        classes: the detection classes give the labels.
        transforms: applied in order.
        num_sweeps: previous sweeps to merge.
        training: draw the sweeps at random and keep valid boxes, instead of the nearest sweeps and boxes with points.
        seed: of everything random.

    Raises:
        DataError: the store is missing, damaged or empty.
    """

    def __init__(
        self,
        store: str | Path | RecordStore,
        classes: Classes,
        transforms: Transforms | None = None,
        num_sweeps: int = 9,
        training: bool = False,
        seed: int = 0,
    ) -> None:
        self._reader = StoreReader(store)
        if not self._reader.manifest.keyframes:
            raise DataError(f"the store {self._reader} holds no keyframe; run `make pack-data` again")
        self._labels = {name: label for label, name in enumerate(classes.detection)}
        self._transforms = as_list(transforms)
        self._num_sweeps = num_sweeps
        self._training = training
        self._seed = seed
        self._epoch = 0

    def __len__(self) -> int:
        return self._reader.manifest.keyframes

    @property
    def has_lidarseg(self) -> bool:
        """The keyframes have labels per point."""
        return self._reader.manifest.has_lidarseg

    def token(self, index: int) -> str:
        """Sample token of a keyframe."""
        return str(self._reader.sample_tokens[index].decode())

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of items that are asked for by a bare index."""
        self._epoch = epoch

    def __getitem__(self, item: Item) -> Sample:
        """Reads, merges and transforms one keyframe.

        Args:
            item: index, or (epoch, index), or (epoch, index, copy) where an epoch holds a keyframe more than once.

        Raises:
            DataError: a record is missing or damaged.
        """
        epoch, index, *copy = item if isinstance(item, tuple) else (self._epoch, item)
        rng = np.random.default_rng((self._seed, epoch, index, *copy))
        sample = self._read(self._reader.keyframe(self.token(index)), rng)
        for transform in self._transforms:
            sample = transform(sample, rng)
        return sample

    def _read(self, record: KeyframeRecord, rng: np.random.Generator) -> Sample:
        keyframe = self._reader.sweep_columns(record.lidar_token)
        boxes, labels = self._boxes(record)
        return Sample(
            token=record.sample_token,
            timestamp_us=record.timestamp_us,
            points=merge_sweeps(keyframe, self._sweeps(record, rng), self._num_sweeps),
            num_keyframe_points=len(keyframe),
            boxes=boxes,
            labels=labels,
            lidarseg=None if record.lidarseg is None else record.lidarseg.numpy(),
            ego_from_lidar=record.ego_from_lidar.matrix(),
            global_from_ego=record.global_from_ego.matrix(),
        )

    def _sweeps(self, record: KeyframeRecord, rng: np.random.Generator) -> Iterator[Sweep]:
        for i in choose_sweeps(len(record.sweeps), self._num_sweeps, rng if self._training else None):
            ref = record.sweeps[i]
            yield Sweep(
                points=self._reader.sweep_columns(ref.token),
                keyframe_from_sweep=ref.keyframe_from_sweep.numpy(),
                time_lag_s=1e-6 * (record.timestamp_us - ref.timestamp_us),
            )

    def _boxes(self, record: KeyframeRecord) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        keep = record.valid.numpy() if self._training else record.num_lidar_pts.numpy() > 0
        labels = np.array([self._labels.get(name, -1) for name in record.detection_names], dtype=np.int64)
        return record.boxes.numpy()[keep].astype(np.float32), labels[keep]
