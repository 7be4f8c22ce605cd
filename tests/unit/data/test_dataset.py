from __future__ import annotations

import dataclasses
import pickle
import sys

import numpy as np
import pytest
from tests.helpers.tiny_lidar import VERSION

from lidar_mt.data.dataset import NuScenesLidarDataset
from lidar_mt.data.layout import store_path
from lidar_mt.data.lmdb_store.codec import INDEX_KEY
from lidar_mt.data.lmdb_store.points import PointColumns
from lidar_mt.data.lmdb_store.reader import StoreReader
from lidar_mt.data.lmdb_store.records import Array, IndexRecord
from lidar_mt.data.lmdb_store.writer import StoreWriter
from lidar_mt.data.packing import pack_split
from lidar_mt.data.sweeps import Sweep, merge_sweeps
from lidar_mt.data.transforms import GlobalRotationScaling
from lidar_mt.structures.classes import DETECTION_CLASSES, Classes
from lidar_mt.structures.errors import DataError

CLASSES = Classes(DETECTION_CLASSES, (DETECTION_CLASSES,), ("others", "driveable_surface"))


@pytest.fixture(scope="module")
def store(raw, tmp_path_factory):
    out = tmp_path_factory.mktemp("packed")
    pack_split(raw, VERSION, "val", out)
    return store_path(out, VERSION, "val")


def same(first, second):
    return all(
        np.array_equal(getattr(first, field.name), getattr(second, field.name), equal_nan=field.name == "boxes")
        for field in dataclasses.fields(first)
    )


def test_samples_follow_scenes_and_times(store):
    dataset = NuScenesLidarDataset(store, CLASSES)
    reader = StoreReader(store)
    assert len(dataset) == 8
    tokens = [dataset[i].token for i in range(8)]
    assert tokens == [dataset.token(i) for i in range(8)]
    for first in (0, 4):
        for i in range(first, first + 3):
            assert reader.keyframe(tokens[i]).next_token == tokens[i + 1]


def test_evaluation_merges_the_nearest_sweeps(store):
    reader = StoreReader(store)
    for index in range(4):
        record = reader.keyframe(reader.sample_tokens[index].decode())
        sweeps = [
            Sweep(
                PointColumns.of(reader.sweep(ref.token)),
                ref.keyframe_from_sweep.numpy(),
                (record.timestamp_us - ref.timestamp_us) * 1e-6,
            )
            for ref in record.sweeps[:9]
        ]
        sample = NuScenesLidarDataset(store, CLASSES)[index]
        np.testing.assert_array_equal(
            sample.points, merge_sweeps(PointColumns.of(reader.sweep(record.lidar_token)), sweeps, 9)
        )
        assert len(np.unique(sample.points[:, 4])) == (1, 6, 10, 10)[index]
        assert sample.lidarseg.tolist() == record.lidarseg.numpy().tolist()
        assert sample.num_keyframe_points == len(sample.lidarseg)
        assert sample.timestamp_us == record.timestamp_us


def test_boxes_of_training_and_evaluation(store, raw):
    reader = StoreReader(store)
    fewer = 0
    for index in range(8):
        record = reader.keyframe(reader.sample_tokens[index].decode())
        train, evaluation = (NuScenesLidarDataset(store, CLASSES, training=mode)[index] for mode in (True, False))
        lidar, radar = record.num_lidar_pts.numpy(), record.num_radar_pts.numpy()
        for sample, keep in ((train, lidar + radar > 0), (evaluation, lidar > 0)):
            expected = record.boxes.numpy()[keep].astype(np.float32)
            np.testing.assert_array_equal(sample.boxes, expected)
            names = [name for name, kept in zip(record.detection_names, keep, strict=True) if kept]
            assert [DETECTION_CLASSES[label] if label >= 0 else "" for label in sample.labels] == names
            fewer += len(names) < len(record.categories)
    assert fewer


def test_a_sample_depends_on_seed_epoch_and_index_alone(store):
    def dataset(seed=0):
        return NuScenesLidarDataset(store, CLASSES, [GlobalRotationScaling(0.4, 0.9, 1.1)], training=True, seed=seed)

    once, again = dataset(), dataset()
    again[5], again[0, 2]  # what was read before makes no difference
    assert same(once[3], again[3])
    assert same(once[7, 3], again[7, 3])
    assert not same(once[0, 3], once[1, 3])
    assert not same(once[0, 3], dataset(seed=1)[0, 3])
    again.set_epoch(7)
    assert same(again[3], once[7, 3])


def test_training_draws_other_sweeps_in_other_epochs(store):
    dataset = NuScenesLidarDataset(store, CLASSES, training=True)
    lags = {tuple(np.unique(dataset[epoch, 3].points[:, 4])) for epoch in range(20)}
    assert all(len(drawn) == 10 for drawn in lags)
    assert len(lags) > 3


def test_a_dataset_is_small_and_pickles(store):
    dataset = NuScenesLidarDataset(store, CLASSES)
    expected = dataset[2]
    assert sys.getsizeof(pickle.dumps(dataset)) < 5000
    assert same(pickle.loads(pickle.dumps(dataset))[2], expected)  # noqa: S301


def test_an_empty_store_is_named(tmp_path):
    with StoreWriter(tmp_path / "val_lmdb") as writer:
        writer.put(INDEX_KEY, IndexRecord(sample_tokens=Array.pack(np.empty(0, dtype="S32"))))
        counts = {"scenes": 0, "keyframes": 0, "sweeps": 0}
        writer.finish(source_version="v", split="val", counts=counts, has_lidarseg=False)
    with pytest.raises(DataError, match=r"val_lmdb holds no keyframe; run `make pack-data`"):
        NuScenesLidarDataset(tmp_path / "val_lmdb", CLASSES)


def test_a_missing_store_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no lmdb at .*val_lmdb .*run `make pack-data"):
        NuScenesLidarDataset(tmp_path / "val_lmdb", CLASSES)
