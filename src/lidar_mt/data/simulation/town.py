r"""The ground of one scene: a main road with cross streets, sidewalks and plots, gently bent and uneven.

The layout is drawn straight, in street coordinates (u along the main road, v to its left), and bent afterwards:

    x = u,   y = v + bend(u)        town frame, z up; the road rises and falls by a few centimetres
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lidar_mt.data.simulation.taxonomy import SURFACE_CODE, SURFACE_RAISED

Float64 = npt.NDArray[np.float64]
Rng = np.random.Generator

#: Raster cell of the surface map [m]; the same as the map masks' pixel.
CELL = 0.1
#: Cell of the height map [m].
HEIGHT_CELL = 0.5
#: Height of kerbs, sidewalks and terrain above the road [m].
KERB = 0.15
#: Half extent of the modelled ground across the road, and its reach before and beyond the drive [m].
REACH = 110.0
#: The ego enters this far before u = 0 at most [m]: traffic runs for a few seconds before the scene begins.
LEAD_IN = 60.0


@dataclass(frozen=True)
class Street:
    """Cross-section and crossings of the main road.

    Attributes:
        start, end: modelled range of u [m].
        drive_end: where the ego can get to [m]; it starts between -LEAD_IN and 0.
        lanes: lanes per direction.
        lane, bike, parking, sidewalk: widths [m].
        median: width of the raised strip between the directions [m]; 0 for none.
        side: -1 for right-hand traffic, +1 for left-hand traffic: the sign of v of the lanes along +u.
        crossings: u of the cross streets' centre lines.
        cross_half: half width of a cross street's carriageway [m].
    """

    start: float
    end: float
    drive_end: float
    lanes: int
    lane: float
    bike: float
    parking: float
    sidewalk: float
    median: float
    side: int
    crossings: tuple[float, ...]
    cross_half: float

    @property
    def lanes_edge(self) -> float:
        """Distance of the outer lane's edge from the centre line [m]."""
        return self.median / 2 + self.lanes * self.lane

    @property
    def kerb(self) -> float:
        """Distance of the kerb from the centre line [m]."""
        return self.lanes_edge + self.bike + self.parking

    @property
    def frontage(self) -> float:
        """Distance of the plots from the centre line [m]."""
        return self.kerb + self.sidewalk

    def lane_centre(self, index: int, direction: int) -> float:
        """Position v of a lane's centre; index 0 is the inner lane, direction +1 or -1 along u."""
        return self.side * direction * (self.median / 2 + (index + 0.5) * self.lane)

    def near_crossing(self, u: float, clearance: float) -> bool:
        """Whether u is within `clearance` [m] of a cross street's kerb."""
        return any(abs(u - crossing) < self.cross_half + clearance for crossing in self.crossings)


def draw_street(drive: float, rng: Rng) -> Street:
    """Draws a street for an ego that drives at most `drive` metres."""
    lanes = int(rng.choice([1, 2], p=[0.45, 0.55]))
    crossings = []
    u = rng.uniform(-100, -60)
    while u < drive + 80:
        crossings.append(float(u))
        u += rng.uniform(75, 115)
    return Street(
        start=-REACH - LEAD_IN,
        end=drive + REACH,
        drive_end=drive,
        lanes=lanes,
        lane=rng.uniform(3.3, 3.7),
        bike=rng.uniform(1.5, 1.8),
        parking=rng.uniform(2.7, 3.0),
        sidewalk=rng.uniform(3.2, 5.5),
        median=rng.uniform(1.2, 2.2) if lanes == 2 and rng.random() < 0.5 else 0.0,
        side=int(rng.choice([-1, 1])),
        crossings=tuple(crossings),
        cross_half=rng.uniform(5.8, 6.6),
    )


@dataclass(frozen=True)
class Ground:
    """Surface, height and bend of a town, as rasters.

    Attributes:
        street: the layout.
        surface: (U, V) uint8 surface codes at `CELL`, in street coordinates.
        heights: (U', V') float32 height above the mean road [m] at `HEIGHT_CELL`, without the kerb.
        bend: (U,) float32 bend(u) [m] at `CELL`.
        slope: (U,) float32 derivative of the bend at `CELL`.
    """

    street: Street
    surface: npt.NDArray[np.uint8]
    heights: npt.NDArray[np.float32]
    bend: npt.NDArray[np.float32]
    slope: npt.NDArray[np.float32]

    def cells(self, u: npt.NDArray[np.floating[Any]], v: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.int32]:
        """Flat indices into `surface`; positions outside take the nearest cell."""
        row = ((u - self.street.start) * (1 / CELL)).astype(np.int32).clip(0, self.surface.shape[0] - 1)
        column = ((v + REACH) * (1 / CELL)).astype(np.int32).clip(0, self.surface.shape[1] - 1)
        cells: npt.NDArray[np.int32] = row * np.int32(self.surface.shape[1]) + column
        return cells

    def height_at(self, u: npt.NDArray[np.floating[Any]], v: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
        """Height of the road level [m] at street coordinates, without the kerb."""
        row = ((u - self.street.start) * (1 / HEIGHT_CELL)).astype(np.int32).clip(0, self.heights.shape[0] - 1)
        column = ((v + REACH) * (1 / HEIGHT_CELL)).astype(np.int32).clip(0, self.heights.shape[1] - 1)
        height: npt.NDArray[np.float32] = self.heights.ravel()[row * np.int32(self.heights.shape[1]) + column]
        return height

    def bend_at(self, u: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
        """bend(u) [m]."""
        row = ((u - self.street.start) * (1 / CELL)).astype(np.int32).clip(0, len(self.bend) - 1)
        bend: npt.NDArray[np.float32] = self.bend[row]
        return bend

    def to_town(self, track: Float64) -> Float64:
        """Bends street poses into the town frame and puts them on the ground.

        Args:
            track: (N, 3) float64 u, v, heading in street coordinates.

        Returns:
            (N, 4) float64 x, y, z, yaw.
        """
        u, v, heading = track.T
        grid = self.street.start + CELL * (np.arange(len(self.bend)) + 0.5)
        bend, slope = np.interp(u, grid, self.bend), np.interp(u, grid, self.slope)
        yaw = np.arctan2(np.sin(heading) + slope * np.cos(heading), np.cos(heading))
        raised = SURFACE_RAISED[self.surface.ravel()[self.cells(u, v)]]
        # A smooth height, or the raster's steps would shake whatever drives over it.
        z = self._smooth_height(u, v) + KERB * raised
        return np.stack([u, v + bend, z, yaw], axis=1)

    def _smooth_height(self, u: Float64, v: Float64) -> Float64:
        row = ((u - self.street.start) / HEIGHT_CELL - 0.5).clip(0, self.heights.shape[0] - 1.001)
        column = ((v + REACH) / HEIGHT_CELL - 0.5).clip(0, self.heights.shape[1] - 1.001)
        r, c = row.astype(int), column.astype(int)
        fr, fc = row - r, column - c
        h = self.heights
        upper = h[r, c] * (1 - fc) + h[r, c + 1] * fc
        lower = h[r + 1, c] * (1 - fc) + h[r + 1, c + 1] * fc
        return np.asarray(upper * (1 - fr) + lower * fr, dtype=np.float64)


def build_ground(street: Street, plots: list[tuple[str, float, float, float, float]], rng: Rng) -> Ground:
    """Rasterizes the street.

    Args:
        street: the layout.
        plots: surface name and u0, u1, v0, v1 [m] of areas beside the road, painted in this order.
        rng: draws the bend and the unevenness.
    """
    rows, columns = round((street.end - street.start) / CELL), round(2 * REACH / CELL)
    surface = np.full((rows, columns), SURFACE_CODE["grass"], dtype=np.uint8)
    paint = _Painter(surface, street.start)
    _paint_streets(paint, street)
    for name, u0, u1, v0, v1 in plots:
        paint(name, u0, u1, v0, v1)
    _paint_markings(paint, street)
    u = street.start + CELL * (np.arange(rows) + 0.5)
    bend, slope = _draw_bend(u, rng)
    return Ground(street, surface, _draw_heights(street, rng), bend, slope)


class _Painter:
    """Fills rectangles of the surface raster."""

    def __init__(self, surface: npt.NDArray[np.uint8], start: float) -> None:
        self._surface, self._start = surface, start

    def __call__(self, name: str, u0: float, u1: float, v0: float, v1: float) -> None:
        rows = slice(max(0, round((u0 - self._start) / CELL)), max(0, round((u1 - self._start) / CELL)))
        columns = slice(max(0, round((v0 + REACH) / CELL)), max(0, round((v1 + REACH) / CELL)))
        self._surface[rows, columns] = SURFACE_CODE[name]


def _paint_streets(paint: _Painter, street: Street) -> None:
    start, end = street.start, street.end
    for side in (-1, 1):
        low, high = sorted((side * street.kerb, side * street.frontage))
        paint("concrete", start, end, low, high)
    for crossing in street.crossings:
        paint("concrete", crossing - street.cross_half - 3, crossing + street.cross_half + 3, -REACH, REACH)
    paint("asphalt", start, end, -street.kerb, street.kerb)
    if street.median:
        paint("island", start, end, -street.median / 2, street.median / 2)
    for crossing in street.crossings:
        paint("asphalt", crossing - street.cross_half, crossing + street.cross_half, -REACH, REACH)
        clear = street.cross_half + 6.5  # crosswalks pass through the median
        paint("asphalt", crossing - clear, crossing + clear, -street.kerb, street.kerb)


def _paint_markings(paint: _Painter, street: Street) -> None:
    edges = [street.lanes_edge, street.lanes_edge + street.bike]
    for side in (-1, 1):
        for edge in edges:
            _dashes(paint, street, side * edge, 1.0, 0.0)
        for index in range(1, street.lanes):
            _dashes(paint, street, side * (street.median / 2 + index * street.lane), 3.0, 6.0)
    if not street.median:
        _dashes(paint, street, 0.0, 1.0, 0.0)
    for crossing in street.crossings:
        _zebras(paint, street, crossing)


def _dashes(paint: _Painter, street: Street, v: float, dash: float, gap: float) -> None:
    u = street.start
    while u < street.end:
        if not street.near_crossing(u, 7.0):
            paint("marking", u, u + dash, v - 0.07, v + 0.08)
        u += dash + gap


def _zebras(paint: _Painter, street: Street, crossing: float) -> None:
    half = street.cross_half
    for side in (-1, 1):
        near, far = sorted((crossing + side * (half + 1.5), crossing + side * (half + 4.5)))
        for v in np.arange(-street.kerb + 0.5, street.kerb - 0.5, 1.1):
            paint("marking", near, far, v, v + 0.5)
        stop = crossing + side * (half + 5.7)
        inbound = sorted((0.0, street.side * -side * street.lanes_edge))
        paint("marking", stop - 0.2, stop + 0.2, inbound[0], inbound[1])
        near, far = sorted((side * (street.kerb + 0.3), side * (street.kerb + 2.8)))
        for u in np.arange(crossing - half + 0.5, crossing + half - 0.5, 1.1):
            paint("marking", u, u + 0.5, near, far)


def _draw_bend(u: Float64, rng: Rng) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    bend, slope = np.zeros_like(u), np.zeros_like(u)
    for wavelength, amplitude in (
        (rng.uniform(260, 420), rng.uniform(0, 8)),
        (rng.uniform(120, 200), rng.uniform(0, 1.5)),
    ):
        k, phase = 2 * np.pi / wavelength, rng.uniform(0, 2 * np.pi)
        bend += amplitude * np.sin(k * u + phase)
        slope += amplitude * k * np.cos(k * u + phase)
    return bend.astype(np.float32), slope.astype(np.float32)


def _draw_heights(street: Street, rng: Rng) -> npt.NDArray[np.float32]:
    u = street.start + HEIGHT_CELL * (np.arange(round((street.end - street.start) / HEIGHT_CELL)) + 0.5)
    v = -REACH + HEIGHT_CELL * (np.arange(round(2 * REACH / HEIGHT_CELL)) + 0.5)
    height = np.zeros((len(u), len(v)))
    # Slopes stay below 1 %, so that the ray solver's fixed point converges for the flattest beams that see ground.
    for wavelength, amplitude in ((140.0, 0.10), (60.0, 0.035), (17.0, 0.008)):
        angle, phase = rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi)
        k = 2 * np.pi / (wavelength * rng.uniform(0.8, 1.2))
        height += amplitude * np.sin(k * (np.cos(angle) * u[:, None] + np.sin(angle) * v[None]) + phase)
    return height.astype(np.float32)
