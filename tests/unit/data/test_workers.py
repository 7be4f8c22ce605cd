from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from tests.helpers.many_keyframes import write_many
from tests.helpers.worker_memory import measure
from torch.utils.data import DataLoader

from lidar_mt.data.cbgs import BalancedSampler
from lidar_mt.data.dataset import NuScenesLidarDataset
from lidar_mt.data.lmdb_store.lmdb_records import LmdbRecords
from lidar_mt.data.lmdb_store.reader import StoreReader
from lidar_mt.data.sampler import EpochSampler
from lidar_mt.data.worker_signals import start_worker
from lidar_mt.structures.classes import DETECTION_CLASSES, Classes

CLASSES = Classes(DETECTION_CLASSES, (DETECTION_CLASSES,), ("others", "driveable_surface"))
MANY = 12_000


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """A small store and one with many keyframes."""
    folder = tmp_path_factory.mktemp("many")
    return write_many(folder / "few", 80, points=20), write_many(folder / "many", MANY, points=20)


def points_of(samples):
    return [(sample.token, sample.points.tobytes()) for sample in samples]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_two_data_sets_on_one_path_read_the_same_in_this_process_and_in_workers(stores, method):
    first, second = (NuScenesLidarDataset(stores[0], CLASSES, training=training) for training in (True, False))
    expected = [points_of([data[i] for i in range(len(data))]) for data in (first, second)]  # opens the store here
    loaders = [
        iter(
            DataLoader(
                data,
                batch_size=8,
                num_workers=1,
                collate_fn=points_of,
                worker_init_fn=start_worker,
                multiprocessing_context=method,
            )
        )
        for data in (first, second)
    ]
    found: list[list[tuple[str, bytes]]] = [[], []]
    for batches in zip(*loaders, strict=True):  # both at work at the same time
        for part, batch in zip(found, batches, strict=True):
            part.extend(batch)
    assert found == expected
    assert points_of([first[3], second[3]]) == [expected[0][3], expected[1][3]]


def private_mb(store, items=300):
    """Private memory of a forked worker, after 10 batches and at the end of `items` of a shuffled epoch."""
    dataset = NuScenesLidarDataset(store, CLASSES, training=True)
    order = list(EpochSampler(len(dataset), True, 0)) * 10
    loader = DataLoader(
        dataset,
        batch_size=4,
        sampler=order[:items],
        num_workers=1,
        collate_fn=measure,
        worker_init_fn=start_worker,
        multiprocessing_context="fork",
    )
    seen = [memory.private_mb for memory in loader]
    return max(seen[10:20]), max(seen[-10:])


def test_memory_of_a_worker_is_flat_and_independent_of_the_number_of_keyframes(stores):
    few, many = private_mb(stores[0]), private_mb(stores[1])
    # 12,000 keyframes are 0.4 MB of tokens. A list of their records would add over 10 MB, copied as they are counted.
    assert many[0] - few[0] < 3
    assert many[1] - many[0] < 2


@pytest.mark.parametrize("balanced", [False, True])
def test_an_epoch_in_the_sampler_is_an_array(balanced):
    presence = np.ones((200_000, 1), dtype=bool)
    sampler = BalancedSampler(presence, 0) if balanced else EpochSampler(200_000, True, 0)
    tracemalloc.start()
    iterator = iter(sampler)
    next(iterator)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 30 * 200_000  # a list of tuples of ints takes over 100 bytes for each
    assert len(list(iterator)) == 199_999


def test_any_store_with_keys_and_get_stands_behind_the_same_decoder(stores):
    lmdb_records = LmdbRecords(stores[0])
    keys = list(lmdb_records.keys())
    copied = {key: bytes(lmdb_records.get(key)) for key in keys}
    ours, theirs = (NuScenesLidarDataset(store, CLASSES, training=True) for store in (stores[0], copied))
    assert len(ours) == len(theirs) == 80
    assert points_of([ours[2, i] for i in range(80)]) == points_of([theirs[2, i] for i in range(80)])
    assert StoreReader(copied).manifest == StoreReader(stores[0]).manifest
    loader = DataLoader(theirs, batch_size=8, num_workers=1, collate_fn=points_of, multiprocessing_context="spawn")
    assert [pair for batch in loader for pair in batch] == points_of([ours[i] for i in range(80)])
