"""How well the boxes of one frame were found: a number to choose frames by, not a benchmark."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

#: A detection within this distance of a truth of its class has found it [m], as for the benchmark's errors.
REACH_M = 2.0


@dataclass(frozen=True)
class FrameScore:
    """Boxes of a frame.

    Attributes:
        found: truths with a detection of their class.
        missed: truths without one.
        false_alarms: detections without a truth.
    """

    found: int
    missed: int
    false_alarms: int

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, 0 to 1; 1 where there is nothing to find and nothing was found."""
        mistakes = self.missed + self.false_alarms
        return 2 * self.found / (2 * self.found + mistakes) if self.found or mistakes else 1.0


def score_frame(
    truth: npt.NDArray[np.float32],
    truth_labels: npt.NDArray[np.int64],
    boxes: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float32],
) -> FrameScore:
    """Matches greedily, best score first, each detection with the nearest truth of its class that is free.

    Args:
        truth: (N, >= 2) centres x, y [m] first.
        truth_labels: (N,) class; negative ones are of no class and left out.
        boxes: (M, >= 2), in the same frame.
        labels: (M,) class.
        scores: (M,).

    Example:
        >>> one = np.zeros((1, 2), np.float32)
        >>> label = np.zeros(1, np.int64)
        >>> score_frame(one, label, one + 1, label, np.ones(1, np.float32)).f1
        1.0
    """
    known = truth_labels >= 0
    truth, truth_labels = truth[known], truth_labels[known]
    free = np.ones(len(truth), bool)
    found = 0
    for index in np.argsort(-scores, kind="stable"):
        distance = np.hypot(*(truth[:, :2] - boxes[index, :2]).T)
        distance[~free | (truth_labels != labels[index])] = np.inf
        nearest = int(distance.argmin()) if len(distance) else -1
        if nearest >= 0 and distance[nearest] < REACH_M:
            free[nearest] = False
            found += 1
    return FrameScore(found, int(free.sum()), len(boxes) - found)
