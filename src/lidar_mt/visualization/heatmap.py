"""Heatmaps of the detection head beside their targets, one pair per class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from torch import Tensor

from lidar_mt.visualization import palette
from lidar_mt.visualization.figure import new_figure

_MAP_PX, _GAP_PX, _PAIR_GAP_PX, _LEFT_PX, _TOP_PX, _SCALE_PX = 256, 14, 4, 34, 42, 72
_PER_LINE = 5
_COLORMAP, _RING = "magma", "#6fe0ff"


def draw_heatmaps(
    target: Tensor | npt.NDArray[Any], prediction: Tensor | npt.NDArray[Any], names: Sequence[str]
) -> Figure:
    """Draws target above prediction for each class, forward up; rings on the prediction mark the true centres.

    Args:
        target: (K, H, W) in [0, 1], 1 at object centres, row 0 at the smallest y.
        prediction: (K, H, W) probabilities in [0, 1] (after the sigmoid).
        names: of the K classes.

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
    line_px = _TOP_PX + 2 * rows_px + _PAIR_GAP_PX
    lines = -(-len(names) // per_line)
    width, height = _LEFT_PX + per_line * (_MAP_PX + _GAP_PX) + _SCALE_PX, max(1, lines) * line_px + _GAP_PX
    figure = new_figure(width, height)

    def axes_at(left: int, top: int, size: tuple[int, int]) -> Any:
        bottom = height - top - size[1]
        return figure.add_axes((left / width, bottom / height, size[0] / width, size[1] / height))

    for k, name in enumerate(names):
        line, place = divmod(k, per_line)
        left, top = _LEFT_PX + place * (_MAP_PX + _GAP_PX), line * line_px + _TOP_PX
        pair = [axes_at(left, top + i * (rows_px + _PAIR_GAP_PX), (_MAP_PX, rows_px)) for i in range(2)]
        _draw_pair(pair, maps[0][k], maps[1][k], name)
        if place == 0:
            for axes, kind in zip(pair, ("target", "prediction"), strict=True):
                axes.set_ylabel(kind, color=palette.INK_MUTED, fontsize=10)
    _draw_scale(axes_at(width - _SCALE_PX, _TOP_PX, (14, 2 * rows_px + _PAIR_GAP_PX)))
    return figure


def _numpy(values: Tensor | npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    # Half-precision tensors of mixed-precision training have no numpy counterpart everywhere.
    array = values.detach().float().cpu().numpy() if isinstance(values, Tensor) else values
    return np.asarray(array, dtype=np.float32)


def _draw_pair(
    pair: Sequence[Any], target: npt.NDArray[np.float32], prediction: npt.NDArray[np.float32], name: str
) -> None:
    centers = np.argwhere(target == 1)
    for axes, values in zip(pair, (target, prediction), strict=True):
        axes.imshow(values, origin="lower", cmap=_COLORMAP, vmin=0, vmax=1, interpolation="nearest", aspect="auto")
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(color=palette.GRID_LINE, linewidth=0.8)
    pair[0].set_title(name.replace("_", " "), color=palette.INK, fontsize=11, weight="bold", loc="left", pad=5)
    pair[1].plot(
        centers[:, 1], centers[:, 0], "o", markersize=9, markerfacecolor="none", markeredgecolor=_RING,
        markeredgewidth=0.8, scalex=False, scaley=False,
    )  # fmt: skip
    _note(pair[0], f"{len(centers)} objects" if len(centers) != 1 else "1 object")
    _note(pair[1], f"max {prediction.max(initial=0):.2f}")


def _note(axes: Any, text: str) -> None:
    axes.text(0.03, 0.03, text, transform=axes.transAxes, color=palette.INK_MUTED, fontsize=9)


def _draw_scale(axes: Any) -> None:
    axes.imshow(np.linspace(0, 1, 256)[:, None], origin="lower", cmap=_COLORMAP, aspect="auto", extent=(0, 1, 0, 1))
    axes.set(xticks=[], yticks=[0, 0.5, 1])
    axes.yaxis.tick_right()
    axes.tick_params(colors=palette.INK_MUTED, labelsize=9, length=3)
