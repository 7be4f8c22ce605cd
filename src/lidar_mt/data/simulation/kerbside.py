"""What stands along the kerb: parked vehicles, bus stops, construction sites, parking lots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lidar_mt.data.simulation import shapes
from lidar_mt.data.simulation.actors import Actor, standing
from lidar_mt.data.simulation.shapes import Body
from lidar_mt.data.simulation.town import Street

Rng = np.random.Generator


@dataclass(frozen=True)
class Stretch:
    """A part of one side of the road that is used for something else than parking.

    Attributes:
        side: sign of v.
        begin, end: range of u [m].
    """

    side: int
    begin: float
    end: float

    def covers(self, side: int, u: float, margin: float = 0.0) -> bool:
        """Whether a place at the kerb belongs to it."""
        return side == self.side and self.begin - margin < u < self.end + margin


def heading_at(street: Street, side: int) -> float:
    """Direction of travel of the traffic next to the kerb of a side [rad]."""
    return 0.0 if side == street.side else float(np.pi)


def draw_stretches(street: Street, rng: Rng) -> tuple[list[Stretch], list[Stretch]]:
    """Places construction sites and bus stops along the drive.

    Returns:
        construction sites, bus stops.
    """
    taken: list[Stretch] = []

    def find(low: float, high: float, length: float) -> list[Stretch]:
        for _ in range(30):
            begin, side = rng.uniform(low, high), int(rng.choice([-1, 1]))
            stretch = Stretch(side, begin, begin + length)
            crossing = any(
                begin - 12 - street.cross_half < c < begin + length + 12 + street.cross_half for c in street.crossings
            )
            clash = any(t.side == side and begin < t.end + 6 and t.begin - 6 < begin + length for t in taken)
            if not crossing and not clash:
                taken.append(stretch)
                return [stretch]
        return []

    middle = street.drive_end / 2
    sites = find(-40, middle, rng.uniform(24, 34)) + find(middle, street.drive_end + 45, rng.uniform(24, 34))
    stops = find(-40, middle, 17.0) + find(middle, street.drive_end + 40, 17.0)
    return sites, stops


def park_vehicles(street: Street, stretches: list[Stretch], rng: Rng) -> list[Actor]:
    """Fills the parking lanes of the main road."""
    actors: list[Actor] = []
    for side in (-1, 1):
        occupancy = rng.uniform(0.6, 0.9)
        u = street.start + 5
        while u < street.end - 8:
            bodies = _draw_parked(rng)
            length = sum(body.length if body.length > 3 else body.width for body in bodies) + 0.5 * len(bodies)
            middle = u + length / 2
            used = any(s.covers(side, middle, length / 2 + 1) for s in stretches)
            if not used and not street.near_crossing(middle, 8.5 + length / 2) and rng.random() < occupancy:
                actors += _park(street, side, u, bodies, rng)
            u += length + rng.uniform(0.5, 1.6)
    return actors


def _draw_parked(rng: Rng) -> list[Body]:
    kind = rng.choice(
        ["car", "truck", "trailer", "motorcycle", "bicycle", "bus"], p=[0.7, 0.07, 0.07, 0.07, 0.06, 0.03]
    )
    if kind == "motorcycle":
        return [shapes.motorcycle(rng, rider=False) for _ in range(rng.integers(2, 5))]
    if kind == "bicycle":
        return [shapes.bicycle(rng, rider=False) for _ in range(rng.integers(2, 6))]
    draw = {"car": shapes.car, "truck": shapes.truck, "trailer": shapes.trailer, "bus": shapes.bus}
    return [draw[str(kind)](rng)]


def _park(street: Street, side: int, u: float, bodies: list[Body], rng: Rng) -> list[Actor]:
    """One long vehicle along the kerb, or a row of two-wheelers at right angles to it."""
    heading = heading_at(street, side)
    centre = side * (street.kerb - street.parking / 2)
    if len(bodies) == 1 and bodies[0].length > 3:
        body = bodies[0]
        turn = heading + (np.pi if rng.random() < 0.04 else 0.0) + rng.normal(0, 0.015)
        room = max(0.0, (street.parking - body.width) / 2)
        v = centre + side * rng.uniform(-0.3, 0.8) * room
        return [standing(body, u + body.length / 2, v, turn, "parked")]
    actors = []
    for body in bodies:
        u += body.width / 2 + 0.25
        turn = side * np.pi / 2 * rng.choice([-1, 1]) + rng.normal(0, 0.12)
        actors.append(standing(body, u, side * (street.kerb - body.length / 2 - 0.35), turn, "cycle"))
        u += body.width / 2 + 0.25
    return actors


def park_cross_streets(street: Street, rng: Rng) -> list[Actor]:
    """Cars along the cross streets."""
    actors = []
    for crossing in street.crossings:
        for v_side in (-1, 1):
            for u_side in (-1, 1):
                v = street.frontage + rng.uniform(6, 12)
                while v < 75:
                    body = shapes.car(rng)
                    u = crossing + u_side * (street.cross_half - body.width / 2 - 0.15)
                    heading = np.pi / 2 if u_side == -street.side else -np.pi / 2
                    if rng.random() < 0.65:
                        actors.append(standing(body, u, v_side * (v + body.length / 2), heading, "parked"))
                    v += body.length + rng.uniform(0.7, 2.0)
    return actors


def bus_stop(street: Street, stop: Stretch, rng: Rng) -> list[Actor]:
    """A waiting bus and people at the stop."""
    heading = heading_at(street, stop.side)
    middle = (stop.begin + stop.end) / 2
    actors = [standing(shapes.bus(rng), middle, stop.side * (street.kerb - 1.5), heading, "traffic")]
    for _ in range(rng.integers(3, 8)):
        u, v = rng.uniform(stop.begin + 1, stop.end - 1), street.kerb + rng.uniform(0.6, 2.2)
        body = shapes.pedestrian(rng, walking=False)
        actors.append(standing(body, u, stop.side * v, rng.uniform(-np.pi, np.pi), "walker"))
    return actors


def construction_site(street: Street, site: Stretch, rng: Rng) -> list[Actor]:
    """Barriers towards the traffic, cones at both ends, machines and workers behind them."""
    side, edge = site.side, street.kerb - street.parking
    depth = street.frontage - 1.0
    actors = _machines(site, edge, depth, rng)
    u = site.begin + 5
    while u < site.end - 4:
        body = shapes.barrier(rng)
        turn = side * np.pi / 2 + rng.normal(0, 0.03)
        actors.append(standing(body, u + body.width / 2, side * (edge + 0.35), turn, "thing"))
        u += body.width + rng.uniform(0.12, 0.5)
    for u0, u1 in ((site.begin - 4, site.begin + 4.2), (site.end + 3, site.end - 3)):
        for share in np.linspace(0, 1, rng.integers(4, 7)):
            v = street.kerb - 0.4 - share * (street.parking - 0.75)
            actors.append(standing(shapes.traffic_cone(rng), u0 + share * (u1 - u0), side * v, 0.0, "thing"))
    for _ in range(rng.integers(2, 6)):
        u, v = rng.uniform(site.begin + 2, site.end - 2), rng.uniform(edge + 1, depth)
        actors.append(standing(shapes.traffic_cone(rng), u, side * v, 0.0, "thing"))
    worker = "human.pedestrian.construction_worker"
    for _ in range(rng.integers(2, 5)):
        u, v = rng.uniform(site.begin + 2, site.end - 2), rng.uniform(edge + 1, depth)
        body = shapes.pedestrian(rng, worker, walking=False)
        actors.append(standing(body, u, side * v, rng.uniform(-np.pi, np.pi), "walker"))
    return actors


def _machines(site: Stretch, edge: float, depth: float, rng: Rng) -> list[Actor]:
    actors, u = [], site.begin + 8.5
    while u < site.end - 4:
        draw = shapes.construction_vehicle if rng.random() < 0.75 else shapes.truck
        heading = (0.0 if rng.random() < 0.5 else np.pi) + rng.normal(0, 0.12)
        v = (edge + 0.8 + depth) / 2 + rng.uniform(-0.3, 0.3)
        actors.append(standing(draw(rng), u, site.side * v, heading, "parked"))
        u += rng.uniform(8.5, 11)
    return actors


def parking_lot(side: int, bounds: tuple[float, float, float, float], rng: Rng) -> list[Actor]:
    """Cars in bays at right angles to an aisle.

    Args:
        side: sign of v.
        bounds: u0, u1 and the distances from the road's middle where the lot begins and ends [m].
        rng: draws the cars.
    """
    actors = []
    u0, u1, near, far = bounds
    for v in np.arange(near + 3.2, far - 3, 11.5):
        for u in np.arange(u0 + 2, u1 - 2, 2.75):
            if rng.random() < 0.6 and abs(u - (u0 + u1) / 2) > 4:
                body = shapes.car(rng) if rng.random() < 0.93 else shapes.trailer(rng)
                turn = np.pi / 2 * rng.choice([-1, 1]) + rng.normal(0, 0.03)
                actors.append(standing(body, float(u), side * float(v), turn, "parked"))
    return actors
