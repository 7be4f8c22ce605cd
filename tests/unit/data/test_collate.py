from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.helpers.samples import random_sample

from lidar_mt.data.collate import collate
from lidar_mt.structures.errors import DataError


def test_a_batch_holds_its_samples():
    samples = [replace(random_sample(i, boxes=i), bev_labels=np.full((4, 6), i)) for i in range(3)]
    batch = collate(samples)
    assert len(batch) == 3
    assert batch.tokens == [sample.token for sample in samples]
    assert batch.bev_labels.dtype == torch.int64
    assert batch.bev_labels[:, 0, 0].tolist() == [0, 1, 2]
    assert batch.ego_from_lidar.shape == batch.global_from_ego.shape == (3, 4, 4)
    assert batch.ego_from_lidar.dtype == torch.float64
    for i, sample in enumerate(samples):
        for got, expected in (
            (batch.points[i], sample.points),
            (batch.boxes[i], sample.boxes),
            (batch.labels[i], sample.labels),
        ):
            np.testing.assert_array_equal(got.numpy(), expected)
            assert got.numpy().dtype == expected.dtype


def test_without_label_maps_there_is_none():
    assert collate([random_sample(0)]).bev_labels is None


def test_samples_of_both_kinds_are_refused_by_name():
    with_map = replace(random_sample(1), bev_labels=np.zeros((2, 2), dtype=np.int64))
    with pytest.raises(DataError, match=random_sample(2).token):
        collate([with_map, random_sample(2)])
