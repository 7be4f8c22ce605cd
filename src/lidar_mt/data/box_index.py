"""Finds the points inside many boxes at once, without holding every point against every box."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lidar_mt.structures.boxes import YAW, H, L, W, X, Y, Z

_CELL_M = 0.5
#: Far more than the rounding of single precision, at which points are put into cells.
_MARGIN_M = 0.01
#: Boxes spread further than this many cells get larger ones.
_MAX_CELLS = 1 << 20

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
        self._boxes = np.asarray(boxes, dtype=np.float64)
        finite = np.flatnonzero(np.isfinite(self._boxes[:, : YAW + 1]).all(axis=1))
        low, high = _extent(self._boxes[finite])
        self._origin = low.min(axis=0, initial=np.inf) if len(finite) else np.zeros(2)
        span = (high.max(axis=0) - self._origin) if len(finite) else np.zeros(2)
        self._cell_m = max(cell_m, float(np.sqrt(span.prod() / _MAX_CELLS)), float(span.max()) / _MAX_CELLS)
        first = np.floor((low - self._origin) / self._cell_m).astype(np.int64)
        last = np.floor((high - self._origin) / self._cell_m).astype(np.int64)
        # One ring of cells that no box reaches surrounds the others: points outside are moved there.
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
        return np.flatnonzero(self._occupied[self._cells_of(points, boxes_from_points)])

    def pairs(self, points: npt.NDArray[np.float32]) -> tuple[IntArray, IntArray]:
        """Which points lie inside which boxes, borders included.

        Args:
            points: (P, >=3) float, x y z [m] in the boxes' frame.

        Returns:
            Box and point of each pair, (M,) each, ordered by box, then by point. A point in two boxes is in two pairs.
        """
        cells = self._cells_of(points, None)
        near = np.flatnonzero(self._occupied[cells])
        counts = self._counts[cells[near]]
        point = np.repeat(near, counts)
        within = np.arange(len(point)) - np.repeat(np.cumsum(counts) - counts, counts)
        box = self._members[np.repeat(self._starts[cells[near]], counts) + within]
        inside = self._inside(points[point, :3], self._boxes[box])
        box, point = box[inside], point[inside]
        order = np.argsort(box, kind="stable")
        return box[order], point[order]

    def _cells_of(self, points: npt.NDArray[Any], transform: npt.NDArray[np.float64] | None) -> npt.NDArray[np.int32]:
        to_boxes = np.eye(4) if transform is None else transform
        weights = (to_boxes[:2, :3] / self._cell_m).astype(np.float32)
        offset = ((to_boxes[:2, 3] - self._origin) / self._cell_m + 1.0).astype(np.float32)
        column, row = (
            # fmax and fmin also bring a NaN into the empty ring.
            np.fmin(np.fmax(points[:, :3] @ weights[i] + offset[i], np.float32(0)), np.float32(size - 1))
            for i, size in enumerate((self._columns, self._rows))
        )
        cells: npt.NDArray[np.int32] = row.astype(np.int32) * np.int32(self._columns) + column.astype(np.int32)
        return cells

    @staticmethod
    def _inside(points: npt.NDArray[Any], boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """(M,) bool: each point lies in the box beside it."""
        delta = points - boxes[:, :3]
        cos, sin = np.cos(boxes[:, YAW]), np.sin(boxes[:, YAW])
        along = delta[:, 0] * cos + delta[:, 1] * sin
        across = delta[:, 1] * cos - delta[:, 0] * sin
        inside: npt.NDArray[np.bool_] = (
            (np.abs(along) <= boxes[:, L] / 2)
            & (np.abs(across) <= boxes[:, W] / 2)
            & (np.abs(delta[:, Z]) <= boxes[:, H] / 2)
        )
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
