"""How much the rounding of each layer disturbs the outputs, as bars."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from lidar_mt.visualization import palette
from lidar_mt.visualization.figure import new_figure

_WIDTH_PX, _ROW_PX, _FRAME_PX, _LETTER_PX = 1100, 30, 150, 6.2
#: Of the tasks.
_COLORS = {"detection": palette.CLASS_COLORS["car"], "segmentation": palette.SURFACE_COLORS["driveable_surface"]}


def draw_sensitivity(
    names: Sequence[str], sqnr_db: Mapping[str, Sequence[float]], whole_db: float, title: str
) -> Figure:
    """One group of bars per layer, one bar per task: the longer, the more noise.

    Args:
        names: N layers, the most sensitive first.
        sqnr_db: (N,) SQNR of the outputs [dB] by task; infinite where the layer does not reach the task.
        whole_db: SQNR with everything rounded.
        title: above the plot.

    Returns:
        A figure for `save_figure`.
    """
    height = _FRAME_PX + _ROW_PX * len(names)
    figure = new_figure(_WIDTH_PX, height)
    left = 30 + _LETTER_PX * max(map(len, names), default=10)
    axes = figure.add_axes(
        (left / _WIDTH_PX, 90 / height, 0.96 - left / _WIDTH_PX, 1 - _FRAME_PX / height), facecolor=palette.PANEL
    )
    values = [value for row in sqnr_db.values() for value in row if math.isfinite(value)] or [0.0]
    lowest, highest = min([*values, whole_db] if math.isfinite(whole_db) else values), max(values)
    start = highest + 0.08 * max(1.0, highest - lowest)
    thickness = 0.8 / max(1, len(sqnr_db))
    for number, (row, color) in enumerate(zip(sqnr_db.values(), _colors(list(sqnr_db)), strict=True)):
        for place, value in enumerate(row):
            if math.isfinite(value):
                at = place + (number + 0.5) * thickness - 0.4
                axes.barh(at, value - start, thickness * 0.86, left=start, color=color)
                axes.annotate(
                    f"{value:.1f}", (value, at), (4, 0), textcoords="offset points", va="center", fontsize=7,
                    color=palette.INK,
                )  # fmt: skip
    # Noise grows to the right, SQNR falls.
    axes.set_xlim(start, lowest - 0.1 * max(1.0, highest - lowest))
    axes.set_ylim(len(names) - 0.4, -0.6)
    if math.isfinite(whole_db):
        axes.axvline(whole_db, color=palette.MISSED, linewidth=1.2, linestyle="--")
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.tick_params(colors=palette.INK_MUTED)
    axes.grid(axis="x", color=palette.GRID_LINE, linewidth=0.5, alpha=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("SQNR of the outputs [dB], more noise to the right", color=palette.INK_MUTED, fontsize=9)
    for spine in axes.spines.values():
        spine.set_visible(False)
    _legend(figure, list(sqnr_db), whole_db, height)
    figure.text(0.02, 1 - 30 / height, title, color=palette.INK, fontsize=12, fontweight="bold")
    return figure


def _colors(tasks: Sequence[str]) -> list[str]:
    extra = itertools.cycle(palette.EXTRA_COLORS)
    return [_COLORS.get(task) or next(extra) for task in tasks]


def _legend(figure: Figure, tasks: Sequence[str], whole_db: float, height: float) -> None:
    x = 0.02
    entries = [*zip(tasks, _colors(tasks), strict=True), (f"- - everything rounded: {whole_db:.1f} dB", palette.MISSED)]
    for task, color in entries:
        figure.text(x, 20 / height, task, color=color, fontsize=9, fontweight="bold")
        x += 0.03 + _LETTER_PX * 1.2 * len(task) / _WIDTH_PX
