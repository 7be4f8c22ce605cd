"""Finds the points inside many boxes at once, without holding every point against every box."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lidar_mt.structures.boxes import YAW, L, W, X, Y, Z

_CELL_M = 0.5
#: Far more than the rounding of single precision, at which points are put into cells.
_MARGIN_M = 0.01
#: Boxes spread further than this many cells get larger ones.
_MAX_CELLS = 1 << 20
_UINT16 = 1 << 16
#: Points that are worked on at a time: what comes in between stays in the cache, and no memory is asked of the system.
_BLOCK = 8192

IntArray = npt.NDArray[np.int64]


class BoxIndex:
    """A grid seen from above whose cells know the boxes that reach into them.

    A point is held only against the boxes of its own cell. The result equals that of
    `structures.boxes.points_in_boxes`; the time hardly depends on the number of boxes.

    Args:
        boxes: (N, 9) float, see `structures.boxes`. A box that is not finite holds no point.
        cell_m: side of a cell [m].
    """

    def __init__(self, boxes: npt.NDArray[Any], cell_m: float = _CELL_M) -> None:
        boxes = np.asarray(boxes, dtype=np.float64)
        # Rows x y z, half of w l h, cosine and sine of the heading.
        self._shapes = np.stack([*boxes[:, :W].T, *boxes[:, W:YAW].T / 2, np.cos(boxes[:, YAW]), np.sin(boxes[:, YAW])])
        finite = np.flatnonzero(np.isfinite(boxes[:, : YAW + 1]).all(axis=1))
        low, high = _extent(boxes[finite])
        self._origin = low.min(axis=0, initial=np.inf) if len(finite) else np.zeros(2)
        span = (high.max(axis=0) - self._origin) if len(finite) else np.zeros(2)
        self._cell_m = max(cell_m, float(np.sqrt(span.prod() / _MAX_CELLS)), float(span.max()) / _MAX_CELLS)
        first = np.floor((low - self._origin) / self._cell_m).astype(np.int64)
        last = np.floor((high - self._origin) / self._cell_m).astype(np.int64)
        # One ring of cells that no box reaches surrounds the others. Points beyond it count on into the next row or are
        # moved to the first or last cell (`mode="clip"`), which costs less than holding each against four borders: a
        # wrong cell can only bring boxes that the point is not in.
        self._columns, self._rows = (last.max(axis=0, initial=-1) + 3).tolist()
        boxes_of, cells = _cover(first + 1, last + 1, self._columns)
        order = np.argsort(cells, kind="stable")
        self._members = finite[boxes_of[order]]
        self._counts = np.bincount(cells, minlength=self._columns * self._rows)
        self._starts = np.cumsum(self._counts) - self._counts
        self._occupied = self._counts > 0

    def candidates(
        self, points: npt.NDArray[np.float32], boxes_from_points: npt.NDArray[np.float64] | None = None
    ) -> IntArray:
        """Points whose cell a box reaches into: all that lie in a box, and some around it.

        Args:
            points: (P, >=3) float32 x y z [m].
            boxes_from_points: (4, 4) transform from the points' frame to that of the boxes; None is the identity.

        Returns:
            (C,) ascending indices of points.
        """
        blocks = range(0, max(len(points), 1), _BLOCK)
        with np.errstate(invalid="ignore"):
            near = [
                start
                + self._occupied.take(
                    self._cells_of(points[start : start + _BLOCK], boxes_from_points), mode="clip"
                ).nonzero()[0]
                for start in blocks
            ]
        return np.concatenate(near)

    def pairs(self, points: npt.NDArray[np.float32]) -> tuple[IntArray, IntArray]:
        """Which points lie inside which boxes, borders included.

        Args:
            points: (P, >=3) float, x y z [m] in the boxes' frame.

        Returns:
            Box and point of each pair, (M,) each, ordered by box, then by point. A point in two boxes is in two pairs.
        """
        with np.errstate(invalid="ignore"):
            blocks = [self._block_pairs(points[i : i + _BLOCK], i) for i in range(0, max(len(points), 1), _BLOCK)]
        box, point = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        # Short numbers are sorted by their digits, in linear time.
        order = np.argsort(box.astype(np.uint16) if len(self._shapes[0]) <= _UINT16 else box, kind="stable")
        return box[order], point[order]

    def _block_pairs(self, points: npt.NDArray[Any], start: int) -> tuple[IntArray, IntArray]:
        """Pairs of a few points, ordered by point; `start` is added to the points' numbers."""
        cells = self._cells_of(points, None)
        near = self._occupied.take(cells, mode="clip").nonzero()[0]
        cells = cells.take(near).clip(0, len(self._counts) - 1)
        counts = self._counts.take(cells)
        point = np.repeat(near, counts)
        # Where each point's boxes begin in the list of members, counted on from its first pair.
        first = self._starts.take(cells) - (np.cumsum(counts) - counts)
        box = self._members.take(np.arange(len(point)) + np.repeat(first, counts))
        inside = np.flatnonzero(self._inside(points, point, box))
        return box[inside], point[inside] + start

    def _cells_of(self, points: npt.NDArray[Any], transform: npt.NDArray[np.float64] | None) -> npt.NDArray[np.int32]:
        """Cell of each point; any number at all, and a warning, for NaN and what is too large for an integer."""
        to_boxes = np.eye(4) if transform is None else transform
        weights = (to_boxes[:2, :3] / self._cell_m).astype(np.float32)
        offset = ((to_boxes[:2, 3] - self._origin) / self._cell_m + 1.0).astype(np.float32)
        # (2, P): operations along a row are several times faster than along pairs of numbers.
        place = weights @ points[:, :3].T.astype(np.float32, copy=False)
        place += offset[:, None]
        cells: npt.NDArray[np.int32]
        columns, cells = place.astype(np.int32)
        cells *= np.int32(self._columns)
        cells += columns
        return cells

    def _inside(self, points: npt.NDArray[Any], point: IntArray, box: IntArray) -> npt.NDArray[np.bool_]:
        """(M,) bool: each point lies in the box beside it."""
        x, y, z, half_w, half_l, half_h, cos, sin = (row.take(box) for row in self._shapes)
        delta_x = points[:, X].take(point) - x
        delta_y = points[:, Y].take(point) - y
        inside: npt.NDArray[np.bool_] = np.abs(delta_x * cos + delta_y * sin) <= half_l
        inside &= np.abs(delta_y * cos - delta_x * sin) <= half_w
        inside &= np.abs(points[:, Z].take(point) - z) <= half_h
        return inside


def _extent(boxes: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Lowest and highest x, y [m] of each box, (N, 2), widened by the margin."""
    cos, sin = np.abs(np.cos(boxes[:, YAW])), np.abs(np.sin(boxes[:, YAW]))
    half_x = (cos * boxes[:, L] + sin * boxes[:, W]) / 2
    half_y = (sin * boxes[:, L] + cos * boxes[:, W]) / 2
    half = np.maximum(np.stack([half_x, half_y], axis=1), 0.0) + _MARGIN_M
    centre = boxes[:, [X, Y]]
    return centre - half, centre + half


def _cover(first: IntArray, last: IntArray, columns: int) -> tuple[IntArray, IntArray]:
    """Every (box, cell) of the rectangles of cells from `first` to `last`, (N, 2) columns and rows, both included."""
    size = last - first + 1
    counts = size.prod(axis=1)
    box = np.repeat(np.arange(len(first)), counts)
    within = np.arange(len(box)) - np.repeat(np.cumsum(counts) - counts, counts)
    row, column = np.divmod(within, size[box, 0])
    return box, (first[box, 1] + row) * columns + first[box, 0] + column
