from __future__ import annotations

import numpy as np
import pytest
import torch

from lidar_mt.data.sampler import EpochSampler


def drawn(length, shuffle, seed=0, epoch=0, world_size=1):
    """Indices per rank."""
    ranks = []
    for rank in range(world_size):
        sampler = EpochSampler(length, shuffle, seed, rank, world_size)
        sampler.set_epoch(epoch)
        items = list(sampler)
        assert len(items) == len(sampler)
        assert all(item[0] == epoch for item in items)
        ranks.append([index for _, index in items])
    return ranks


def test_training_order_is_a_function_of_seed_and_epoch_alone():
    first = drawn(50, True, seed=1, epoch=2)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    assert drawn(50, True, seed=1, epoch=2) == first
    assert drawn(50, True, seed=1, epoch=3) != first
    assert drawn(50, True, seed=2, epoch=2) != first
    assert sorted(first[0]) == list(range(50))
    assert first[0] != list(range(50))


def test_one_sampler_gives_a_new_order_each_epoch_and_the_old_one_again():
    sampler = EpochSampler(50, True, seed=0)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    sampler.set_epoch(0)
    assert [index for _, index in second] != [index for _, index in first]
    assert list(sampler) == first


@pytest.mark.parametrize(("length", "world_size"), [(10, 2), (11, 2), (10, 3), (2, 4), (1, 3), (7, 1)])
def test_training_ranks_see_everything_in_equal_numbers(length, world_size):
    ranks = drawn(length, True, epoch=3, world_size=world_size)
    assert len({len(rank) for rank in ranks}) == 1
    together = [index for rank in ranks for index in rank]
    assert set(together) == set(range(length))
    assert len(together) < length + world_size


@pytest.mark.parametrize(("length", "world_size"), [(10, 2), (11, 2), (10, 3), (2, 4), (7, 1)])
def test_evaluation_ranks_share_everything_once(length, world_size):
    ranks = drawn(length, False, world_size=world_size)
    assert sorted(index for rank in ranks for index in rank) == list(range(length))
    assert all(rank == sorted(rank) for rank in ranks)


def test_nothing_to_draw():
    assert drawn(0, False, world_size=2) == [[], []]
