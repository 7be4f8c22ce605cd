"""The column beside a bird's-eye view: classes with counts, what the layers mean, the height scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.patches import Rectangle

from lidar_mt.visualization import palette

WIDTH_PX = 264
#: Room for ten classes, two surfaces with their mistakes and the height scale.
MIN_HEIGHT_PX = 580
_LINE_PX = 24
_SWATCH_PX = 14
_TEXT_X_PX = 26


class Legend:
    """Writes lines from top to bottom into axes measured in pixels.

    Args:
        axes: matplotlib axes of `WIDTH_PX` x `height_px` pixels.
        height_px: height of the axes [px].
    """

    def __init__(self, axes: Any, height_px: int) -> None:
        axes.set_xlim(0, WIDTH_PX)
        axes.set_ylim(height_px, 0)
        axes.axis("off")
        self._axes = axes
        self._height_px = height_px
        self._y = 10.0

    def heading(self, text: str, columns: Sequence[str] = ()) -> None:
        """A small muted heading, with the titles of the number columns at the right."""
        self._y += 0 if self._y < _LINE_PX else 0.7 * _LINE_PX
        self._text(0, text, color=palette.INK_MUTED)
        self._columns(columns, palette.INK_MUTED)
        self._y += _LINE_PX

    def row(self, text: str, color: str, columns: Sequence[str] = (), *, outline: bool = False) -> None:
        """A colour swatch (filled, or only its outline), a text and numbers at the right."""
        face = "none" if outline else color
        self._swatch(_SWATCH_PX, _SWATCH_PX, facecolor=face, edgecolor=color, linewidth=1.0)
        self._text(_TEXT_X_PX, text)
        self._columns(columns, palette.INK)
        self._y += _LINE_PX

    def note(self, text: str, columns: Sequence[str]) -> None:
        """A muted line under the class rows, aligned with them."""
        self._text(_TEXT_X_PX, text, color=palette.INK_MUTED)
        self._columns(columns, palette.INK_MUTED)
        self._y += _LINE_PX

    def height_scale(self) -> None:
        """The colours of the points by height."""
        low, high = palette.HEIGHT_RANGE_M
        ramp = palette.height_colors(np.linspace(low, high, 200))[None]
        top = self._y - _SWATCH_PX / 2
        extent = (0, WIDTH_PX, top + _SWATCH_PX, top)
        self._axes.imshow(ramp, extent=extent, aspect="auto", interpolation="nearest")
        self._y += _LINE_PX
        self._text(0, f"{low:g} m", color=palette.INK_MUTED)
        self._text(WIDTH_PX, f"{high:g} m", color=palette.INK_MUTED, align="right")
        self._y += _LINE_PX
        # imshow resets the limits to the image's extent.
        self._axes.set_xlim(0, WIDTH_PX)
        self._axes.set_ylim(self._height_px, 0)

    def _swatch(self, width: float, height: float, **style: Any) -> None:
        self._axes.add_patch(Rectangle((0.5, self._y - height / 2), width, height, **style))

    def _columns(self, columns: Sequence[str], color: str) -> None:
        for i, text in enumerate(reversed(columns)):
            self._text(WIDTH_PX - 50 * i, text, color=color, align="right")

    def _text(self, x: float, text: str, color: str = palette.INK, align: str = "left") -> None:
        self._axes.text(x, self._y, text, color=color, fontsize=10, ha=align, va="center")
