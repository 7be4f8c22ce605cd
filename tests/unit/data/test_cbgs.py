from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from tests.helpers.tiny_lidar import VERSION

from lidar_mt.data.cbgs import (
    BalancedSampler,
    balanced_length,
    count_boxes,
    count_boxes_in_infos,
    count_classes,
    count_earlier,
    draw_balanced,
    draw_epoch,
    warn_absent,
)
from lidar_mt.data.layout import store_path
from lidar_mt.data.lmdb_store.reader import StoreReader
from lidar_mt.data.packing import pack_split
from lidar_mt.structures.classes import DETECTION_CLASSES
from lidar_mt.structures.errors import DataError


@pytest.fixture(scope="module")
def reader(raw, tmp_path_factory):
    out = tmp_path_factory.mktemp("packed")
    pack_split(raw, VERSION, "val", out)
    return StoreReader(store_path(out, VERSION, "val"))


def random_presence(seed, keyframes=400):
    rates = np.array([0.95, 0.5, 0.2, 0.1, 0.05, 0.02])
    return np.random.default_rng(seed).random((keyframes, len(rates))) < rates


def slow_length(presence):
    total = sum(int(flag) for row in presence for flag in row)
    classes = presence.shape[1]
    return sum(int(total / classes) for c in range(classes) if any(row[c] for row in presence))


@pytest.mark.parametrize("seed", range(5))
def test_every_class_gets_the_same_number_of_draws_from_its_own_keyframes(seed):
    presence = random_presence(seed)
    drawn = draw_balanced(presence, np.random.default_rng(seed))
    wanted = int(presence.sum() / presence.shape[1])
    assert len(drawn) == balanced_length(presence) == slow_length(presence) == wanted * presence.shape[1]
    for label, part in enumerate(drawn.reshape(presence.shape[1], wanted)):
        assert presence[part, label].all()


def test_draws_are_even_over_the_keyframes_of_a_class():
    presence = np.zeros((12, 2), dtype=bool)
    presence[:10, 0] = True
    presence[10:, 1] = True
    drawn = np.concatenate([draw_balanced(presence, np.random.default_rng(seed)) for seed in range(2000)])
    counts = np.bincount(drawn, minlength=12)
    np.testing.assert_allclose(counts[:10] / counts[:10].sum(), 0.1, atol=0.01)
    np.testing.assert_allclose(counts[10:] / counts[10:].sum(), 0.5, atol=0.02)
    assert counts[10:].sum() == counts[:10].sum()


def test_a_class_that_is_nowhere_gives_nothing(caplog):
    presence = random_presence(0)
    presence[:, 3] = False
    drawn = draw_balanced(presence, np.random.default_rng(0))
    assert len(drawn) == balanced_length(presence) == 5 * int(presence.sum() / 6) == slow_length(presence)
    warn_absent(presence.astype(np.int32), ("a", "b", "c", "d", "e", "f"), "here")
    assert "here has no d: class balancing draws nothing" in caplog.text
    assert balanced_length(np.zeros((4, 3), dtype=bool)) == 0
    assert draw_balanced(np.zeros((4, 3), dtype=bool), np.random.default_rng(0)).tolist() == []


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
@pytest.mark.parametrize("epoch", [0, 3])
def test_ranks_share_out_one_list(world_size, epoch):
    presence = random_presence(1)
    ranks = []
    for rank in range(world_size):
        sampler = BalancedSampler(presence, seed=7, rank=rank, world_size=world_size)
        sampler.set_epoch(epoch)
        ranks.append(list(sampler))
        assert len(ranks[-1]) == len(sampler)
    # What one rank alone would draw, in its order, padded with its first items.
    alone = BalancedSampler(presence, seed=7)
    alone.set_epoch(epoch)
    whole = list(alone)
    together = [rank[i] for i in range(len(ranks[0])) for rank in ranks]
    assert together == (whole + whole)[: len(together)]
    assert len(together) - len(whole) < world_size


def indices(presence, epoch, seed=7, **options):
    sampler = BalancedSampler(presence, seed, **options)
    sampler.set_epoch(epoch)
    return [item[1] for item in sampler]


def test_one_list_in_a_new_order_or_a_new_list_every_epoch():
    presence = random_presence(2)
    same = [indices(presence, epoch) for epoch in (0, 1)]
    assert same[0] != same[1]
    assert sorted(same[0]) == sorted(same[1]) == sorted(draw_epoch(presence, 7).tolist())
    new = [indices(presence, epoch, new_draw=True) for epoch in (0, 1)]
    assert sorted(new[0]) != sorted(new[1])
    assert new[1] == indices(presence, 1, new_draw=True)
    assert sorted(indices(presence, 0, seed=8)) != sorted(same[0])


def test_global_generators_have_no_say():
    presence = random_presence(2)
    expected = indices(presence, 0)
    np.random.seed(5)  # noqa: NPY002
    assert indices(presence, 0) == expected


def test_no_item_of_an_epoch_comes_twice():
    items = list(BalancedSampler(random_presence(3), 0))
    assert len(set(items)) == len(items)
    times = Counter(index for _, index, _ in items)
    assert max(times.values()) > 5
    for index, count in times.items():
        assert [copy for _, i, copy in items if i == index] == list(range(count))


@pytest.mark.parametrize("values", [[], [4], [1, 1, 1], [3, 1, 2]])
def test_counting_earlier_equal_values(values):
    assert count_earlier(np.array(values, dtype=np.int64)).tolist() == [
        values[:i].count(value) for i, value in enumerate(values)
    ]


def slow_counts(reader):
    rows = []
    for token in reader.sample_tokens:
        record = reader.keyframe(token.decode())
        names = [name for name, valid in zip(record.detection_names, record.valid.numpy(), strict=True) if valid]
        rows.append([names.count(name) for name in DETECTION_CLASSES])
    return rows


def test_counting_boxes_in_a_store(reader):
    counts = count_boxes(reader, DETECTION_CLASSES)
    assert counts.tolist() == slow_counts(reader)
    assert counts.sum() > 100


def infos_of(reader):
    for token in reversed(reader.sample_tokens):  # in another order than the split's
        record = reader.keyframe(token.decode())
        yield {
            "sample_token": token.decode(),
            "gt_names": np.array(record.detection_names),
            "valid_flag": record.valid.numpy(),
        }


def test_counting_boxes_in_infos_gives_the_same(reader):
    counts = count_boxes_in_infos(infos_of(reader), reader.sample_tokens, DETECTION_CLASSES)
    np.testing.assert_array_equal(counts, count_boxes(reader, DETECTION_CLASSES))


def test_infos_of_another_split_are_refused(reader):
    infos = list(infos_of(reader))
    with pytest.raises(DataError, match=r"7 keyframes and the packed split 8, .* is missing from the infos"):
        count_boxes_in_infos(infos[1:], reader.sample_tokens, DETECTION_CLASSES)
    with pytest.raises(DataError, match="8 keyframes and the packed split 7; run `make create-data`"):
        count_boxes_in_infos(infos, reader.sample_tokens[:7], DETECTION_CLASSES)


def test_classes_of_a_list_of_keyframes():
    boxes = np.array([[2, 0], [0, 3], [1, 1]], dtype=np.int32)
    counts = count_classes(boxes, np.array([0, 0, 2]))
    assert counts.samples == 3
    assert counts.keyframes.tolist() == [3, 1]
    assert counts.boxes.tolist() == [5, 1]


def test_balancing_evens_out_the_classes():
    boxes = random_presence(4, 5000).astype(np.int32)
    before = count_classes(boxes, np.arange(len(boxes)))
    after = count_classes(boxes, draw_epoch(boxes > 0, 0))
    share = [counts.keyframes / counts.samples for counts in (before, after)]
    assert share[1].min() > 5 * share[0].min()
    assert np.ptp(share[1]) < np.ptp(share[0])
