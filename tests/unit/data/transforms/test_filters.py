from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.helpers.samples import random_sample

from lidar_mt.data.transforms import BevLabelMap, KeepDetectionClasses, RangeFilter, as_list
from lidar_mt.data.transforms.geometry import rotate_and_scale
from lidar_mt.structures.grid import Grid

GRID = Grid((-51.2, -51.2, -5.0, 51.2, 51.2, 3.0), (0.4, 0.4, 8.0))
RNG = np.random.default_rng(0)


def test_only_detection_classes_are_kept_with_their_boxes():
    sample = replace(random_sample(0, boxes=4), labels=np.array([3, -1, 0, -1]))
    kept = KeepDetectionClasses()(sample, RNG)
    assert kept.labels.tolist() == [3, 0]
    np.testing.assert_array_equal(kept.boxes, sample.boxes[[0, 2]])


@pytest.mark.parametrize(
    ("x", "y", "yaw", "kept"),
    [
        (0, 0, 0, True),
        (52.0, 0, 0, True),  # 4 m long along x: the rear is inside
        (53.1, 0, 0, True),
        (53.3, 0, 0, False),
        (53.0, 0, np.pi / 2, False),  # 2 m wide across: wholly outside
        (0, -53.1, np.pi / 2, True),
        (-52.6, -52.6, np.pi / 4, False),  # the nearest corner is beyond both edges
        (200, 200, 1, False),
    ],
)
def test_a_box_stays_if_a_corner_is_inside(x, y, yaw, kept):
    sample = random_sample(0, boxes=1)
    sample.boxes[0] = [x, y, 0, 2, 4, 1, yaw, 0, 0]
    after = RangeFilter(GRID)(sample, RNG)
    assert len(after.boxes) == len(after.labels) == kept
    np.testing.assert_array_equal(after.points, sample.points)


def test_filters_take_samples_without_boxes():
    sample = random_sample(0, boxes=0)
    for transform in (KeepDetectionClasses(), RangeFilter(GRID)):
        assert transform(sample, RNG).boxes.shape == (0, 9)


def slow_label_map(sample):
    votes = np.zeros((*GRID.shape, 2), dtype=int)
    for point, label in zip(sample.points[: sample.num_keyframe_points].astype(float), sample.lidarseg, strict=True):
        x, y, z = point[:3]
        if -51.199 < x < 51.199 and -51.199 < y < 51.199 and -4.999 < z < 2.999:
            votes[int((y + 51.2) // 0.4), int((x + 51.2) // 0.4), int(label == 24)] += 1
    return np.where(votes.sum(2) == 0, -1, votes[..., 1] > votes[..., 0])


@pytest.mark.parametrize("angle", [0.0, 0.3])
def test_labels_follow_the_keyframes_points(angle):
    sample = rotate_and_scale(random_sample(2, keyframe_points=2000), angle, 1.0)
    labels = BevLabelMap(GRID)(sample, RNG).bev_labels
    expected = slow_label_map(sample)
    assert labels.dtype == np.int64
    assert {-1, 0, 1} == set(np.unique(expected))
    np.testing.assert_array_equal(labels, expected)


def test_sweep_points_do_not_vote():
    sample = random_sample(2)
    without = replace(sample, points=sample.points[: sample.num_keyframe_points])
    np.testing.assert_array_equal(BevLabelMap(GRID)(sample, RNG).bev_labels, BevLabelMap(GRID)(without, RNG).bev_labels)


def test_without_lidarseg_there_is_no_label_map():
    assert BevLabelMap(GRID)(random_sample(0, lidarseg=False), RNG).bev_labels is None


def test_transforms_keep_their_order_and_null_switches_off():
    first, second = KeepDetectionClasses(), RangeFilter(GRID)
    assert as_list({"b": first, "off": None, "a": second}) == [first, second]
    assert as_list([second, first]) == [second, first]
    assert as_list(None) == []
