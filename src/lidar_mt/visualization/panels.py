"""The frame of a picture: maps of equal size side by side, a title above and a legend at the right."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from lidar_mt.visualization import palette
from lidar_mt.visualization.figure import new_figure
from lidar_mt.visualization.legend import MIN_HEIGHT_PX as LEGEND_MIN_PX
from lidar_mt.visualization.legend import WIDTH_PX as LEGEND_PX
from lidar_mt.visualization.legend import Legend

_LEFT_PX, _RIGHT_PX, _TOP_PX, _BOTTOM_PX, _GAP_PX = 60, 20, 56, 50, 28


def map_panels(map_shape: tuple[int, ...], count: int, title: str) -> tuple[Figure, list[Any], Legend]:
    """A figure with maps of exactly `map_shape` pixels side by side and a legend at the right.

    Args:
        map_shape: rows and columns of a map [px].
        count: how many maps.
        title: text above them.

    Returns:
        The figure, the axes of the maps from left to right, and the legend.
    """
    rows, columns = map_shape[:2]
    width = _LEFT_PX + count * columns + count * _GAP_PX + LEGEND_PX + _RIGHT_PX
    legend_rows = max(rows, LEGEND_MIN_PX)
    height = _TOP_PX + legend_rows + _BOTTOM_PX
    figure = new_figure(width, height)

    def axes_at(left: int, size: tuple[int, int]) -> Any:
        bottom = height - _TOP_PX - size[1]
        return figure.add_axes((left / width, bottom / height, size[0] / width, size[1] / height))

    maps = [axes_at(_LEFT_PX + i * (columns + _GAP_PX), (columns, rows)) for i in range(count)]
    legend = Legend(axes_at(width - LEGEND_PX - _RIGHT_PX, (LEGEND_PX, legend_rows)), legend_rows)
    figure.text(
        _LEFT_PX / width, 1 - _TOP_PX / 2 / height, title, color=palette.INK, fontsize=13, weight="bold", va="center"
    )
    return figure, maps, legend
