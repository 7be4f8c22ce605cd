"""Colours: one place for what a class, a point and a surface look like.

Warm colours are vehicles, violet and pink two-wheelers, blue people, grey and green things that stand, as in the
nuScenes renderings. The class colours were tuned so that any two stay apart (20 units of CIE Lab or more) for
readers with normal sight, protanopia, deuteranopia and tritanopia.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Rgb = npt.NDArray[np.uint8]

BACKGROUND = "#0d1118"
PANEL = "#141a24"
GRID_LINE = "#4b5a70"
INK = "#e9eef5"
INK_MUTED = "#93a0b4"
TRUTH = "#ffffff"
MISSED = "#ff3d7f"
FALSE_ALARM = "#ffd166"

CLASS_COLORS = {
    "car": "#fc9719",
    "truck": "#e14612",
    "construction_vehicle": "#b17548",
    "bus": "#ffed5f",
    "trailer": "#f8bdba",
    "barrier": "#a0abc1",
    "motorcycle": "#f44d92",
    "bicycle": "#9e70ff",
    "pedestrian": "#3c92d6",
    "traffic_cone": "#72de83",
}

#: Surfaces are drawn translucent below the points. "others" is the absence of a surface and is left dark.
SURFACE_COLORS = {"driveable_surface": "#00b8a9"}
UNDRAWN_SURFACES = frozenset({"others", "background"})

#: For classes that a user adds; taken in order.
EXTRA_COLORS = ("#7fd1ff", "#d9f25a", "#ff8fd0", "#5ad1b3", "#c9a0ff", "#ffc27a", "#8fa8ff", "#e0e0e0")

#: Dim to bright with height [m] in the LiDAR frame, whose origin is about 1.8 m above the road.
HEIGHT_STOPS_M = (-2.5, -1.4, 0.0, 3.0)
HEIGHT_COLORS = ("#3f5170", "#647b9d", "#8fa5c2", "#c3d0e2")
HEIGHT_RANGE_M = (HEIGHT_STOPS_M[0], HEIGHT_STOPS_M[-1])


def rgb(color: str) -> Rgb:
    """Reads a colour of the form "#rrggbb".

    Returns:
        (3,) uint8 red, green, blue.

    Example:
        >>> rgb("#ff8000").tolist()
        [255, 128, 0]
    """
    return np.frombuffer(bytes.fromhex(color.removeprefix("#")), dtype=np.uint8)


def class_colors(names: Sequence[str]) -> tuple[str, ...]:
    """Colour of each detection class, "#rrggbb"; names that the palette does not know take the extra colours."""
    return _assign(names, CLASS_COLORS)


def surface_colors(names: Sequence[str]) -> tuple[str | None, ...]:
    """Colour of each segmentation class, "#rrggbb"; None for a class that is not drawn."""
    colors = iter(_assign([name for name in names if name not in UNDRAWN_SURFACES], SURFACE_COLORS))
    return tuple(None if name in UNDRAWN_SURFACES else next(colors) for name in names)


def height_colors(z_m: npt.NDArray[Any]) -> Rgb:
    """Colours points by height, dark (low) to light (high).

    Args:
        z_m: (P,) height in the LiDAR frame [m]; beyond `HEIGHT_RANGE_M` the end colours are used.

    Returns:
        (P, 3) uint8.
    """
    stops = np.stack([rgb(color) for color in HEIGHT_COLORS])
    channels = [np.interp(z_m, HEIGHT_STOPS_M, stops[:, i]) for i in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def _assign(names: Sequence[str], known: dict[str, str]) -> tuple[str, ...]:
    unknown = [name for name in names if name not in known]
    extra = {name: EXTRA_COLORS[i % len(EXTRA_COLORS)] for i, name in enumerate(unknown)}
    return tuple(known[name] if name in known else extra[name] for name in names)
