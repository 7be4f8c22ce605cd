"""One bird's-eye map as matplotlib axes: the painted image, range rings, the ego vehicle and boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.patches import Circle, Polygon
from matplotlib.ticker import MaxNLocator

from lidar_mt.structures.boxes import BOX_SIZE, bev_corners
from lidar_mt.structures.grid import Grid
from lidar_mt.visualization import palette
from lidar_mt.visualization.bev_raster import Image

_RING_STEP_M = 20


@dataclass(frozen=True)
class BoxLayer:
    """Boxes ready to draw.

    Attributes:
        corners: (N, 4, 2) x, y [m], in the order of `bev_corners`.
        labels: (N,) index into the detection classes.
    """

    corners: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def count(self, label: int) -> int:
        """How many boxes have this label."""
        return int((self.labels == label).sum())


def visible_boxes(boxes: npt.NDArray[Any], labels: npt.NDArray[Any], grid: Grid) -> BoxLayer:
    """Boxes with at least one corner inside the picture, so that the counts in the legend are what is seen."""
    corners = bev_corners(torch.from_numpy(boxes.reshape(-1, BOX_SIZE).astype(np.float64))).numpy()
    x0, y0, _, x1, y1, _ = grid.point_cloud_range
    # A NaN from a diverged network compares false and drops its box; NaN velocities play no part here.
    inside = ((corners >= (x0, y0)) & (corners <= (x1, y1))).all(axis=2).any(axis=1)
    return BoxLayer(corners[inside], labels[inside].astype(np.int64))


def draw_map(axes: Any, image: Image, grid: Grid) -> None:
    """Shows the painted image with metre axes, range rings and the ego vehicle."""
    x0, y0, _, x1, y1, _ = grid.point_cloud_range
    axes.imshow(image, extent=(x0, x1, y0, y1), interpolation="nearest", aspect="auto", zorder=0)
    for radius in np.arange(_RING_STEP_M, np.hypot(max(-x0, x1), max(-y0, y1)), _RING_STEP_M):
        axes.add_patch(Circle((0, 0), radius, fill=False, edgecolor=palette.GRID_LINE, linewidth=0.6, alpha=0.7))
    # A nuScenes-sized car below the sensor, pointing forward.
    ego = Polygon([(-0.9, -2.4), (-0.9, 1.0), (0, 2.4), (0.9, 1.0), (0.9, -2.4)], closed=True)
    ego.set(facecolor=palette.INK, edgecolor=palette.BACKGROUND, linewidth=0.8, zorder=4)
    axes.add_patch(ego)
    axes.set(xlim=(x0, x1), ylim=(y0, y1))
    axes.set_xlabel("x, right [m]", color=palette.INK_MUTED, fontsize=10, labelpad=2)
    axes.set_ylabel("y, forward [m]", color=palette.INK_MUTED, fontsize=10, labelpad=0)
    axes.tick_params(colors=palette.INK_MUTED, labelsize=9, length=3, color=palette.GRID_LINE)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10]))
    for spine in axes.spines.values():
        spine.set(color=palette.GRID_LINE, linewidth=0.8)


def name_panel(axes: Any, name: str) -> None:
    """Writes the name of a map into its upper left corner."""
    axes.text(
        0.015, 0.985, name, transform=axes.transAxes, color=palette.INK, fontsize=12, weight="bold", va="top",
        bbox={"facecolor": palette.BACKGROUND, "edgecolor": "none", "alpha": 0.75, "pad": 4},
    )  # fmt: skip


def draw_boxes(axes: Any, boxes: BoxLayer, class_colors: Sequence[str]) -> None:
    """Boxes in class colours, lightly filled, with a line from the centre to the middle of the front."""
    colors = [to_rgba(color) for color in class_colors]
    edges = [colors[label] for label in boxes.labels]
    faces = [(*color[:3], 0.22) for color in edges]
    axes.add_collection(PolyCollection([*boxes.corners], facecolors=faces, edgecolors=edges, linewidths=1.5, zorder=3))
    axes.add_collection(LineCollection([*_noses(boxes)], colors=edges, linewidths=1.5, zorder=3))


def draw_truth(axes: Any, boxes: BoxLayer) -> None:
    """Thin white boxes below the prediction: white shows where the two differ."""
    outlines = PolyCollection([*boxes.corners], facecolors="none", edgecolors=palette.TRUTH, linewidths=0.9, zorder=2)
    axes.add_collection(outlines)
    axes.add_collection(LineCollection([*_noses(boxes)], colors=palette.TRUTH, linewidths=0.9, zorder=2))


def _noses(boxes: BoxLayer) -> npt.NDArray[np.float64]:
    """(N, 2, 2) segments from each centre to the middle of the front edge."""
    front = boxes.corners[:, [0, 3]].mean(axis=1)
    return np.stack([boxes.corners.mean(axis=1), front], axis=1)
