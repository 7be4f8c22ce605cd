from __future__ import annotations

import itertools

import pytest
import torch

from lidar_mt.deploy.agreement import BoxAgreement, MapAgreement, compare_decoded, match_boxes
from lidar_mt.structures.outputs import Detections


def detections(*rows: tuple[float, float, int, float]) -> Detections:
    """From x, y, label, score."""
    boxes = torch.zeros(len(rows), 9)
    for i, (x, y, _, _) in enumerate(rows):
        boxes[i, :2] = torch.tensor([x, y])
    labels = torch.tensor([label for _, _, label, _ in rows], dtype=torch.int64)
    return Detections(boxes, torch.tensor([score for *_, score in rows]), labels)


def slow_pairs(a: Detections, b: Detections, limit_m: float) -> set[tuple[int, int]]:
    """Takes the nearest free pair again and again."""
    free = [
        (float(torch.dist(a.boxes[i, :2].double(), b.boxes[j, :2].double())), i, j)
        for i, j in itertools.product(range(len(a.labels)), range(len(b.labels)))
        if a.labels[i] == b.labels[j]
    ]
    free = [pair for pair in free if pair[0] <= limit_m]
    pairs = set()
    while free:
        _, i, j = min(free)
        pairs.add((i, j))
        free = [pair for pair in free if pair[1] != i and pair[2] != j]
    return pairs


@pytest.mark.parametrize("seed", range(5))
def test_pairs_are_those_of_a_slow_search(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.rand(n, 4, generator=generator).tolist() for n in (40, 30)]
    a, b = (detections(*((x, y, int(3 * label), score) for x, y, label, score in part)) for part in rows)
    found = match_boxes(a, b, limit_m=0.2)
    assert {(i, j) for i, j, _ in found} == slow_pairs(a, b, 0.2)
    assert len(found) > 10


def test_boxes_are_counted_over_samples() -> None:
    a = [detections((0, 0, 0, 0.5), (5, 5, 1, 0.9)), detections()]
    b = [detections((0.05, 0, 0, 0.7), (5, 5, 2, 0.9), (0, 0.09, 0, 0.1)), detections((1, 1, 0, 0.2))]
    found = compare_decoded(a, b)
    assert isinstance(found, BoxAgreement)
    assert (found.boxes_a, found.boxes_b, found.matched) == (2, 4, 1)
    assert found.max_score == found.mean_score == pytest.approx(0.2)
    assert found.max_centre_m == pytest.approx(0.05)
    again = compare_decoded(a, b, found)
    assert isinstance(again, BoxAgreement)
    assert (again.boxes_b, again.matched, again.mean_score) == (8, 2, pytest.approx(0.2))


def test_cells_are_counted_over_samples() -> None:
    a, b = torch.tensor([[[0, 1], [1, 1]]]), torch.tensor([[[0, 1], [0, 1]]])
    found = compare_decoded(a, b, compare_decoded(a, b))
    assert isinstance(found, MapAgreement)
    assert (found.cells, found.differing, found.share) == (8, 2, 0.25)


def test_other_predictions_are_left_out() -> None:
    assert compare_decoded("words", "words") is None
    assert compare_decoded(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2)) is None  # no labels
