"""Points and surfaces as one RGB image seen from above: numpy only, so 300,000 points take tens of milliseconds.

Images have forward (y) up and right (x) to the right: row 0 is at the grid's largest y, unlike the grid's own rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lidar_mt.structures.grid import Grid
from lidar_mt.visualization import palette

Image = npt.NDArray[np.uint8]

# Over the points, or the dense ones around the ego would hide it.
SURFACE_OPACITY = 0.4
#: For labels that exist only where points are: strong enough to show on top of them.
VOTED_OPACITY = 0.8
# Older sweeps smear what moves; dimmed, the keyframe stays crisp on top of them.
_SWEEP_OPACITY = 0.5
# A single sweep of about 35,000 points is too thin for one pixel per point; ten sweeps would clog with more.
_SPARSE_POINTS = 100_000


def image_shape(grid: Grid, longest_px: int) -> tuple[int, int]:
    """(rows, columns) of a picture of the grid's range whose longer side has `longest_px` pixels."""
    x0, y0, _, x1, y1, _ = grid.point_cloud_range
    scale = longest_px / max(x1 - x0, y1 - y0)
    return max(1, round((y1 - y0) * scale)), max(1, round((x1 - x0) * scale))


def background(shape: tuple[int, int]) -> Image:
    """(rows, columns, 3) image of the palette's background colour."""
    return np.broadcast_to(palette.rgb(palette.PANEL), (*shape, 3)).copy()


def paint_surfaces(image: Image, label_map: npt.NDArray[Any], colors: Sequence[str | None], opacity: float) -> None:
    """Blends a BEV label map into an image, in place.

    Args:
        image: (rows, columns, 3) uint8.
        label_map: (H, W) integer of any resolution over the grid's range, row 0 at the smallest y; -1 is not drawn.
        colors: of each label; None is not drawn.
        opacity: of the surface over what the image shows already, 0 to 1.
    """
    labels = _enlarge(label_map, image.shape[:2])
    for label, color in enumerate(colors):
        if color is not None:
            _blend(image, labels == label, color, opacity)


def paint_surface_errors(
    image: Image,
    predicted: npt.NDArray[Any],
    truth: npt.NDArray[Any],
    colors: Sequence[str | None],
    opacity: float = VOTED_OPACITY,
) -> None:
    """Marks cells where a predicted BEV label map is wrong, in place.

    A cell whose true surface is drawn but was not predicted is "missed"; a predicted surface where the truth is
    another class is "false". Cells without truth (-1) are not judged.

    Args:
        image: (rows, columns, 3) uint8.
        predicted: (H, W) integer labels, any resolution, row 0 at the smallest y.
        truth: (H, W) integer labels with -1 where unknown, any resolution.
        colors: of each label; None is not drawn.
        opacity: of the marks over what the image shows already, 0 to 1.
    """
    drawn = np.array([color is not None for color in colors] + [False])  # label -1 reads the last entry
    predicted, truth = _enlarge(predicted, image.shape[:2]), _enlarge(truth, image.shape[:2])
    wrong = (predicted != truth) & (truth >= 0)
    _blend(image, wrong & drawn[truth], palette.MISSED, opacity)
    _blend(image, wrong & drawn[predicted] & ~drawn[truth], palette.FALSE_ALARM, opacity)


def paint_points(image: Image, points: npt.NDArray[Any], grid: Grid) -> None:
    """Draws points by height, in place; the highest point of a pixel wins, the keyframe's over older sweeps'.

    Args:
        image: (rows, columns, 3) uint8 covering the grid's range.
        points: (P, >=3) x y z [m] in the LiDAR frame; a fifth column is the time lag [s], 0 for the keyframe.
        grid: range to draw; points outside it in x or y, and non-finite ones, are left out.
    """
    x0, y0, _, x1, y1, _ = grid.point_cloud_range
    rows_px, columns_px = image.shape[:2]
    column = np.floor((points[:, 0] - x0) * (columns_px / (x1 - x0)))
    row = np.floor((y1 - points[:, 1]) * (rows_px / (y1 - y0)))
    seen = (column >= 0) & (column < columns_px) & (row >= 0) & (row < rows_px) & np.isfinite(points[:, 2])
    row, column, z = row[seen].astype(np.int64), column[seen].astype(np.int64), points[seen, 2]
    older = points[seen, 4] > 0 if points.shape[1] > 4 else np.zeros(len(z), dtype=bool)
    dot_px = 2 if len(points) < _SPARSE_POINTS else 1
    for chosen, opacity in ((older, _SWEEP_OPACITY), (~older, 1.0)):
        # Last write wins in numpy's indexed assignment, so the highest point of a pixel stays.
        order = np.flatnonzero(chosen)[np.argsort(z[chosen])]
        _paint_dots(image, row[order], column[order], palette.height_colors(z[order]), opacity, dot_px)


def _paint_dots(
    image: Image, row: npt.NDArray[np.int64], column: npt.NDArray[np.int64], colors: Image, opacity: float, size_px: int
) -> None:
    below = image.copy()
    for down in range(size_px):
        for right in range(size_px):
            at = np.minimum(row + down, image.shape[0] - 1), np.minimum(column + right, image.shape[1] - 1)
            base = below[at].astype(np.float32)
            image[at] = (base + (colors - base) * opacity).round().astype(np.uint8)


def _enlarge(label_map: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Nearest labels at the image's resolution, flipped so that forward is up."""
    height, width = label_map.shape
    rows = ((np.arange(shape[0]) + 0.5) * height / shape[0]).astype(np.int64)[::-1]
    columns = ((np.arange(shape[1]) + 0.5) * width / shape[1]).astype(np.int64)
    return np.asarray(label_map[rows[:, None], columns[None, :]], dtype=np.int64)


def _blend(image: Image, mask: npt.NDArray[np.bool_], color: str, opacity: float) -> None:
    below = image[mask].astype(np.float32)
    image[mask] = (below + (palette.rgb(color) - below) * opacity).round().astype(np.uint8)
