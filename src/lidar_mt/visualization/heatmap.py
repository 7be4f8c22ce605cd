"""Heatmaps of the detection head beside their targets, one pair per class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator
from torch import Tensor

from lidar_mt.structures.grid import Grid
from lidar_mt.visualization import palette
from lidar_mt.visualization.figure import new_figure

_MAP_PX, _GAP_PX, _PAIR_GAP_PX, _LEFT_PX, _TOP_PX, _LINE_TOP_PX, _BOTTOM_PX, _SCALE_PX = 256, 14, 4, 72, 44, 34, 48, 72
_PER_LINE = 5
_COLORMAP, _RING = "magma", "#6fe0ff"
_TICK_M = 40
# Faint responses matter as much as strong ones to someone who looks for what is missed; the scale shows the bend.
_GAMMA = 0.5


def draw_heatmaps(
    target: Tensor | npt.NDArray[Any],
    prediction: Tensor | npt.NDArray[Any],
    names: Sequence[str],
    grid: Grid,
    title: str = "",
) -> Figure:
    """Draws target above prediction for each class, forward up, on a scale that lifts faint responses.

    Rings on the prediction mark the true centres.

    Args:
        target: (K, H, W) in [0, 1], 1 at object centres, row 0 at the smallest y.
        prediction: (K, H, W) probabilities in [0, 1] (after the sigmoid).
        names: of the K classes.
        grid: the range that the maps cover.
        title: text above the picture.

    Returns:
        A figure for `figure.save_figure` or `figure.to_image_tensor`.

    Raises:
        ValueError: the shapes or the number of names differ.
    """
    maps = [_numpy(target), _numpy(prediction)]
    if maps[0].ndim != 3 or maps[0].shape != maps[1].shape or len(maps[0]) != len(names):
        raise ValueError(f"heatmaps: target {maps[0].shape}, prediction {maps[1].shape}, {len(names)} class names")
    per_line = min(_PER_LINE, max(1, len(names)))
    rows_px = round(_MAP_PX * maps[0].shape[1] / maps[0].shape[2])
    line_px = _LINE_TOP_PX + 2 * rows_px + _PAIR_GAP_PX
    lines = max(1, -(-len(names) // per_line))
    width = _LEFT_PX + per_line * (_MAP_PX + _GAP_PX) + _SCALE_PX
    height = _TOP_PX + lines * line_px + _BOTTOM_PX
    figure = new_figure(width, height)

    def axes_at(left: int, top: int, size: tuple[int, int]) -> Any:
        bottom = height - top - size[1]
        return figure.add_axes((left / width, bottom / height, size[0] / width, size[1] / height))

    for k, name in enumerate(names):
        line, place = divmod(k, per_line)
        left, top = _LEFT_PX + place * (_MAP_PX + _GAP_PX), _TOP_PX + line * line_px + _LINE_TOP_PX
        pair = [axes_at(left, top + i * (rows_px + _PAIR_GAP_PX), (_MAP_PX, rows_px)) for i in range(2)]
        _draw_pair(pair, maps[0][k], maps[1][k], name, grid)
        for axes, kind in zip(pair, ("target", "prediction"), strict=True):
            _write_metres(axes, kind, is_left=place == 0, is_bottom=kind == "prediction" and k + per_line >= len(names))
    _draw_scale(axes_at(width - _SCALE_PX, _TOP_PX + _LINE_TOP_PX, (14, 2 * rows_px + _PAIR_GAP_PX)))
    figure.text(
        _LEFT_PX / width, 1 - _TOP_PX / 2 / height, title, color=palette.INK, fontsize=13, weight="bold", va="center"
    )
    return figure


def _numpy(values: Tensor | npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    # Half-precision tensors of mixed-precision training have no numpy counterpart everywhere.
    array = values.detach().float().cpu().numpy() if isinstance(values, Tensor) else values
    return np.asarray(array, dtype=np.float32)


def _draw_pair(
    pair: Sequence[Any], target: npt.NDArray[np.float32], prediction: npt.NDArray[np.float32], name: str, grid: Grid
) -> None:
    x0, y0, _, x1, y1, _ = grid.point_cloud_range
    for axes, values in zip(pair, (target, prediction), strict=True):
        axes.imshow(
            values,
            origin="lower",
            cmap=_COLORMAP,
            norm=PowerNorm(_GAMMA, 0, 1),
            interpolation="nearest",
            aspect="auto",
            extent=(x0, x1, y0, y1),
        )
        for spine in axes.spines.values():
            spine.set(color=palette.GRID_LINE, linewidth=0.8)
    pair[0].set_title(name.replace("_", " "), color=palette.INK, fontsize=11, weight="bold", loc="left", pad=5)
    rows, columns = np.nonzero(target == 1)
    pair[1].plot(
        x0 + (columns + 0.5) * (x1 - x0) / target.shape[1], y0 + (rows + 0.5) * (y1 - y0) / target.shape[0], "o",
        markersize=9, markerfacecolor="none", markeredgecolor=_RING, markeredgewidth=0.8, scalex=False, scaley=False,
    )  # fmt: skip
    _note(pair[0], f"{len(rows)} objects" if len(rows) != 1 else "1 object")
    _note(pair[1], f"max {prediction.max(initial=0):.2f}")


def _write_metres(axes: Any, kind: str, *, is_left: bool, is_bottom: bool) -> None:
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MultipleLocator(_TICK_M))
    axes.tick_params(colors=palette.INK_MUTED, labelsize=8, length=3, color=palette.GRID_LINE)
    axes.tick_params(labelleft=is_left, labelbottom=is_bottom)
    if is_left:
        axes.set_ylabel(f"{kind}\ny, forward [m]", color=palette.INK_MUTED, fontsize=10, labelpad=0)
    if is_bottom:
        axes.set_xlabel("x, right [m]", color=palette.INK_MUTED, fontsize=10, labelpad=1)


def _note(axes: Any, text: str) -> None:
    axes.text(0.03, 0.03, text, transform=axes.transAxes, color=palette.INK_MUTED, fontsize=9)


def _draw_scale(axes: Any) -> None:
    # The ramp is even in colour, so it is the ticks that are bent.
    axes.imshow(np.linspace(0, 1, 256)[:, None], origin="lower", cmap=_COLORMAP, aspect="auto", extent=(0, 1, 0, 1))
    values = (0, 0.1, 0.3, 0.5, 1)
    axes.set(xticks=[], yticks=[value**_GAMMA for value in values], yticklabels=[f"{value:g}" for value in values])
    axes.yaxis.tick_right()
    axes.tick_params(colors=palette.INK_MUTED, labelsize=9, length=3)
