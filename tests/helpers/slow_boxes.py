"""Box overlap through shapely and suppression in plain loops: slow, and written another way than the product."""

from __future__ import annotations

import math
from collections.abc import Sequence

from shapely import affinity
from shapely.geometry import Polygon, box

Row = Sequence[float]


def polygon(row: Row) -> Polygon:
    """Outline of a box x y z w l h yaw ... seen from above."""
    x, y, _, width, length, _, yaw = row[:7]
    upright = box(-length / 2, -width / 2, length / 2, width / 2)
    return affinity.translate(affinity.rotate(upright, yaw, origin=(0, 0), use_radians=True), x, y)


def iou(a: Row, b: Row) -> float:
    return _iou(polygon(a), polygon(b))


def _iou(first: Polygon, second: Polygon) -> float:
    if not first.area + second.area > 0:
        return 0.0
    common = first.intersection(second).area
    return common / (first.area + second.area - common)


def iou_about_origin(a: Row, b: Row) -> float:
    """The same after moving both so that the first lies at the origin: shapely's own rounding grows with distance."""
    return iou([0.0, 0.0, *a[2:]], [b[0] - a[0], b[1] - a[1], *b[2:]])


def iou_matrix(first: Sequence[Row], second: Sequence[Row]) -> list[list[float]]:
    outlines = [polygon(b) for b in second]
    return [[_iou(a, b) for b in outlines] for a in map(polygon, first)]


def rotated_nms(rows: Sequence[Row], scores: Sequence[float], threshold: float, pre: int, post: int) -> list[int]:
    outlines = [polygon(row) for row in rows]
    remaining = sorted(range(len(rows)), key=lambda i: -scores[i])[:pre]
    kept: list[int] = []
    while remaining and len(kept) < post:
        best, *rest = remaining
        kept.append(best)
        remaining = [i for i in rest if _iou(outlines[best], outlines[i]) <= threshold]
    return kept


def circle_nms(rows: Sequence[Row], scores: Sequence[float], radius: float, post: int) -> list[int]:
    remaining = sorted(range(len(rows)), key=lambda i: -scores[i])
    kept: list[int] = []
    while remaining and len(kept) < post:
        best, *rest = remaining
        kept.append(best)
        remaining = [i for i in rest if math.dist(rows[best][:2], rows[i][:2]) > radius]
    return kept
