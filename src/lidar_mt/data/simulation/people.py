"""People on foot and things on the sidewalk."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lidar_mt.data.simulation import shapes
from lidar_mt.data.simulation.actors import Actor, standing
from lidar_mt.data.simulation.town import Street
from lidar_mt.data.simulation.traffic import STEP_S, Light

Float64 = npt.NDArray[np.float64]
Rng = np.random.Generator

_KINDS = ("human.pedestrian.adult", "human.pedestrian.child", "human.pedestrian.police_officer")


def _kind(rng: Rng) -> str:
    return str(rng.choice(_KINDS, p=[0.93, 0.05, 0.02]))


def walkers(street: Street, turns: int, rng: Rng) -> list[Actor]:
    """People who walk or stand on the sidewalks of the main road."""
    actors = []
    low, high = street.kerb + 1.5, street.frontage - 0.5
    for side in (-1, 1):
        u = street.start
        while u < street.end:
            u += rng.exponential(9.0)
            for _ in range(int(rng.choice([1, 2, 3], p=[0.7, 0.24, 0.06]))):
                v = side * rng.uniform(low, high)
                if rng.random() < 0.25:
                    body = shapes.pedestrian(rng, _kind(rng), walking=False)
                    actors.append(standing(body, u, v, rng.uniform(-np.pi, np.pi), "walker"))
                else:
                    actors.append(_stroll(u, v, turns, rng))
                u += rng.uniform(0.6, 1.2)
    return actors


def _stroll(u: float, v: float, turns: int, rng: Rng) -> Actor:
    """A walk along the sidewalk at a steady pace, swaying a little."""
    direction = int(rng.choice([-1, 1]))
    time = np.arange(turns) * STEP_S
    middle = time[-1] / 2  # at u half-way through the scene, so that walkers do not all leave the middle of it
    along = u + direction * rng.uniform(0.9, 1.6) * (time - middle)
    period, phase = rng.uniform(6, 12), rng.uniform(0, 2 * np.pi)
    across = v + 0.12 * np.sin(2 * np.pi * time / period + phase)
    heading = np.full(turns, 0.0 if direction > 0 else np.pi)
    return Actor(shapes.pedestrian(rng, _kind(rng)), np.stack([along, across, heading], axis=1), "walker")


def crossing_people(street: Street, lights: list[Light], turns: int, rng: Rng) -> list[Actor]:
    """People who wait at a crosswalk of the main road and go over it while the traffic has red."""
    actors = []
    for light in lights:
        for end in (-1, 1):
            for place in np.arange(rng.integers(2, 5)):
                u = light.crossing + end * (street.cross_half + 1.9 + 0.85 * float(place))
                start = light.red_from + rng.uniform(2.0, 4.0)
                actors.append(_cross(street, u, start, turns, rng))
    return actors


def _cross(street: Street, u: float, start: float, turns: int, rng: Rng) -> Actor:
    direction, speed = int(rng.choice([-1, 1])), rng.uniform(1.4, 2.0)
    time = np.arange(turns) * STEP_S
    wait = street.kerb + rng.uniform(0.5, 1.1)
    way = ((time - start) * speed).clip(0, 2 * wait)
    heading = direction * np.pi / 2
    track = np.stack([np.full(turns, u), direction * (way - wait), np.full(turns, heading)], axis=1)
    return Actor(shapes.pedestrian(rng, _kind(rng)), track, "walker")


def sidewalk_things(street: Street, rng: Rng) -> tuple[list[Actor], list[tuple[float, float, float]]]:
    """Bins, leaning bicycles and people on benches.

    Returns:
        the actors, and u, v, heading of each bench.
    """
    actors: list[Actor] = []
    benches: list[tuple[float, float, float]] = []
    for side in (-1, 1):
        u = street.start + rng.uniform(0, 15)
        while u < street.end:
            v = side * (street.kerb + 0.65)
            kind = rng.choice(["bin", "bicycle", "bench", "none"], p=[0.3, 0.3, 0.2, 0.2])
            if kind == "bin":
                actors.append(standing(shapes.bin_on_wheels(rng), u, v, side * np.pi / 2, "thing"))
            elif kind == "bicycle":
                for place in range(rng.integers(1, 4)):
                    body = shapes.bicycle(rng, rider=False)
                    actors.append(
                        standing(body, u + 0.75 * place, v + side * 0.3, np.pi / 2 + rng.normal(0, 0.1), "cycle")
                    )
            elif kind == "bench":
                v, heading = side * (street.frontage - 0.6), -side * np.pi / 2
                benches.append((u, v, heading))
                # The bench's front edge is under the sitter's thighs.
                actors.append(standing(shapes.sitting_person(rng), u, v - side * 0.1, heading, "sitter"))
            u += rng.uniform(9, 26)
    return actors, benches
