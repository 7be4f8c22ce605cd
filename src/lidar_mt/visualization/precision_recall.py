"""Precision over recall for each class, one line per matching distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lidar_mt.metrics.curve_file import Curves, PrecisionRecall
from lidar_mt.visualization import palette
from lidar_mt.visualization.figure import new_figure

_PANEL_PX, _GAP_X_PX, _GAP_Y_PX, _LEFT_PX, _TOP_PX, _BOTTOM_PX, _RIGHT_PX = 250, 26, 46, 72, 68, 52, 150
_PER_LINE = 5
# From strict to lenient: dark to light and less to more broken, so that neither colour nor sharp eyes are needed.
_LINES = (("#3f7fd0", "-"), ("#4fb3bf", "--"), ("#c9d36b", "-."), ("#fff3a3", ":"))


def draw_precision_recall(
    curves: Curves,
    names: Sequence[str],
    average_precision: Mapping[str, float] | None = None,
    score_threshold: float = 0.3,
    title: str = "",
) -> Figure:
    """Draws one panel per class; dots mark where the score falls below the threshold that pictures are drawn with.

    Args:
        curves: by class name and matching distance [m].
        names: classes to draw, in this order; one without curves gets an empty panel.
        average_precision: AP of each class, 0 to 1, written beside its name.
        score_threshold: score of the dots.
        title: text above the picture.

    Returns:
        A figure for `save_figure` or `to_image_tensor`.
    """
    per_line = min(_PER_LINE, max(1, len(names)))
    lines = max(1, -(-len(names) // per_line))
    width = _LEFT_PX + per_line * (_PANEL_PX + _GAP_X_PX) + _RIGHT_PX
    height = _TOP_PX + lines * (_PANEL_PX + _GAP_Y_PX) + _BOTTOM_PX - _GAP_Y_PX
    figure = new_figure(width, height)
    distances = sorted({distance for _, distance in curves})
    for k, name in enumerate(names):
        line, place = divmod(k, per_line)
        left, top = _LEFT_PX + place * (_PANEL_PX + _GAP_X_PX), _TOP_PX + line * (_PANEL_PX + _GAP_Y_PX)
        axes = figure.add_axes((left / width, 1 - (top + _PANEL_PX) / height, _PANEL_PX / width, _PANEL_PX / height))
        _dress(axes, is_left=place == 0, is_bottom=k + per_line >= len(names))
        for i, distance in enumerate(distances):
            if (name, distance) in curves:
                _draw_line(axes, curves[name, distance], _LINES[i % len(_LINES)], score_threshold)
        average = (
            ""
            if average_precision is None or name not in average_precision
            else (f"  AP {100 * average_precision[name]:.1f} %")
        )
        axes.set_title(
            name.replace("_", " ") + average, color=palette.INK, fontsize=10, weight="bold", loc="left", pad=5
        )
    _write_legend(figure, (width, height), distances, score_threshold)
    figure.text(_LEFT_PX / width, 1 - 20 / height, title, color=palette.INK, fontsize=13, weight="bold", va="center")
    return figure


def _dress(axes: Any, *, is_left: bool, is_bottom: bool) -> None:
    ticks = [0, 0.25, 0.5, 0.75, 1]
    axes.set(facecolor=palette.PANEL, xlim=(0, 1), ylim=(0, 1.02), xticks=ticks, yticks=ticks)
    axes.grid(color=palette.GRID_LINE, linewidth=0.5, alpha=0.5)
    axes.tick_params(colors=palette.INK_MUTED, labelsize=8, length=3, color=palette.GRID_LINE)
    percent = [f"{100 * tick:.0f}" for tick in ticks]
    axes.set(xticklabels=percent if is_bottom else [], yticklabels=percent if is_left else [])
    if is_bottom:
        axes.set_xlabel("recall [%]", color=palette.INK_MUTED, fontsize=10)
    if is_left:
        axes.set_ylabel("precision [%]", color=palette.INK_MUTED, fontsize=10, labelpad=1)
    for spine in axes.spines.values():
        spine.set(color=palette.GRID_LINE, linewidth=0.8)


def _draw_line(axes: Any, curve: PrecisionRecall, line: tuple[str, str], score_threshold: float) -> None:
    color, style = line
    # Beyond the highest recall that was reached both are 0: the line ends where the detector does.
    reached = np.flatnonzero(curve.confidence > 0)
    if not len(reached):
        return
    end = reached[-1] + 1
    axes.plot(curve.recall[:end], curve.precision[:end], color=color, linestyle=style, linewidth=1.6)
    above = np.flatnonzero(curve.confidence >= score_threshold)
    if len(above):
        at = above[-1]
        axes.plot(curve.recall[at], curve.precision[at], "o", color=color, markersize=5, markeredgecolor=palette.PANEL)


def _write_legend(figure: Figure, size_px: tuple[int, int], distances: Sequence[float], score_threshold: float) -> None:
    width, height = size_px
    box = (1 - (_RIGHT_PX - 4) / width, 1 - (_TOP_PX + 200) / height, (_RIGHT_PX - 10) / width, 200 / height)
    axes: Any = figure.add_axes(box)
    axes.axis("off")
    axes.set(xlim=(0, _RIGHT_PX - 10), ylim=(200, 0))
    axes.text(0, 8, "centres within", color=palette.INK_MUTED, fontsize=10, va="center")
    for i, distance in enumerate(distances):
        color, style = _LINES[i % len(_LINES)]
        y = 32 + 24 * i
        axes.plot([0, 34], [y, y], color=color, linestyle=style, linewidth=1.8)
        axes.text(44, y, f"{distance:g} m", color=palette.INK, fontsize=10, va="center")
    y = 44 + 24 * len(distances)
    axes.plot([17], [y], "o", color=palette.INK, markersize=5)
    axes.text(44, y, f"score {score_threshold:g}", color=palette.INK, fontsize=10, va="center")
