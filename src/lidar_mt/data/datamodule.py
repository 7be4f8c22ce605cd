"""The data of a run: packed splits as loaders."""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from lidar_mt.data.cbgs import BalancedSampler, balanced_length, split_counts, warn_absent
from lidar_mt.data.collate import collate
from lidar_mt.data.dataset import NuScenesLidarDataset
from lidar_mt.data.layout import meta_path, store_path
from lidar_mt.data.lmdb_store.reader import StoreReader
from lidar_mt.data.lmdb_store.record_store import Stores
from lidar_mt.data.position import Position, ResumableLoader
from lidar_mt.data.sampler import EpochSampler
from lidar_mt.data.transforms import Transforms, as_list, prepare
from lidar_mt.data.worker_signals import start_worker
from lidar_mt.structures.classes import Classes
from lidar_mt.structures.errors import DataError
from lidar_mt.structures.sample import Sample


class LidarDataModule(pl.LightningDataModule):
    """Loaders over packed splits. Testing and prediction read the validation split.

    Sharding over ranks is done here: the trainer must not replace the samplers (`use_distributed_sampler: false`).

    Args:
        packed_root: folder that `pack_data` wrote.
        version: nuScenes version under it.
        train_split: split to train on; may equal `val_split`, to overfit.
        val_split: split to evaluate on.
        classes: class names.
        train_transforms: applied to training samples.
        eval_transforms: applied to all other samples.
        num_sweeps: previous sweeps merged into each keyframe.
        batch_size: samples per rank and step.
        num_workers: loader processes per rank; 0 loads in the training process.
        seed: of sample order and augmentation.
        cbgs: show rare classes more often in training, see `data.cbgs`.
        cbgs_new_draw: balance anew every epoch.
        timeout_s: longest wait for a batch from the workers before the run stops with an error; 0 waits for ever.
        stores: gives the packed splits; None takes the LMDB stores under `packed_root`.
        calibration_batches: see `calibration_dataloader`.
        calibration_batch_size: see `calibration_dataloader`.
    """

    def __init__(
        self,
        packed_root: str,
        version: str,
        train_split: str,
        val_split: str,
        classes: Classes,
        train_transforms: Transforms | None = None,
        eval_transforms: Transforms | None = None,
        num_sweeps: int = 9,
        batch_size: int = 4,
        num_workers: int = 0,
        seed: int = 0,
        cbgs: bool = False,
        cbgs_new_draw: bool = False,
        timeout_s: float = 600.0,
        stores: Stores | None = None,
        calibration_batches: int = 100,
        calibration_batch_size: int = 16,
    ) -> None:
        super().__init__()
        self.version = version
        self.train_split = train_split
        self.val_split = val_split
        self.train_store, self.val_store = (
            store_path(packed_root, version, split) if stores is None else stores.open(version, split)
            for split in (train_split, val_split)
        )
        self.meta_root = meta_path(packed_root, version)
        self.batch_size = batch_size
        self.num_workers = num_workers
        self._classes = classes
        self._transforms = {True: train_transforms, False: eval_transforms}
        self._num_sweeps = num_sweeps
        self._seed = seed
        self._cbgs = cbgs
        self._cbgs_new_draw = cbgs_new_draw
        self._timeout_s = timeout_s
        self._calibration = (calibration_batches, calibration_batch_size)
        self._presence: npt.NDArray[np.bool_] | None = None
        self._position: Position | None = None

    def state_dict(self) -> dict[str, Any]:
        """Where training stands in the data; Lightning stores it in every checkpoint."""
        return {} if self.trainer is None else self._place(self.trainer).state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lets the training loader begin where the checkpoint was saved.

        Raises:
            CheckpointError: it was saved within an epoch whose batches were put together in another way.
        """
        self._position = Position.from_state_dict(state_dict)
        if self.trainer is not None:
            self._position.check(self._place(self.trainer))

    def steps_per_epoch(self, world_size: int = 1) -> int:
        """Batches per rank and training epoch, known before any trainer or worker exists.

        Raises:
            DataError: the training store is missing or damaged.
        """
        return math.ceil(math.ceil(self._samples() / world_size) / self.batch_size)

    def presence(self) -> npt.NDArray[np.bool_]:
        """(K, C) bool: which training keyframe holds a valid box of which class; found out once.

        Raises:
            DataError: the training store is missing or damaged, or holds no box of any class.
        """
        if self._presence is None:
            counts = split_counts(self.train_store, self._classes.detection)
            if not counts.any():
                raise DataError(
                    f"{self.train_store} holds no box of any detection class to balance; use data.cbgs=false"
                )
            warn_absent(counts, self._classes.detection, self.train_store)
            self._presence = counts > 0
        return self._presence

    def has_lidarseg(self) -> bool:
        """Both splits have labels per point, so segmentation can be trained and scored."""
        return all(StoreReader(store).manifest.has_lidarseg for store in (self.train_store, self.val_store))

    def has_bev_labels(self) -> bool:
        """Segmentation can be trained and scored: from labels per point, or from a map."""
        makers = (step for step in as_list(self._transforms[True]) if hasattr(step, "needs_lidarseg"))
        return any(not step.needs_lidarseg for step in makers) or self.has_lidarseg()

    def dataset(self, training: bool) -> NuScenesLidarDataset:
        """The training split with training transforms, or the validation split with the others."""
        return NuScenesLidarDataset(
            self.train_store if training else self.val_store,
            self._classes,
            self._transforms[training],
            num_sweeps=self._num_sweeps,
            training=training,
            seed=self._seed,
        )

    def train_dataloader(self) -> DataLoader[Sample]:
        """Shuffled batches of the training split."""
        return self._loader(training=True)

    def val_dataloader(self) -> DataLoader[Sample]:
        """Batches of the validation split, in order."""
        return self._loader(training=False)

    def test_dataloader(self) -> DataLoader[Sample]:
        """The same as for validation."""
        return self._loader(training=False)

    def predict_dataloader(self) -> DataLoader[Sample]:
        """The same as for validation."""
        return self._loader(training=False)

    def calibration_dataloader(self, limit: int | None = None) -> DataLoader[Sample]:
        """Training keyframes as evaluation sees them, without augmentation, drawn by the seed.

        The batches are those of all ranks together: with two ranks each gets half of the samples, so that calibration
        sees the same ones whatever the number of ranks.

        Args:
            limit: at most so many batches.
        """
        batches, batch_size = self._calibration
        batches = batches if limit is None else min(batches, limit)
        dataset = NuScenesLidarDataset(
            self.train_store,
            self._classes,
            self._transforms[False],
            num_sweeps=self._num_sweeps,
            training=False,
            seed=self._seed,
        )
        items = EpochSampler(len(dataset), shuffle=True, seed=self._seed).items(epoch=0)[: batches * batch_size]
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=[tuple(item) for item in items[rank::world_size].tolist()],
            num_workers=self.num_workers,
            collate_fn=collate,
            worker_init_fn=start_worker,
            timeout=self._timeout_s if self.num_workers else 0,
            pin_memory=torch.cuda.is_available(),
        )

    def _place(self, trainer: pl.Trainer) -> Position:
        """Where the trainer stands, asked in a hook after a batch, around validation or at the end of an epoch."""
        loop = trainer.fit_loop
        # An epoch that has begun counts as ready; `ready` of the batches counts those that were drawn.
        epoch, batches = max(0, loop.epoch_progress.current.ready - 1), loop.epoch_loop.batch_progress.current.ready
        if batches >= loop.max_batches:
            epoch, batches = epoch + 1, 0
        ranks, accumulated = trainer.world_size, trainer.accumulate_grad_batches
        return Position(
            epoch, batches, self.batch_size, ranks, accumulated, self._seed, self._samples(), self._source()
        )

    def _samples(self) -> int:
        """Samples of a training epoch, on all ranks."""
        return balanced_length(self.presence()) if self._cbgs else StoreReader(self.train_store).manifest.keyframes

    def _source(self) -> int:
        """Tells the training data of one run from that of another."""
        records = StoreReader(self.train_store).manifest.records_hash
        return zlib.crc32(f"{records} {self._cbgs} {self._cbgs_new_draw}".encode())

    def _loader(self, training: bool) -> DataLoader[Sample]:
        dataset = self.dataset(training)
        if training:
            self._check_database()
        prepare(self._transforms[training])
        return ResumableLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=self._sampler(len(dataset), training),
            num_workers=self.num_workers,
            collate_fn=collate,
            worker_init_fn=start_worker,
            timeout=self._timeout_s if self.num_workers else 0,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.num_workers > 0,
            # A loader without its own generator draws a number from the global one at every epoch, which would shift
            # the weights' random numbers.
            generator=torch.Generator().manual_seed(self._seed),
        )

    def _check_database(self) -> None:
        """Refuses a GT database that was made of an earlier state of the training store."""
        checks = (step.check_store for step in as_list(self._transforms[True]) if hasattr(step, "check_store"))
        for check in checks:
            if isinstance(self.train_store, Path):
                check(self.train_store, StoreReader(self.train_store).manifest)

    def _sampler(self, length: int, training: bool) -> EpochSampler:
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        sampler = (
            BalancedSampler(self.presence(), self._seed, rank, world_size, self._cbgs_new_draw)
            if training and self._cbgs
            else EpochSampler(length, training, self._seed, rank, world_size)
        )
        if training and self._position is not None:
            sampler.start_at(self._position.epoch, self._position.batches * self.batch_size)
        return sampler
