"""The order of samples: a function of (seed, epoch) and the rank, of nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler


class EpochSampler(Sampler[tuple[int, ...]]):
    """Draws (epoch, index) pairs, so that the epoch reaches persistent workers with each item.

    Training ranks get the same number of samples each, the first few twice where the number does not divide, because
    ranks that stop early would leave the others waiting. Evaluation ranks share the samples out, each once, none twice.

    Args:
        length: samples in the data set.
        shuffle: a new order every epoch; for training.
        seed: the same on all ranks.
        rank: of this process.
        world_size: number of processes.
    """

    def __init__(self, length: int, shuffle: bool, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self._length = length
        self._shuffle = shuffle
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self._epoch = 0
        self._start = (0, 0)

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of the next iteration; Lightning calls this before each epoch."""
        self._epoch = epoch

    def start_at(self, epoch: int, samples: int) -> None:
        """Goes on where a stopped run was: the first `samples` of this rank in `epoch` are left out.

        The epoch is set as well, because the first iterator of a run is made before `set_epoch` is called.
        """
        self._epoch = epoch
        self._start = (epoch, samples)

    def __len__(self) -> int:
        if self._shuffle:
            return math.ceil(self._length / self._world_size)
        return len(range(self._rank, self._length, self._world_size))

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        items = self.items(self._epoch)
        if self._shuffle:
            total = len(self) * self._world_size
            items = np.resize(items, (total, items.shape[1]))  # the first ones again
        epoch, done = self._start
        items = items[self._rank :: self._world_size][done if epoch == self._epoch else 0 :]
        return (tuple(item.tolist()) for item in items)

    def items(self, epoch: int) -> npt.NDArray[np.int64]:
        """(M, 2) int64: (epoch, index) of all ranks, in order. An array: a list would take 120 bytes per item."""
        order = np.arange(self._length)
        if self._shuffle:
            order = np.random.default_rng((self._seed, epoch)).permutation(self._length)
        return np.column_stack([np.full(len(order), epoch), order])
