"""Precision and errors over recall, class by class."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from lidar_mt.metrics.detection_curves import Curve, Curves, average_precision
from lidar_mt.metrics.detection_protocol import (
    DISTANCES_M,
    ERROR_NAMES,
    MIN_PRECISION,
    MIN_RECALL,
    TP_DISTANCE_M,
    UNDEFINED_ERRORS,
)
from lidar_mt.visualization import palette
from lidar_mt.visualization.figure import new_figure

_WIDTH_PX, _HEIGHT_PX = 1100, 480
_ERROR_TITLES = dict(
    zip(
        ERROR_NAMES,
        ("translation [m]", "scale [1-IoU]", "orientation [rad]", "velocity [m/s]", "attribute [1-acc]"),
        strict=True,
    )
)
#: Widest and most forgiving last.
_DISTANCE_ALPHA = (0.35, 0.55, 1.0, 0.75)
_ERROR_COLORS = ("#7fd1ff", "#d9f25a", "#ff8fd0", "#ffc27a", "#c9a0ff")


def draw_class_curves(curves: Curves, name: str) -> Figure:
    """Precision over recall at every matching distance, beside the errors of the matches within 2 m.

    Args:
        curves: of an evaluation.
        name: detection class.

    Returns:
        A figure for `save_figure`.
    """
    figure = new_figure(_WIDTH_PX, _HEIGHT_PX)
    left = _axes(figure, (0.06, 0.13, 0.4, 0.72), "recall", "precision")
    _shade_what_does_not_count(left)
    color = palette.class_colors([name])[0]
    for distance, alpha in zip(DISTANCES_M, _DISTANCE_ALPHA, strict=True):
        curve = curves[name, distance]
        width = 2.4 if distance == TP_DISTANCE_M else 1.4
        label = f"{distance:g} m   AP {100 * average_precision(curve):.1f} %"
        left.plot(curve.recall, curve.precision, color=color, alpha=alpha, linewidth=width, label=label)
    left.set_ylim(0, 1.02)
    _legend(left)
    right = _axes(figure, (0.56, 0.13, 0.4, 0.72), "recall", "mean error up to here")
    _draw_errors(right, curves[name, TP_DISTANCE_M], UNDEFINED_ERRORS.get(name, ()))
    figure.text(0.06, 0.92, name, color=palette.INK, fontsize=13, fontweight="bold")
    figure.text(0.56, 0.92, f"matches within {TP_DISTANCE_M:g} m", color=palette.INK_MUTED, fontsize=10)
    return figure


def draw_precision_recall(curves: Curves, distance_m: float = TP_DISTANCE_M) -> Figure:
    """Precision over recall of all classes at one matching distance.

    Args:
        curves: of an evaluation.
        distance_m: one of the matching distances [m].

    Returns:
        A figure for `save_figure`.
    """
    figure = new_figure(800, 560)
    axes = _axes(figure, (0.09, 0.11, 0.56, 0.77), "recall", "precision")
    _shade_what_does_not_count(axes)
    names = [name for name, distance in curves if distance == distance_m]
    for name, color in zip(names, palette.class_colors(names), strict=True):
        curve = curves[name, distance_m]
        label = f"{name}   {100 * average_precision(curve):.1f} %"
        axes.plot(curve.recall, curve.precision, color=color, linewidth=1.8, label=label)
    axes.set_ylim(0, 1.02)
    _legend(axes, bbox_to_anchor=(1.02, 1.0), loc="upper left")
    title = f"precision over recall, matches within {distance_m:g} m"
    figure.text(0.09, 0.93, title, color=palette.INK, fontsize=12, fontweight="bold")
    return figure


def _axes(figure: Figure, place: tuple[float, float, float, float], x: str, y: str) -> Any:
    axes = figure.add_axes(place, facecolor=palette.PANEL)
    axes.set_xlim(0, 1)
    axes.set_xlabel(x, color=palette.INK_MUTED)
    axes.set_ylabel(y, color=palette.INK_MUTED)
    axes.tick_params(colors=palette.INK_MUTED)
    axes.grid(color=palette.GRID_LINE, linewidth=0.5, alpha=0.5)
    for spine in axes.spines.values():
        spine.set_color(palette.GRID_LINE)
    return axes


def _shade_what_does_not_count(axes: Any) -> None:
    axes.axvspan(0, MIN_RECALL, color=palette.BACKGROUND, alpha=0.8, linewidth=0)
    axes.axhspan(0, MIN_PRECISION, color=palette.BACKGROUND, alpha=0.8, linewidth=0)


def _draw_errors(axes: Any, curve: Curve, undefined: tuple[str, ...]) -> None:
    reached = slice(0, curve.max_recall_index + 1)
    axes.axvspan(0, MIN_RECALL, color=palette.BACKGROUND, alpha=0.8, linewidth=0)
    if curve.max_recall_index == 0:
        axes.text(0.5, 0.5, "no match", color=palette.INK_MUTED, ha="center", transform=axes.transAxes)
        return
    for error, color in zip(ERROR_NAMES, _ERROR_COLORS, strict=True):
        if error not in undefined:
            values = getattr(curve, error)[reached]
            axes.plot(curve.recall[reached], values, color=color, linewidth=1.6, label=_ERROR_TITLES[error])
    axes.set_ylim(bottom=0)
    _legend(axes)


def _legend(axes: Any, **where: Any) -> None:
    axes.legend(facecolor=palette.PANEL, edgecolor=palette.GRID_LINE, labelcolor=palette.INK, fontsize=8.5, **where)
