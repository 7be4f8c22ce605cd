"""Vehicles that drive: car following, traffic lights and the ego among them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lidar_mt.data.simulation import shapes
from lidar_mt.data.simulation.actors import Actor, Role
from lidar_mt.data.simulation.shapes import Body
from lidar_mt.data.simulation.town import LEAD_IN, Street

Float64 = npt.NDArray[np.float64]
Rng = np.random.Generator

#: Time step of the traffic model [s], the sensor's turn.
STEP_S = 0.05
#: The traffic runs this long before the scene begins [s], so that queues and gaps have settled.
WARM_UP_S = 5.0
_ACCELERATION, _BRAKING, _HEADWAY_S, _STANDSTILL = 1.6, 2.2, 1.3, 2.2
_HARDEST_BRAKING = 7.0

#: The ego's body, for traffic and collisions; no annotation is made of it.
EGO_BODY = Body("vehicle.ego", 1.75, 4.1, 1.5, [])
#: Distance from the ego's rear axle, the origin of its frame, to its middle [m].
EGO_AXLE = 0.95


@dataclass(frozen=True)
class Light:
    """When the main road has red at one cross street [s from the start of the scene]."""

    crossing: float
    red_from: float
    red_until: float


@dataclass(frozen=True)
class Lane:
    """A lane as a line along its traffic.

    Attributes:
        origin: u, v where the position along the lane is 0.
        heading: direction of travel in street coordinates [rad].
        stops: position of each stop line and its red intervals (from, until) [s].
    """

    origin: tuple[float, float]
    heading: float
    stops: tuple[tuple[float, tuple[tuple[float, float], ...]], ...]

    def track(self, position: Float64, offset: float = 0.0) -> Float64:
        """(T, 3) street poses of something at `position` (T,) [m], `offset` [m] to the left of the lane's line."""
        cos, sin = np.cos(self.heading), np.sin(self.heading)
        u = self.origin[0] + position * cos - offset * sin
        v = self.origin[1] + position * sin + offset * cos
        return np.stack([u, v, np.full_like(u, self.heading)], axis=1)


@dataclass(frozen=True)
class Driver:
    """A vehicle in a lane: bodies with their offsets behind the front one's centre, start and wish."""

    bodies: tuple[tuple[Body, float], ...]
    role: Role
    start: float
    desired: float

    @property
    def nose(self) -> float:
        """Distance from the reference point to the front bumper [m]."""
        return self.bodies[0][0].length / 2

    @property
    def tail(self) -> float:
        """Distance from the reference point to the rear end [m]."""
        body, offset = self.bodies[-1]
        return offset + body.length / 2


def draw_lights(street: Street, duration: float, rng: Rng) -> list[Light]:
    """A red phase of the main road at each crossing, at a random time or not within the scene."""
    lights = []
    for crossing in street.crossings:
        begin = rng.choice([-12.0, rng.uniform(-6, 2), rng.uniform(2, max(3.0, duration - 4)), duration + 60])
        lights.append(Light(crossing, float(begin), float(begin + rng.uniform(11, 16))))
    return lights


def drive_lane(lane: Lane, drivers: list[Driver], turns: int) -> Float64:
    """Runs the car-following model in one lane.

    Args:
        lane: the lane.
        drivers: in falling order of `start`: leaders first.
        turns: number of turns T of the scene.

    Returns:
        (len(drivers), T) float64 positions along the lane [m].

    Source: Treiber, Hennecke, Helbing 2000, Congested traffic states (intelligent driver model).
    """
    position = np.array([driver.start for driver in drivers])
    desired = np.array([driver.desired for driver in drivers])
    nose = np.array([driver.nose for driver in drivers])
    tail = np.array([driver.tail for driver in drivers])
    speed = desired * 0.8
    warm_up = round(WARM_UP_S / STEP_S)
    out = np.empty((len(drivers), turns))
    for step in range(-warm_up, turns):
        if step >= 0:
            out[:, step] = position
        gap = np.full(len(drivers), np.inf)
        gap[1:] = position[:-1] - tail[:-1] - position[1:] - nose[1:]
        approach = np.zeros(len(drivers))
        approach[1:] = speed[1:] - speed[:-1]
        _heed_stops(lane, step * STEP_S, position + nose, speed, gap, approach)
        wish = _STANDSTILL + np.maximum(
            0, speed * _HEADWAY_S + speed * approach / (2 * (_ACCELERATION * _BRAKING) ** 0.5)
        )
        gain = _ACCELERATION * (1 - (speed / desired) ** 4 - (wish / np.maximum(gap, 0.1)) ** 2)
        new_speed = np.maximum(0, speed + np.maximum(gain, -_HARDEST_BRAKING) * STEP_S)
        position = position + (speed + new_speed) / 2 * STEP_S
        speed = new_speed
    return out


def _heed_stops(lane: Lane, now: float, front: Float64, speed: Float64, gap: Float64, approach: Float64) -> None:
    """Lets a red stop line act as a standing leader for whoever can still stop before it; changes gap and approach."""
    for line, reds in lane.stops:
        if not any(begin <= now < end for begin, end in reds):
            continue
        room = line - front
        stops = (room > -0.5) & (room > speed**2 / (2 * 4.0) - 1.0) & (room + _STANDSTILL < gap)
        gap[stops] = room[stops] + _STANDSTILL - 0.5
        approach[stops] = speed[stops]


def main_lane(street: Street, lights: list[Light], index: int, direction: int) -> Lane:
    """A lane of the main road."""
    offset = street.cross_half + 6.2
    stops = tuple((direction * light.crossing - offset, ((light.red_from, light.red_until),)) for light in lights)
    return Lane((0.0, street.lane_centre(index, direction)), 0.0 if direction > 0 else np.pi, stops)


def bike_lane(street: Street, lights: list[Light], direction: int) -> Lane:
    """The cycle strip beside the outer lane."""
    lane = main_lane(street, lights, 0, direction)
    return Lane((0.0, street.side * direction * (street.lanes_edge + street.bike / 2)), lane.heading, lane.stops)


def cross_lane(street: Street, light: Light, direction: int) -> Lane:
    """A lane of a cross street; it has green while the main road has red, less the clearing times."""
    green = (light.red_from + 3.5, light.red_until - 6.0)
    u = light.crossing - street.side * direction * 1.75
    reds = ((-1e6, green[0]), (green[1], 1e6))
    return Lane((u, 0.0), direction * np.pi / 2, ((-(street.kerb + 4.2), reds),))


def draw_drivers(low: float, high: float, gaps: tuple[float, float], top_speed: float, rng: Rng) -> list[Driver]:
    """Fills a lane with mixed traffic from `high` down to `low` [m]."""
    drivers = []
    front = high - rng.uniform(0, gaps[1])
    while front > low:
        bodies, role = _draw_vehicle(rng)
        start = front - bodies[0][0].length / 2
        drivers.append(Driver(bodies, role, start, top_speed * rng.uniform(0.85, 1.1)))
        front = start - drivers[-1].tail - rng.uniform(*gaps)
    return drivers


def _draw_vehicle(rng: Rng) -> tuple[tuple[tuple[Body, float], ...], Role]:
    kind = rng.choice(
        ["car", "truck", "bus", "motorcycle", "trailer", "construction"], p=[0.69, 0.09, 0.06, 0.08, 0.06, 0.02]
    )
    if kind == "motorcycle":
        return ((shapes.motorcycle(rng, rider=True), 0.0),), "rider"
    if kind == "trailer":
        tractor, trailer = shapes.truck(rng), shapes.trailer(rng)
        return ((tractor, 0.0), (trailer, (tractor.length + trailer.length) / 2 + 0.5)), "traffic"
    draw = {"car": shapes.car, "truck": shapes.truck, "bus": shapes.bus, "construction": shapes.construction_vehicle}
    return ((draw[str(kind)](rng), 0.0),), "traffic"


def lane_actors(lane: Lane, drivers: list[Driver], positions: Float64, rng: Rng) -> list[Actor]:
    """Turns the drivers of a lane into actors with a constant lateral offset each."""
    actors = []
    for driver, position in zip(drivers, positions, strict=True):
        offset = rng.uniform(-0.15, 0.15)
        for body, behind in driver.bodies:
            actors.append(Actor(body, lane.track(position - behind, offset), driver.role))
    return actors


def drive_town(street: Street, lights: list[Light], speed: float, turns: int, rng: Rng) -> tuple[Float64, list[Actor]]:
    """Runs all lanes.

    Args:
        street: the layout.
        lights: the traffic lights.
        speed: the ego's desired speed [m/s].
        turns: number of turns T.
        rng: draws the traffic.

    Returns:
        (T, 3) float64 street poses of the ego's rear axle, and the other drivers as actors.
    """
    actors: list[Actor] = []
    ego_index = int(rng.integers(street.lanes))
    for direction in (1, -1):
        low, high = sorted((direction * (street.start + 8), direction * (street.end - 8)))
        for index in range(street.lanes):
            lane = main_lane(street, lights, index, direction)
            drivers = draw_drivers(low, high, (9.0, 45.0), rng.uniform(7, 12), rng)
            if direction > 0 and index == ego_index:
                drivers, place = _with_ego(drivers, speed, rng)
                positions = drive_lane(lane, drivers, turns)
                ego = lane.track(positions[place] - EGO_AXLE)
                drivers, positions = drivers[:place] + drivers[place + 1 :], np.delete(positions, place, axis=0)
            else:
                positions = drive_lane(lane, drivers, turns)
            actors += lane_actors(lane, drivers, positions, rng)
        lane = bike_lane(street, lights, direction)
        riders = _draw_riders(low, high, rng)
        actors += lane_actors(lane, riders, drive_lane(lane, riders, turns), rng)
    return ego, actors + _drive_cross_streets(street, lights, turns, rng)


def _drive_cross_streets(street: Street, lights: list[Light], turns: int, rng: Rng) -> list[Actor]:
    actors: list[Actor] = []
    for light in lights:
        for direction in (1, -1):
            lane = cross_lane(street, light, direction)
            drivers = draw_drivers(-75.0, 70.0, (5.0, 25.0), 7.5, rng)
            # The junction itself is empty at first: the main road may have green.
            drivers = [d for d in drivers if not -street.kerb - 8 < d.start < street.kerb + 20]
            actors += lane_actors(lane, drivers, drive_lane(lane, drivers, turns), rng)
    return actors


def _with_ego(drivers: list[Driver], speed: float, rng: Rng) -> tuple[list[Driver], int]:
    """Puts the ego where its drive starts, in the place of whoever is there; returns its position in the list too."""
    start = -min(LEAD_IN - 5, speed * WARM_UP_S)
    ego = Driver(((EGO_BODY, 0.0),), "traffic", start, speed)
    ahead = [d for d in drivers if d.start - d.tail > start + ego.nose + rng.uniform(4, 20)]
    behind = [d for d in drivers if d.start + d.nose < start - ego.tail - 6]
    return [*ahead, ego, *behind], len(ahead)


def _draw_riders(low: float, high: float, rng: Rng) -> list[Driver]:
    riders, front = [], high - rng.uniform(0, 30)
    while front > low:
        riders.append(Driver(((shapes.bicycle(rng, rider=True), 0.0),), "rider", front, rng.uniform(3.0, 6.0)))
        front -= rng.uniform(14, 60)
    return riders
