"""How far decoded results of two forms of a network agree: boxes that have a partner, cells with another label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lidar_mt.structures.boxes import X, Y
from lidar_mt.structures.outputs import Detections

#: Boxes of one class whose centres are closer than this, seen from above, are the same box [m].
MATCH_M = 0.1


@dataclass
class BoxAgreement:
    """Decoded boxes, added up over samples.

    Attributes:
        boxes_a: of form a.
        boxes_b: of form b.
        matched: pairs of one class with centres within `MATCH_M`.
        max_score: largest difference of the scores of a pair.
        sum_score: sum of those differences.
        max_centre_m: largest distance of the centres of a pair [m].
    """

    boxes_a: int = 0
    boxes_b: int = 0
    matched: int = 0
    max_score: float = 0.0
    sum_score: float = 0.0
    max_centre_m: float = 0.0

    @property
    def mean_score(self) -> float:
        """Mean difference of the scores of a pair."""
        return self.sum_score / max(1, self.matched)

    def add(self, a: Detections, b: Detections) -> None:
        """Adds one sample."""
        pairs = match_boxes(a, b)
        self.boxes_a += len(a.labels)
        self.boxes_b += len(b.labels)
        self.matched += len(pairs)
        for i, j, distance_m in pairs:
            score = abs(float(a.scores[i]) - float(b.scores[j]))
            self.sum_score += score
            self.max_score = max(self.max_score, score)
            self.max_centre_m = max(self.max_centre_m, distance_m)


@dataclass
class MapAgreement:
    """Label maps, added up over samples.

    Attributes:
        cells: of all maps.
        differing: cells with another label.
    """

    cells: int = 0
    differing: int = 0

    @property
    def share(self) -> float:
        """Share of cells with another label, 0 to 1."""
        return self.differing / max(1, self.cells)

    def add(self, a: Tensor, b: Tensor) -> None:
        """Adds maps of labels of one shape."""
        self.cells += a.numel()
        self.differing += int(torch.count_nonzero(a != b))


Agreement = BoxAgreement | MapAgreement


def compare_decoded(a: Any, b: Any, so_far: Agreement | None = None) -> Agreement | None:
    """Adds the predictions of one task for a batch.

    Args:
        a: what the task's decoder returned for form a: boxes of each sample, or maps of labels.
        b: the same for form b.
        so_far: what was added up before.

    Returns:
        The sum; None for a task that predicts something else.
    """
    if isinstance(a, Tensor) and not a.is_floating_point():
        maps = so_far if isinstance(so_far, MapAgreement) else MapAgreement()
        maps.add(a, b)
        return maps
    if isinstance(a, list) and all(isinstance(sample, Detections) for sample in a):
        boxes = so_far if isinstance(so_far, BoxAgreement) else BoxAgreement()
        for one, other in zip(a, b, strict=True):
            boxes.add(one, other)
        return boxes
    return None


def match_boxes(a: Detections, b: Detections, limit_m: float = MATCH_M) -> list[tuple[int, int, float]]:
    """Pairs boxes of one class, nearest first; each box has one partner at most.

    Args:
        a: N boxes.
        b: M boxes.
        limit_m: largest distance of the centres of a pair, seen from above [m].

    Returns:
        Index in a, index in b, distance [m] of each pair.
    """
    centres = [boxes.boxes[:, [X, Y]].double().cpu().numpy() for boxes in (a, b)]
    distance_m = np.linalg.norm(centres[0][:, None] - centres[1][None], axis=2)
    same = a.labels.cpu().numpy()[:, None] == b.labels.cpu().numpy()[None]
    rows, columns = np.nonzero(same & (distance_m <= limit_m))
    order = np.argsort(distance_m[rows, columns], kind="stable")
    pairs: list[tuple[int, int, float]] = []
    taken: tuple[set[int], set[int]] = (set(), set())
    for i, j in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if i not in taken[0] and j not in taken[1]:
            taken[0].add(i)
            taken[1].add(j)
            pairs.append((i, j, float(distance_m[i, j])))
    return pairs
