from __future__ import annotations

import math

import numpy as np
import pytest

from lidar_mt.metrics.frame_score import FrameScore, score_frame


def score(truth: list[tuple[float, float, int]], found: list[tuple[float, float, int, float]]) -> FrameScore:
    truth_array = np.array([row[:2] for row in truth], np.float32).reshape(-1, 2)
    boxes = np.array([row[:2] for row in found], np.float32).reshape(-1, 2)
    labels = [np.array([row[2] for row in rows], np.int64) for rows in (truth, found)]
    return score_frame(truth_array, labels[0], boxes, labels[1], np.array([row[3] for row in found], np.float32))


@pytest.mark.parametrize(
    ("truth", "found", "expected"),
    [
        ([], [], (0, 0, 0)),
        ([(0, 0, 1)], [], (0, 1, 0)),
        ([], [(0, 0, 1, 0.9)], (0, 0, 1)),
        ([(0, 0, 1)], [(1.9, 0, 1, 0.9)], (1, 0, 0)),
        ([(0, 0, 1)], [(2.1, 0, 1, 0.9)], (0, 1, 1)),
        ([(0, 0, 1)], [(0, 0, 2, 0.9)], (0, 1, 1)),
        ([(0, 0, -1)], [], (0, 0, 0)),
        ([(0, 0, 1)], [(0, 0, 1, 0.9), (0.1, 0, 1, 0.8)], (1, 0, 1)),
        # The better score takes the nearer truth, the other one what is left.
        ([(0, 0, 1), (1.5, 0, 1)], [(0.5, 0, 1, 0.9), (-0.2, 0, 1, 0.8)], (2, 0, 0)),
        ([(0, 0, 1), (1.5, 0, 1)], [(0.5, 0, 1, 0.9), (-1, 0, 1, 0.8)], (1, 1, 1)),
    ],
)
def test_detections_take_the_nearest_free_truth_of_their_class(truth, found, expected) -> None:
    result = score(truth, found)
    assert (result.found, result.missed, result.false_alarms) == expected


def test_the_mean_is_harmonic() -> None:
    precision, recall = 3 / 4, 3 / 5
    expected = 2 / (1 / precision + 1 / recall)
    assert math.isclose(FrameScore(found=3, missed=2, false_alarms=1).f1, expected)
    assert FrameScore(0, 0, 0).f1 == 1.0
    assert FrameScore(0, 1, 0).f1 == 0.0
