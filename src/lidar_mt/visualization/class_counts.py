"""How often an epoch shows each class, as bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from lidar_mt.visualization import palette
from lidar_mt.visualization.figure import new_figure

_WIDTH_PX, _ROW_PX, _FRAME_PX = 900, 44, 130
_BAR = 0.38


def draw_class_counts(names: Sequence[str], before: npt.NDArray[Any], after: npt.NDArray[Any], title: str) -> Figure:
    """Two bars per class on a logarithmic axis: class-balanced in the class's colour above, plain in grey below.

    Args:
        names: C class names.
        before: (C,) counts of the split as it is.
        after: (C,) counts of one class-balanced epoch.
        title: above the plot.

    Returns:
        A figure for `save_figure`.
    """
    height = _FRAME_PX + _ROW_PX * len(names)
    figure = new_figure(_WIDTH_PX, height)
    axes = figure.add_axes((0.2, 70 / height, 0.7, 1 - _FRAME_PX / height), facecolor=palette.PANEL)
    axes.set_xscale("log")
    axes.set_xlim(1, max(10, before.max(initial=0), after.max(initial=0)) * 2.5)
    rows = np.arange(len(names))
    for counts, offset, colors in (
        (before, _BAR / 2, [palette.INK_MUTED] * len(names)),
        (after, -_BAR / 2, list(palette.class_colors(names))),
    ):
        axes.barh(rows + offset, counts, _BAR, color=colors)
        for row, count in zip(rows, counts.tolist(), strict=True):
            axes.text(max(count, 1) * 1.06, row + offset, f"{count:,}", va="center", color=palette.INK, fontsize=8)
    axes.set_yticks(rows, names)
    axes.invert_yaxis()
    axes.tick_params(colors=palette.INK_MUTED)
    axes.grid(axis="x", color=palette.GRID_LINE, linewidth=0.5, alpha=0.6)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.text(0.02, 1 - 34 / height, title, color=palette.INK, fontsize=12, fontweight="bold")
    note = "upper bar: class-balanced (CBGS)    lower bar: the split as it is    logarithmic axis"
    figure.text(0.02, 16 / height, note, color=palette.INK_MUTED, fontsize=9)
    return figure
