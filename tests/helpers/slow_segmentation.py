"""Label maps, bilinear upsampling and the segmentation loss in plain loops."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np


def rasterize(points: np.ndarray, lidarseg: np.ndarray, bounds: Sequence[float], size: float) -> np.ndarray:
    x0, y0, z0, x1, y1, z1 = bounds
    votes: dict[tuple[int, int], list[int]] = defaultdict(list)
    for point, raw in zip(points.astype(np.float64).tolist(), lidarseg.tolist(), strict=True):
        x, y, z = point[:3]
        if x0 + 0.001 < x < x1 - 0.001 and y0 + 0.001 < y < y1 - 0.001 and z0 + 0.001 < z < z1 - 0.001:
            votes[math.floor((y - y0) / size), math.floor((x - x0) / size)].append(1 if raw == 24 else 0)
    labels = np.full((round((y1 - y0) / size), round((x1 - x0) / size)), -1)
    for cell, ballots in votes.items():
        labels[cell] = 1 if 2 * sum(ballots) > len(ballots) else 0
    return labels


def upsample(maps: np.ndarray, factor: int) -> np.ndarray:
    """Bilinear, corners not aligned: (C, H, W) to (C, H * factor, W * factor)."""

    def neighbours(i: int, length: int) -> tuple[int, int, float]:
        source = max((i + 0.5) / factor - 0.5, 0.0)
        first = int(source)
        return first, min(first + 1, length - 1), source - first

    _, height, width = maps.shape
    out = np.zeros((maps.shape[0], height * factor, width * factor))
    for i in range(height * factor):
        top, bottom, down = neighbours(i, height)
        for j in range(width * factor):
            left, right, across = neighbours(j, width)
            upper = maps[:, top, left] * (1 - across) + maps[:, top, right] * across
            lower = maps[:, bottom, left] * (1 - across) + maps[:, bottom, right] * across
            out[:, i, j] = upper * (1 - down) + lower * down
    return out


def cross_entropy(logits: np.ndarray, labels: np.ndarray, weights: Sequence[float]) -> float:
    """Logits (B, S, H, W) and labels (B, H, W): mean over all cells, ignored ones included."""
    total = 0.0
    for b, i, j in np.ndindex(labels.shape):
        label = labels[b, i, j]
        if label != -1:
            cell = logits[b, :, i, j]
            total += weights[label] * (math.log(sum(math.exp(v) for v in cell)) - cell[label])
    return total / labels.size
