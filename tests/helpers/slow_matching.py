"""Greedy matching one prediction at a time."""

from __future__ import annotations

import math

from lidar_mt.metrics.eval_boxes import EvalBoxes


def match_one_by_one(predictions: EvalBoxes, truth: EvalBoxes, limit_m: float) -> set[tuple[int, int]]:
    """Pairs (prediction, truth): best score first, of equal scores the later one, each its nearest free truth."""
    order = sorted(range(len(predictions.score)), key=lambda i: (predictions.score[i], i), reverse=True)
    free = set(range(len(truth.score)))
    pairs = set()
    for i in order:
        best, nearest = None, math.inf
        for j in sorted(free):
            if truth.sample[j] != predictions.sample[i] or truth.label[j] != predictions.label[i]:
                continue
            distance = math.dist(predictions.center[i, :2], truth.center[j, :2])
            if distance < nearest:
                best, nearest = j, distance
        if best is not None and nearest < limit_m:
            pairs.add((i, best))
            free.remove(best)
    return pairs
