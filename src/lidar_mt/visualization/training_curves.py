"""Losses, scores and rate over the steps of one or more stages."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from lidar_mt.visualization import palette
from lidar_mt.visualization.figure import new_figure

_LINES = ("#7fd1ff", "#fc9719", "#72de83", "#ff8fd0", "#ffed5f")
_SMOOTHED = 25
#: Lines of so many points are drawn as they are.
_UNSMOOTHED = 2 * _SMOOTHED


def draw_training_curves(
    charts: Mapping[str, Mapping[str, Sequence[tuple[int, float]]]], title: str, exact: Collection[str] = ()
) -> Figure:
    """Draws one chart beside the other.

    Args:
        charts: title of a chart -> name of a line -> (step, value) in order. Long lines are smoothed, with the raw
            values behind them; a single value is a point.
        title: above all.
        exact: charts whose lines are drawn as they are: a smoothed schedule has other peaks and ends.
    """
    figure = new_figure(420 * max(1, len(charts)), 360)
    figure.suptitle(title, color=palette.INK, fontsize=11)
    for index, (name, lines) in enumerate(charts.items()):
        axes = figure.add_subplot(1, len(charts), index + 1)
        axes.set_facecolor(palette.PANEL)
        smooth = name not in exact and any(len(points) > _UNSMOOTHED for points in lines.values())
        title_of = f"{name}, mean of {_SMOOTHED} points" if smooth else name
        axes.set_title(title_of, color=palette.INK, fontsize=10)
        axes.tick_params(colors=palette.INK_MUTED, labelsize=8)
        axes.grid(color=palette.GRID_LINE, alpha=0.4, linewidth=0.6)
        axes.set_xlabel("step", color=palette.INK_MUTED, fontsize=8)
        for spine in axes.spines.values():
            spine.set_color(palette.GRID_LINE)
        for (line, points), colour in zip(lines.items(), _LINES, strict=False):
            _draw_line(axes, line, points, colour, smooth)
        axes.set_xlim(left=0)
        if len(lines) > 1:
            axes.legend(fontsize=8, facecolor=palette.PANEL, edgecolor=palette.GRID_LINE, labelcolor=palette.INK)
    figure.subplots_adjust(left=0.14 / max(1, len(charts)) + 0.01, right=0.99, bottom=0.14, top=0.84, wspace=0.25)
    return figure


def _draw_line(axes: object, name: str, points: Sequence[tuple[int, float]], colour: str, smooth: bool) -> None:
    steps, values = np.array([p[0] for p in points]), np.array([p[1] for p in points], float)
    plot = axes.plot  # type: ignore[attr-defined]
    if not smooth or len(values) <= _UNSMOOTHED:
        size = 6 if len(values) == 1 else 3 if len(values) < 30 else 0
        plot(steps, values, color=colour, label=name, linewidth=1.5, marker="o" if size else None, ms=size)
        return
    kernel = np.ones(_SMOOTHED) / _SMOOTHED
    padded = np.pad(values, (_SMOOTHED // 2, _SMOOTHED - 1 - _SMOOTHED // 2), mode="edge")
    plot(steps, values, color=colour, alpha=0.25, linewidth=0.7)
    plot(steps, np.convolve(padded, kernel, mode="valid"), color=colour, label=name, linewidth=1.6)
