"""Class-balanced grouping and sampling (CBGS): rare classes are shown more often.

With n_c keyframes that contain class c and S the sum of n_c over the C classes, int(S / C) keyframes are drawn with
replacement for each class, and the draws of all classes are put together. On nuScenes an epoch grows from 28,130
to about 123,580 samples.

Source: Zhu et al., "Class-balanced Grouping and Sampling for Point Cloud 3D Object Detection", arXiv:1908.09492.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lidar_mt.data.gt_database import load_infos
from lidar_mt.data.lmdb_store.reader import StoreReader
from lidar_mt.data.lmdb_store.record_store import RecordStore
from lidar_mt.data.sampler import EpochSampler
from lidar_mt.structures.errors import DataError

log = logging.getLogger(__name__)

Counts = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

#: Keeps the draw's random numbers apart from those of the sample order, which come from (seed, epoch).
_STREAM = 0xCB65


class BalancedSampler(EpochSampler):
    """Draws (epoch, index, copy) triples of a class-balanced list; training only.

    The list depends on the seed alone, or on seed and epoch, never on the rank: ranks share out one list. `copy`
    counts the earlier draws of the same keyframe in this epoch, so that each is augmented in its own way.

    Args:
        presence: (K, C) bool, which keyframe contains which class.
        seed: the same on all ranks.
        rank: of this process.
        world_size: number of processes.
        new_draw: draw another list every epoch, instead of one list in another order.
    """

    def __init__(
        self, presence: BoolArray, seed: int, rank: int = 0, world_size: int = 1, new_draw: bool = False
    ) -> None:
        super().__init__(balanced_length(presence), True, seed, rank, world_size)
        self._presence = presence
        self._new_draw = new_draw

    def items(self, epoch: int) -> IntArray:
        """(M, 3) int64: (epoch, index, copy) of all ranks, in order."""
        keyframes = draw_epoch(self._presence, self._seed, epoch if self._new_draw else 0)
        order = keyframes[np.random.default_rng((self._seed, epoch)).permutation(len(keyframes))]
        return np.column_stack([np.full(len(order), epoch), order, count_earlier(order)])


def balanced_length(presence: BoolArray) -> int:
    """Samples of one class-balanced epoch, known without drawing it.

    Args:
        presence: (K, C) bool, which keyframe contains which class.
    """
    per_class = presence.sum(axis=0)
    return int(per_class.sum()) // presence.shape[1] * int((per_class > 0).sum())


def draw_balanced(presence: BoolArray, rng: np.random.Generator) -> IntArray:
    """Draws the same number of keyframes for every class, with replacement.

    Args:
        presence: (K, C) bool, which keyframe contains which class. A class that occurs nowhere gives nothing.
        rng: source of the draw.

    Returns:
        (M,) int64 keyframe indices, class by class; M is `balanced_length(presence)`.
    """
    wanted = int(presence.sum()) // presence.shape[1]
    keyframes = (np.flatnonzero(column) for column in presence.T)
    drawn = [rng.choice(holders, wanted, replace=True) for holders in keyframes if len(holders)]
    return np.concatenate(drawn).astype(np.int64) if drawn else np.empty(0, dtype=np.int64)


def draw_epoch(presence: BoolArray, seed: int, epoch: int = 0) -> IntArray:
    """The balanced list of a seed and epoch, see `draw_balanced`; the same on every rank."""
    return draw_balanced(presence, np.random.default_rng((seed, epoch, _STREAM)))


def count_earlier(values: IntArray) -> IntArray:
    """How often each value occurs before its own place.

    Example:
        >>> count_earlier(np.array([7, 3, 7, 7, 3])).tolist()
        [0, 0, 1, 2, 1]
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(values) else np.empty(0, dtype=np.int64)
    sizes = np.diff(np.r_[starts, len(values)])
    earlier = np.empty(len(values), dtype=np.int64)
    earlier[order] = np.arange(len(values)) - np.repeat(starts, sizes)
    return earlier


def count_boxes(reader: StoreReader, classes: Sequence[str]) -> Counts:
    """Training boxes of each class in each keyframe of a packed split; reads every keyframe's record once.

    Args:
        reader: the split.
        classes: detection class names.

    Returns:
        (K, C) int32 valid boxes, keyframes in the split's order.

    Raises:
        DataError: a record is missing or damaged.
    """
    records = (reader.keyframe(token.decode()) for token in reader.sample_tokens)
    return _count(
        ((record.detection_names, record.valid.numpy()) for record in records), len(reader.sample_tokens), classes
    )


def split_counts(store: Path | RecordStore, classes: Sequence[str]) -> Counts:
    """Training boxes of each class in each keyframe, from the infos beside a store if there are any, else from itself.

    Args:
        store: folder of a packed split, or another store, which has nothing beside it.
        classes: detection class names.

    Returns:
        (K, C) int32 valid boxes, keyframes in the split's order.

    Raises:
        DataError: store or infos are damaged or do not belong together.
    """
    reader = StoreReader(store)
    split = reader.manifest.split
    if not isinstance(store, Path) or not (store.parent / f"nuscenes_infos_{split}.pkl").is_file():
        return count_boxes(reader, classes)
    infos = load_infos(store.parent, split)
    return count_boxes_in_infos(infos, reader.sample_tokens, classes)


def count_boxes_in_infos(
    infos: Iterable[Mapping[str, Any]], sample_tokens: npt.NDArray[np.bytes_], classes: Sequence[str]
) -> Counts:
    """The same from `nuscenes_infos_train.pkl`, which spares reading the split.

    Args:
        infos: mappings with `sample_token`, `gt_names` and `valid_flag`.
        sample_tokens: (K,) bytes, the split's keyframes in its own order.
        classes: detection class names.

    Returns:
        (K, C) int32 valid boxes, keyframes in the split's order.

    Raises:
        DataError: the infos do not hold exactly the split's keyframes.
    """
    found = {
        info["sample_token"]: (list(info["gt_names"]), np.asarray(info["valid_flag"], dtype=bool)) for info in infos
    }
    wanted = [token.decode() for token in sample_tokens]
    missing = next((token for token in wanted if token not in found), None)
    if missing is not None or len(found) != len(wanted):
        raise DataError(
            f"the infos hold {len(found)} keyframes and the packed split {len(wanted)}"
            + (f", {missing} is missing from the infos" if missing else "")
            + "; run `make create-data` on this split again, or remove the infos file"
        )
    return _count((found[token] for token in wanted), len(wanted), classes)


class ClassCounts(NamedTuple):
    """What an epoch holds of each class.

    Attributes:
        samples: samples of the epoch.
        keyframes: (C,) int64 samples that contain the class.
        boxes: (C,) int64 boxes of the class.
    """

    samples: int
    keyframes: IntArray
    boxes: IntArray


def count_classes(boxes: Counts, indices: IntArray) -> ClassCounts:
    """Counts what a list of keyframes shows.

    Args:
        boxes: (K, C) boxes per keyframe and class.
        indices: (M,) keyframes of the epoch.
    """
    times = np.bincount(indices, minlength=len(boxes))
    return ClassCounts(len(indices), times @ (boxes > 0), times @ boxes)


def warn_absent(counts: Counts, classes: Sequence[str], where: object) -> None:
    """Says which classes occur in no keyframe, because balancing cannot make up for them."""
    absent = [name for name, total in zip(classes, counts.sum(axis=0).tolist(), strict=True) if not total]
    if absent:
        log.warning("%s has no %s: class balancing draws nothing for these classes", where, ", ".join(absent))


def _count(keyframes: Iterable[tuple[Iterable[str], BoolArray]], length: int, classes: Sequence[str]) -> Counts:
    labels = {name: label for label, name in enumerate(classes)}
    counts = np.zeros((length, len(classes)), dtype=np.int32)
    for row, (names, valid) in enumerate(keyframes):
        found = np.array([labels.get(name, -1) for name in names], dtype=np.int64)[valid]
        counts[row] = np.bincount(found[found >= 0], minlength=len(classes))
    return counts
