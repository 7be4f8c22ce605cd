"""Detection targets, loss and decoder in plain Python loops over boxes and cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.helpers import slow_boxes

GROUPS = (("car",), ("truck", "construction_vehicle"), ("bus", "trailer"), ("barrier",),
          ("motorcycle", "bicycle"), ("pedestrian", "traffic_cone"))  # fmt: skip
NAMES = ("car", "truck", "construction_vehicle", "bus", "trailer", "barrier", "motorcycle", "bicycle", "pedestrian",
         "traffic_cone")  # fmt: skip


def radius_by_search(length: float, width: float, overlap: float) -> float:
    """Largest r at which each of the three ways to move two corners by r keeps the overlap, by bisection."""

    def shifted(r: float) -> float:
        common = (length - r) * (width - r)
        return common / (2 * length * width - common)

    def smaller(r: float) -> float:
        return (length - 2 * r) * (width - 2 * r) / (length * width)

    def larger(r: float) -> float:
        return length * width / ((length + 2 * r) * (width + 2 * r))

    short = min(length, width)
    cases = ((shifted, short), (smaller, short / 2), (larger, 1e3 * (length + width)))
    results = []
    for case, limit in cases:
        low, high = 0.0, limit
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if case(middle) >= overlap else (low, middle)
        results.append(low)
    return min(results)


def target_of_group(boxes: np.ndarray, labels: np.ndarray, group: Sequence[str], low: float, size: float, cells: int,
                    max_objects: int = 500) -> dict[str, Any]:  # fmt: skip
    """One sample, one group: heatmap (K, cells, cells) and a list of slots, each None or (cell, values)."""
    heatmap = np.zeros((len(group), cells, cells))
    slots: list[tuple[int, dict[str, list[float]]] | None] = []
    for box, label in zip(boxes.astype(np.float64).tolist(), labels.tolist(), strict=True):
        if label < 0 or NAMES[label] not in group or len(slots) == max_objects:
            continue
        slots.append(None)
        x, y, z, w, l, h, yaw, vx, vy = box  # noqa: E741
        if not (w > 0 and l > 0 and h > 0):
            continue
        column_exact, row_exact = (x - low) / size, (y - low) / size
        column, row = int(column_exact), int(row_exact)
        if not (0 <= column < cells and 0 <= row < cells):
            continue
        radius = max(2, int(radius_by_search(l / size, w / size, 0.1)))
        sigma = (2 * radius + 1) / 6
        channel = list(group).index(NAMES[label])
        for i in range(max(0, row - radius), min(cells, row + radius + 1)):
            for j in range(max(0, column - radius), min(cells, column + radius + 1)):
                value = math.exp(-((i - row) ** 2 + (j - column) ** 2) / (2 * sigma**2))
                heatmap[channel, i, j] = max(heatmap[channel, i, j], value)
        values = {
            "reg": [column_exact - column, row_exact - row],
            "height": [z],
            "dim": [math.log(w), math.log(l), math.log(h)],
            "rot": [math.sin(yaw), math.cos(yaw)],
            "vel": [vx, vy],
        }
        slots[-1] = (row * cells + column, values)
    return {"heatmap": heatmap, "slots": slots}


def heatmap_loss(logits: np.ndarray, target: np.ndarray) -> float:
    total, peaks = 0.0, 0
    for logit, wanted in zip(logits.ravel().tolist(), target.ravel().tolist(), strict=True):
        p = 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0
        p = min(max(p, 1e-4), 1 - 1e-4)
        if wanted == 1:
            peaks += 1
            total -= (1 - p) ** 2 * math.log(p)
        else:
            total -= (1 - wanted) ** 4 * p**2 * math.log(1 - p)
    return total / peaks if peaks else total


def box_loss(maps: dict[str, np.ndarray], samples: Sequence[Sequence[Any]]) -> float:
    """Maps by name (B, C, H, W); per sample the slots of `target_of_group`."""
    total, objects = 0.0, 0
    for b, slots in enumerate(samples):
        for slot in slots:
            if slot is None:
                continue
            objects += 1
            cell, values = slot
            for name, wanted in values.items():
                row, column = divmod(cell, maps[name].shape[-1])
                for c, number in enumerate(wanted):
                    if not math.isnan(number):
                        weight = 0.2 if name == "vel" else 1.0
                        total += weight * abs(float(maps[name][b, c, row, column]) - number)
    return 0.25 * total / (objects + 1e-4)


def decode_sample(
    groups: Sequence[dict[str, np.ndarray]], low: float, size: float, circle_m: Sequence[float] | None = None
) -> list[tuple[list[float], float, int]]:
    """One sample: maps by name (C, H, W) of each group to boxes with score and label."""
    result = []
    for g, maps in enumerate(groups):
        classes, height, width = maps["heatmap"].shape
        candidates: list[tuple[float, int, int, int]] = []
        for k in range(classes):
            scores = [
                (1 / (1 + math.exp(-float(maps["heatmap"][k, i, j]))), k, i, j)
                for i in range(height)
                for j in range(width)
            ]
            candidates += sorted(scores, reverse=True)[:100]
        boxes, scores_kept, labels = [], [], []
        for score, k, i, j in sorted(candidates, reverse=True)[:100]:
            at = {name: m[:, i, j].astype(float).tolist() for name, m in maps.items()}
            x, y = (j + at["reg"][0]) * size + low, (i + at["reg"][1]) * size + low
            z = at["height"][0]
            if score > 0.1 and abs(x) <= 61.2 and abs(y) <= 61.2 and abs(z) <= 10:
                yaw = math.atan2(at["rot"][0], at["rot"][1])
                boxes.append([x, y, z, *(math.exp(v) for v in at["dim"]), yaw, *at["vel"]])
                scores_kept.append(score)
                labels.append(NAMES.index(GROUPS[g][k]))
        if circle_m is None:
            kept = slow_boxes.rotated_nms(boxes, scores_kept, 0.2, 1000, 83)
        else:
            kept = slow_boxes.circle_nms(boxes, scores_kept, circle_m[g], 83)
        result += [(boxes[i], scores_kept[i], labels[i]) for i in kept]
    return result
