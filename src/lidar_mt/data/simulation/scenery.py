"""What never moves and is not annotated: plots, buildings, trees, hedges, poles, signs, benches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from lidar_mt.data.simulation.primitives import COLUMNS, Shape, block, ellipsoid, frustum, place
from lidar_mt.data.simulation.taxonomy import MANMADE, STATIC_OTHER, VEGETATION
from lidar_mt.data.simulation.town import Ground, Street

Float64 = npt.NDArray[np.float64]
Rng = np.random.Generator

Area = tuple[str, float, float, float, float]
#: Tells whether a disc (u, v, radius) is free of actors through the whole scene.
Free = Callable[[float, float, float], bool]


@dataclass(frozen=True)
class Plot:
    """A piece of land beside the road.

    Attributes:
        kind: building, lot, park or plaza.
        side: sign of v.
        begin, end: range of u [m].
        near, far: range of |v| [m].
    """

    kind: str
    side: int
    begin: float
    end: float
    near: float
    far: float

    def area(self, surface: str, inset: float = 0.0) -> Area:
        """The plot as an area of a surface, made smaller by `inset` [m]."""
        low, high = sorted((self.side * (self.near + inset), self.side * (self.far - inset)))
        return surface, self.begin + inset, self.end - inset, low, high


@dataclass
class Scenery:
    """Bodies in street coordinates with the street pose that each stands at.

    Attributes:
        rows: primitives in their owners' frames.
        poses: street pose u, v, heading of each primitive's owner.
        labels: lidarseg index of each primitive.
    """

    rows: Shape = field(default_factory=list)
    poses: list[tuple[float, float, float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)

    def add(self, rows: Shape, u: float, v: float, heading: float, label: int) -> None:
        """Adds one body."""
        self.rows += rows
        self.poses += [(u, v, heading)] * len(rows)
        self.labels += [label] * len(rows)

    def placed(self, ground: Ground) -> tuple[Float64, npt.NDArray[np.uint8]]:
        """Primitives in the town's frame and their lidarseg indices."""
        rows = np.array(self.rows, dtype=np.float64).reshape(-1, COLUMNS)
        poses = ground.to_town(np.array(self.poses, dtype=np.float64).reshape(-1, 3))
        return place(rows, poses), np.array(self.labels, dtype=np.uint8)


def draw_plots(street: Street, rng: Rng) -> list[Plot]:
    """Divides the land on both sides of the road, between the cross streets, into plots."""
    half = street.cross_half + 3.0
    edges = [street.start, *(edge for c in street.crossings for edge in (c - half, c + half)), street.end]
    plots = []
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        for side in (-1, 1):
            u = begin
            while end - u > 6:
                width = min(rng.uniform(14, 38), end - u)
                kind = str(rng.choice(["building", "lot", "park", "plaza"], p=[0.52, 0.14, 0.22, 0.12]))
                kind = "building" if kind == "lot" and width < 18 else kind
                depth = rng.uniform(26, 40) if kind == "lot" else rng.uniform(18, 34)
                plots.append(Plot(kind, side, u, u + width, street.frontage, street.frontage + depth))
                u += width
    return plots


def plot_areas(plots: list[Plot], street: Street, rng: Rng) -> list[Area]:
    """Surfaces of the plots, with a driveway to each parking lot."""
    areas: list[Area] = []
    for plot in plots:
        if plot.kind == "lot":
            areas.append(plot.area("asphalt", 0.5))
            middle = (plot.begin + plot.end) / 2
            low, high = sorted((plot.side * street.kerb, plot.side * (plot.near + 1)))
            areas.append(("asphalt", middle - 2.8, middle + 2.8, low, high))
        elif plot.kind == "plaza":
            areas.append(plot.area("concrete"))
        elif plot.kind == "building" and rng.random() < 0.6:
            areas.append(plot.area(str(rng.choice(["concrete", "gravel"]))))
    return areas


def build_scenery(
    street: Street, plots: list[Plot], benches: list[tuple[float, float, float]], free: Free, rng: Rng
) -> Scenery:
    """Fills the plots and the sidewalks' outer strip.

    Args:
        street: the layout.
        plots: the land.
        benches: u, v, heading.
        free: where there is room.
        rng: draws everything.
    """
    scenery = Scenery()
    for plot in plots:
        fill = {"building": _building, "lot": _lot_edge, "park": _park, "plaza": _plaza}[plot.kind]
        fill(scenery, plot, free, rng)
        if rng.random() < 0.5:
            _skyline(scenery, plot, rng)
    for u, v, heading in benches:
        seat = [block((-0.35, 0.05), 1.6, (0.3, 0.42), "bark"), block((-0.5, -0.42), 1.6, (0.3, 0.85), "bark")]
        scenery.add(seat, u, v, heading, STATIC_OTHER)
    for side in (-1, 1):
        _street_furniture(scenery, street, side, free, rng)
    for crossing in street.crossings:
        _traffic_lights(scenery, street, crossing, free)
    return scenery


def _building(scenery: Scenery, plot: Plot, free: Free, rng: Rng) -> None:
    setback = float(rng.choice([0.3, rng.uniform(1, 6)]))
    depth = min(rng.uniform(9, 15), plot.far - plot.near - setback)
    width = plot.end - plot.begin - rng.uniform(0.5, 5)
    u, v = (plot.begin + plot.end) / 2, plot.side * (plot.near + setback + depth / 2)
    wall = str(rng.choice(["facade", "brick", "concrete_wall"]))
    height, storey = rng.uniform(5, 22), rng.uniform(3.0, 3.8)
    rows = [block((-width / 2, width / 2), depth, (0.0, height), wall)]
    for level in range(min(5, int(height / storey))):
        band = (level * storey + 0.9, level * storey + 2.4)
        bays = int(width / rng.uniform(3.5, 7))
        for bay in range(bays):
            x = (bay + 0.5) / bays * width - width / 2
            rows.append(block((x - 0.9, x + 0.9), depth + 0.06, band, "window"))
    if rng.random() < 0.4:  # an awning or a bay along the front
        rows.append(block((-width * 0.4, width * 0.4), depth + 1.6, (2.9, 3.2), "plastic"))
    scenery.add(rows, u, v, 0.0, MANMADE)
    if setback > 2 and rng.random() < 0.6:
        hedge = block((-width / 2 + 1, width / 2 - 1), 0.7, (0.0, rng.uniform(0.8, 1.6)), "leaf", free_path=0.25)
        scenery.add([hedge], u, plot.side * (plot.near + 0.5), 0.0, VEGETATION)
    for _ in range(rng.integers(0, 3)):
        spot = plot.begin + 1 + rng.random() * (plot.end - plot.begin - 2)
        _bush(scenery, spot, plot.side * (plot.near + max(setback - 1.0, 0.1)), free, rng)


def _skyline(scenery: Scenery, plot: Plot, rng: Rng) -> None:
    """A building in the second row."""
    width, depth = rng.uniform(12, 26), rng.uniform(10, 16)
    v = plot.side * (plot.far + rng.uniform(4, 20) + depth / 2)
    rows = [block((-width / 2, width / 2), depth, (0.0, rng.uniform(8, 32)), "facade")]
    scenery.add(rows, (plot.begin + plot.end) / 2, v, 0.0, MANMADE)


def _lot_edge(scenery: Scenery, plot: Plot, free: Free, rng: Rng) -> None:
    """A low wall or hedge behind and beside a parking lot."""
    length, v = plot.end - plot.begin, plot.side * (plot.far - 0.3)
    middle = (plot.begin + plot.end) / 2
    if rng.random() < 0.5:
        scenery.add([block((-length / 2, length / 2), 0.25, (0.0, 1.8), "concrete_wall")], middle, v, 0.0, MANMADE)
    else:
        hedge = block((-length / 2, length / 2), 0.9, (0.0, 1.7), "leaf", free_path=0.3)
        scenery.add([hedge], middle, v, 0.0, VEGETATION)
    for u in (plot.begin + 0.3, plot.end - 0.3):
        _tree(scenery, u, plot.side * (plot.near + 1.2), free, rng)


def _park(scenery: Scenery, plot: Plot, free: Free, rng: Rng) -> None:
    area = (plot.end - plot.begin) * (plot.far - plot.near)
    for _ in range(int(area / rng.uniform(35, 70))):
        u, v = rng.uniform(plot.begin, plot.end), plot.side * rng.uniform(plot.near + 1, plot.far)
        (_tree if rng.random() < 0.6 else _bush)(scenery, u, v, free, rng)
    if rng.random() < 0.4:
        length = plot.end - plot.begin - 1
        fence = block((-length / 2, length / 2), 0.06, (0.1, 1.1), "metal", free_path=0.08)
        scenery.add([fence], (plot.begin + plot.end) / 2, plot.side * (plot.near + 0.3), 0.0, MANMADE)


def _plaza(scenery: Scenery, plot: Plot, free: Free, rng: Rng) -> None:
    for _ in range(rng.integers(2, 7)):
        u, v = rng.uniform(plot.begin + 1, plot.end - 1), plot.side * rng.uniform(plot.near + 1.5, plot.far - 1)
        if rng.random() < 0.5:
            _tree(scenery, u, v, free, rng)
        elif free(u, v, 1.0):
            scenery.add([block((-0.6, 0.6), 1.2, (0.0, 0.6), "concrete_wall")], u, v, rng.uniform(0, 3), STATIC_OTHER)
    if rng.random() < 0.7:
        width = plot.end - plot.begin - 2
        rows = [block((-width / 2, width / 2), 9.0, (0.0, rng.uniform(6, 25)), "facade")]
        scenery.add(rows, (plot.begin + plot.end) / 2, plot.side * (plot.far + 5), 0.0, MANMADE)


def _tree(scenery: Scenery, u: float, v: float, free: Free, rng: Rng) -> None:
    radius, clear = rng.uniform(0.1, 0.25), rng.uniform(2.2, 3.6)
    if not free(u, v, radius + 0.35):
        return
    crown, height = rng.uniform(1.3, 2.9), rng.uniform(2.5, 5.5)
    scenery.add([frustum(0, 0, (0.0, clear + 1.0), (radius, radius * 0.7), "bark")], u, v, 0.0, VEGETATION)
    rows = []
    for _ in range(rng.integers(1, 4)):
        x, y = rng.normal(0, crown * 0.3, 2)
        half = (crown * rng.uniform(0.7, 1), crown * rng.uniform(0.7, 1), height / 2 * rng.uniform(0.7, 1))
        rows.append(ellipsoid((x, y, clear + half[2]), half, "leaf", free_path=1.3))
    scenery.add(rows, u, v, 0.0, VEGETATION)


def _bush(scenery: Scenery, u: float, v: float, free: Free, rng: Rng) -> None:
    radius, height = rng.uniform(0.4, 1.1), rng.uniform(0.5, 1.6)
    if free(u, v, radius + 0.2):
        half = (radius, radius * rng.uniform(0.8, 1.2), height / 2)
        scenery.add([ellipsoid((0, 0, height / 2), half, "leaf", free_path=0.35)], u, v, 0.0, VEGETATION)


def _street_furniture(scenery: Scenery, street: Street, side: int, free: Free, rng: Rng) -> None:
    """Lamps, trees, signs, boxes and bollards between kerb and walkway."""
    leafy = rng.uniform(0.35, 0.9)
    u = street.start + rng.uniform(0, 8)
    while u < street.end:
        v = side * (street.kerb + 0.6)
        if not street.near_crossing(u, 1.0):
            if rng.random() < leafy:
                _tree(scenery, u, v, free, rng)
            elif free(u, v, 0.4):
                rows = _pole(side, str(rng.choice(["lamp", "sign", "box", "bollard"], p=[0.4, 0.3, 0.1, 0.2])), rng)
                scenery.add(rows, u, v, 0.0, MANMADE)
        u += rng.uniform(5, 13)


def _pole(side: int, kind: str, rng: Rng) -> Shape:
    if kind == "lamp":
        arm = block((-0.1, 0.1), 1.8, (6.9, 7.05), "metal", y=-side * 0.9)
        return [frustum(0, 0, (0.0, 7.0), (0.11, 0.07), "metal"), arm]
    if kind == "sign":
        size, z = rng.uniform(0.5, 0.9), rng.uniform(2.0, 2.6)
        plate = block((-0.02, 0.02), size, (z, z + size), str(rng.choice(["retro", "plastic"])))
        return [frustum(0, 0, (0.0, z + size), (0.04, 0.04), "metal"), plate]
    if kind == "box":
        return [block((-0.5, 0.5), 0.4, (0.0, rng.uniform(1.0, 1.5)), "paint_grey")]
    return [frustum(0, 0, (0.0, 0.95), (0.08, 0.08), "concrete_wall")]


def _traffic_lights(scenery: Scenery, street: Street, crossing: float, free: Free) -> None:
    for side in (-1, 1):
        for end in (-1, 1):
            u, v = crossing + end * (street.cross_half + 0.7), side * (street.kerb + 0.7)
            if free(u, v, 0.4):
                head = block((-0.2, 0.2), 0.35, (2.8, 3.7), "paint_dark")
                scenery.add([frustum(0, 0, (0.0, 3.8), (0.09, 0.07), "metal"), head], u, v, 0.0, MANMADE)
