"""Heatmap and segmentation of two forms of a network side by side, and their difference."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from torch import Tensor

from lidar_mt.structures.classes import Classes
from lidar_mt.structures.grid import Grid
from lidar_mt.visualization import bev_axes, bev_raster, palette
from lidar_mt.visualization.figure import new_figure

_MAP_PX, _GAP_X_PX, _GAP_Y_PX, _LEFT_PX, _TOP_PX, _BOTTOM_PX, _RIGHT_PX = 460, 30, 50, 70, 56, 52, 96
_COLORMAP, _DIFFERENCE = "magma", "coolwarm"
# As in the other heatmaps: faint responses matter.
_GAMMA = 0.5
_UNDRAWN, _SAME = "#3c475a", "#5d6b80"


def draw_maps(
    heatmap: Tensor | None, labels: Tensor | None, grid: Grid, classes: Classes, names: tuple[str, str]
) -> Figure:
    """Draws one row for the heatmaps and one for the segmentation: a, b and how b differs from a.

    Args:
        heatmap: (2, H, W) largest probability of any class, of a and of b; None leaves the row out.
        labels: (2, H, W) BEV labels of a and of b; None leaves the row out.
        grid: the range that both cover.
        classes: names of labels.
        names: of the two forms.

    Returns:
        A figure for `save_figure`.
    """
    rows = [kind for kind, values in (("heatmap", heatmap), ("labels", labels)) if values is not None]
    rows_px, columns_px = bev_raster.image_shape(grid, _MAP_PX)[:2]
    width = _LEFT_PX + 3 * columns_px + 2 * _GAP_X_PX + _RIGHT_PX
    height = _TOP_PX + len(rows) * rows_px + max(0, len(rows) - 1) * _GAP_Y_PX + _BOTTOM_PX
    figure = new_figure(width, height)

    def axes_at(left: int, top: int, size: tuple[int, int]) -> Any:
        return figure.add_axes((left / width, 1 - (top + size[1]) / height, size[0] / width, size[1] / height))

    for i, kind in enumerate(rows):
        top = _TOP_PX + i * (rows_px + _GAP_Y_PX)
        maps = [axes_at(_LEFT_PX + j * (columns_px + _GAP_X_PX), top, (columns_px, rows_px)) for j in range(3)]
        if kind == "heatmap" and heatmap is not None:
            bar = axes_at(width - _RIGHT_PX + 18, top, (14, rows_px))
            _draw_heatmaps(maps, bar, heatmap, grid)
        elif labels is not None:
            _draw_labels(maps, labels, grid, classes)
        for j, axes in enumerate(maps):
            axes.set(xlabel="" if i + 1 < len(rows) else "x, right [m]")
            if j:
                axes.set(ylabel="", yticklabels=[])
            what = "heatmap, any class" if kind == "heatmap" else "segmentation"
            difference = "b - a, probability" if kind == "heatmap" else "cells that differ"
            bev_axes.name_panel(axes, difference if j == 2 else f"{'ab'[j]}: {what}")
    title = f"a = {names[0]}    b = {names[1]}"
    y = 1 - _TOP_PX / 2 / height
    figure.text(_LEFT_PX / width, y, title, color=palette.INK, fontsize=13, weight="bold", va="center")
    return figure


def _draw_heatmaps(maps: list[Any], bar: Any, heatmap: Tensor, grid: Grid) -> None:
    a, b = heatmap.detach().float().cpu().numpy()
    x0, y0, _, x1, y1, _ = grid.point_cloud_range
    blank = bev_raster.background(bev_raster.image_shape(grid, _MAP_PX))
    place: dict[str, Any] = {
        "origin": "lower",
        "extent": (x0, x1, y0, y1),
        "aspect": "auto",
        "interpolation": "nearest",
    }
    for axes in maps:
        bev_axes.draw_map(axes, blank, grid)
    for axes, values in zip(maps, (a, b), strict=False):
        axes.imshow(values, cmap=_COLORMAP, norm=PowerNorm(_GAMMA, 0, 1), zorder=1, **place)
    error = b - a
    largest = float(np.nanmax(np.abs(error), initial=0.0))
    limit = largest or 1.0
    image = maps[2].imshow(error, cmap=_DIFFERENCE, vmin=-limit, vmax=limit, zorder=1, **place)
    bar.figure.colorbar(image, cax=bar)
    bar.tick_params(colors=palette.INK_MUTED, labelsize=9, length=3)
    _note(maps[2], f"largest {largest:.3g}" if largest else "equal")


def _draw_labels(maps: list[Any], labels: Tensor, grid: Grid, classes: Classes) -> None:
    a, b = labels.detach().cpu().numpy()
    shape = bev_raster.image_shape(grid, _MAP_PX)
    colors = [color or _UNDRAWN for color in palette.surface_colors(classes.segmentation)]
    images = [bev_raster.background(shape) for _ in range(3)]
    bev_raster.paint_surfaces(images[0], a, colors, 1.0)
    bev_raster.paint_surfaces(images[1], b, colors, 1.0)
    bev_raster.paint_surfaces(images[2], np.where(a == b, 0, 1), [_SAME, palette.MISSED], 1.0)
    for axes, image in zip(maps, images, strict=True):
        bev_axes.draw_map(axes, image, grid)
    differing = int((a != b).sum())
    _note(maps[2], f"{differing:,} of {a.size:,} cells, {100 * differing / max(1, a.size):.3g} %")


def _note(axes: Any, text: str) -> None:
    axes.text(
        0.015, 0.02, text, transform=axes.transAxes, color=palette.INK, fontsize=10, zorder=5,
        bbox={"facecolor": palette.BACKGROUND, "edgecolor": "none", "alpha": 0.75, "pad": 3},
    )  # fmt: skip
