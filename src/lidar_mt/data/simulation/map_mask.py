"""The raster map of a scene: where one can drive or walk, in the global frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from lidar_mt.data.simulation.taxonomy import SURFACE_CODE
from lidar_mt.data.simulation.town import CELL, REACH, Ground

Float64 = npt.NDArray[np.float64]

_PRIOR = np.zeros(len(SURFACE_CODE), dtype=np.uint8)
_PRIOR[[SURFACE_CODE[name] for name in ("asphalt", "marking", "concrete")]] = 255
_MARGIN = 5.0


@dataclass(frozen=True)
class GlobalFrame:
    """Where a town lies in the global frame, whose origin is the lower left corner of its map.

    Attributes:
        yaw: rotation of the town [rad].
        offset: x, y of the town's origin [m].
        size: extent of the map along x and y [m].
    """

    yaw: float
    offset: tuple[float, float]
    size: tuple[float, float]

    def to_global(self, xy: Float64) -> Float64:
        """Moves (N, 2) town positions [m] into the global frame."""
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        out: Float64 = xy @ np.array([[cos, sin], [-sin, cos]]) + np.array(self.offset)
        return out


def draw_global_frame(ground: Ground, rng: np.random.Generator) -> GlobalFrame:
    """Turns the town at random and moves it so that all of it has positive coordinates."""
    yaw = float(rng.uniform(-np.pi, np.pi))
    street, side = ground.street, REACH + float(np.abs(ground.bend).max())
    corners = np.array([[u, v] for u in (street.start, street.end) for v in (-side, side)])
    turned = GlobalFrame(yaw, (0.0, 0.0), (0.0, 0.0)).to_global(corners)
    low, high = turned.min(axis=0) - _MARGIN, turned.max(axis=0) + _MARGIN
    width, height = np.ceil(high - low)
    return GlobalFrame(yaw, (float(-low[0]), float(-low[1])), (float(width), float(height)))


def render_mask(ground: Ground, frame: GlobalFrame) -> Image.Image:
    """Draws the mask: 255 on driveable surface and sidewalks, 0 elsewhere, `CELL` metres per pixel.

    Pixel (column p, row q) is centred at x = p * CELL, y = (rows - q) * CELL, as the devkit reads it.
    """
    prior = _PRIOR[ground.surface]
    extra = int(np.ceil(np.abs(ground.bend).max() / CELL)) + 1
    bent = np.zeros((prior.shape[0], prior.shape[1] + 2 * extra), dtype=np.uint8)
    shift = np.round(ground.bend / CELL).astype(int) + extra
    for row, first in enumerate(shift):
        bent[row, first : first + prior.shape[1]] = prior[row]
    columns, rows = (round(extent / CELL) for extent in frame.size)
    # Pillow asks where each output pixel comes from: x is the column of `bent` (town y), y its row (town x).
    cos, sin = np.cos(frame.yaw), np.sin(frame.yaw)
    x0, y0 = -0.5 * CELL - frame.offset[0], (rows + 0.5) * CELL - frame.offset[1]
    town_x = np.array([cos, -sin, (cos * x0 + sin * y0 - ground.street.start) / CELL])
    town_y = np.array([-sin, -cos, (cos * y0 - sin * x0 + REACH) / CELL + extra])
    return Image.fromarray(bent).transform(
        (columns, rows), Image.Transform.AFFINE, (*town_y, *town_x), Image.Resampling.NEAREST
    )
