"""Puts one scene together: ground, scenery, actors and the ego's drive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lidar_mt.data.simulation import kerbside, people, scenery, traffic
from lidar_mt.data.simulation.actors import Actor, footprints, without_collisions
from lidar_mt.data.simulation.lidar import MAX_RANGE, Bodies
from lidar_mt.data.simulation.primitives import COLUMNS, HX, HZ, X, Y, block, ellipsoid, place
from lidar_mt.data.simulation.taxonomy import EGO, LIDARSEG_INDEX, STATIC_OTHER
from lidar_mt.data.simulation.town import Ground, Street, build_ground, draw_street

Float64 = npt.NDArray[np.float64]
Rng = np.random.Generator

#: The ego's roof and rack as the sensor above sees them, in the ego's frame.
EGO_ROOF = (
    block((0.36, 1.50), 1.17, (1.30, 1.475), "paint_grey"),
    block((0.20, 1.68), 1.00, (1.30, 1.470), "paint_grey"),
    block((0.07, 1.81), 0.66, (1.30, 1.465), "paint_grey"),
    block((0.80, 1.08), 0.28, (1.475, 1.62), "metal"),
    block((-1.0, 0.1), 1.15, (0.9, 1.40), "glass", lean=(0.0, 0.7, 0.1)),
)


@dataclass(frozen=True)
class World:
    """One scene, ready to be scanned.

    Attributes:
        ground: the ground.
        actors: annotated objects.
        actor_poses: (A, T, 4) float64 x, y, z, yaw of each actor in the town's frame at each turn.
        ego_poses: (T, 4) float64 likewise for the ego's rear axle, z on the ground.
        actor_primitives: (M, COLUMNS) float64 in the actors' frames.
        primitive_actor: (M,) int32 actor of each of them.
        static: scenery, placed.
    """

    ground: Ground
    actors: list[Actor]
    actor_poses: Float64
    ego_poses: Float64
    actor_primitives: Float64
    primitive_actor: npt.NDArray[np.int32]
    static: Bodies

    def bodies(self, turn: int) -> Bodies:
        """Everything within the sensor's range at a turn, placed."""
        ego = self.ego_poses[turn]
        roof = np.array(EGO_ROOF)
        roof = place(roof, np.tile(ego, (len(roof), 1)))
        owner = self.primitive_actor
        moved = place(self.actor_primitives, self.actor_poses[owner, turn])
        labels = np.array([LIDARSEG_INDEX[actor.body.category] for actor in self.actors], dtype=np.uint8)
        near_static, near_moved = _within(self.static.primitives, ego), _within(moved, ego)
        return Bodies(
            np.concatenate([self.static.primitives[near_static], moved[near_moved], roof]),
            np.concatenate(
                [self.static.labels[near_static], labels[owner[near_moved]], np.full(len(roof), EGO, np.uint8)]
            ),
            np.concatenate([self.static.actors[near_static], owner[near_moved], np.full(len(roof), -1, np.int32)]),
        )


def _within(primitives: Float64, ego: Float64) -> npt.NDArray[np.bool_]:
    distance = np.hypot(primitives[:, X] - ego[0], primitives[:, Y] - ego[1])
    return np.asarray(distance - primitives[:, HX : HZ + 1].max(axis=1) * 1.5 < MAX_RANGE)


def build_world(turns: int, rng: Rng) -> World:
    """Draws a town and lets it run for `turns` turns."""
    duration = turns * traffic.STEP_S
    speed = float(rng.uniform(5, 11.5))
    street = draw_street(speed * duration, rng)
    lights = traffic.draw_lights(street, duration, rng)
    plots = scenery.draw_plots(street, rng)
    ground = build_ground(street, scenery.plot_areas(plots, street, rng), rng)
    ego, driving = traffic.drive_town(street, lights, speed, turns, rng)
    actors, benches, piles = _populate(street, plots, lights, turns, rng)
    ego_actor = Actor(traffic.EGO_BODY, _at_middle(ego), "thing")
    # Every fifth turn: nothing moves far enough in a quarter of a second to pass through something unseen.
    watched = np.unique(np.append(np.arange(0, turns, 5), turns - 1))
    actors = without_collisions([ego_actor, *driving, *actors], watched)
    static = scenery.build_scenery(street, plots, benches, _free(actors, watched), rng)
    for u, v in piles:
        heap = ellipsoid((0, 0, 0.1), (1.1, 0.8, 0.8), "dirt")
        if _free(actors, watched)(u, v, 1.2):
            static.add([heap], u, v, 0.0, STATIC_OTHER)
    return _assemble(ground, actors[1:], ego, static)


def _populate(
    street: Street, plots: list[scenery.Plot], lights: list[traffic.Light], turns: int, rng: Rng
) -> tuple[list[Actor], list[tuple[float, float, float]], list[tuple[float, float]]]:
    """Everybody but the drivers, most wanted first; benches; places for heaps of earth."""
    sites, stops = kerbside.draw_stretches(street, rng)
    actors = [actor for site in sites for actor in kerbside.construction_site(street, site, rng)]
    actors += [actor for stop in stops for actor in kerbside.bus_stop(street, stop, rng)]
    actors += kerbside.park_vehicles(street, [*sites, *stops], rng)
    actors += kerbside.park_cross_streets(street, rng)
    for plot in plots:
        if plot.kind == "lot":
            actors += kerbside.parking_lot(plot.side, (plot.begin, plot.end, plot.near, plot.far), rng)
    actors += people.crossing_people(street, lights, turns, rng)
    things, benches = people.sidewalk_things(street, rng)
    actors += things + people.walkers(street, turns, rng)
    piles = [(float(rng.uniform(site.begin + 3, site.end - 3)), site.side * (street.frontage - 1.2)) for site in sites]
    return actors, benches, piles


def _at_middle(ego: Float64) -> Float64:
    """Track of the ego's middle from that of its rear axle, in street coordinates (the ego heads along +u)."""
    middle: Float64 = ego + np.array([traffic.EGO_AXLE, 0.0, 0.0])
    return middle


def _free(actors: Sequence[Actor], turns: npt.NDArray[np.intp]) -> scenery.Free:
    """A test whether a disc stays clear of all actors."""
    boxes = footprints(actors, turns).reshape(-1, 5)
    cos, sin = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])

    def free(u: float, v: float, radius: float) -> bool:
        du, dv = u - boxes[:, 0], v - boxes[:, 1]
        along = np.abs(du * cos + dv * sin) - boxes[:, 2] / 2
        across = np.abs(dv * cos - du * sin) - boxes[:, 3] / 2
        return not bool(((along < radius) & (across < radius)).any())

    return free


def _assemble(ground: Ground, actors: list[Actor], ego: Float64, static: scenery.Scenery) -> World:
    turns = len(ego)
    poses = np.empty((len(actors), turns, 4))
    for i, actor in enumerate(actors):
        poses[i] = ground.to_town(actor.track)
    rows = [row for actor in actors for row in actor.body.primitives]
    owner = [i for i, actor in enumerate(actors) for _ in actor.body.primitives]
    primitives, labels = static.placed(ground)
    return World(
        ground=ground,
        actors=actors,
        actor_poses=poses,
        ego_poses=ground.to_town(ego),
        actor_primitives=np.array(rows, dtype=np.float64).reshape(-1, COLUMNS),
        primitive_actor=np.array(owner, dtype=np.int32),
        static=Bodies(primitives, labels, np.full(len(labels), -1, dtype=np.int32)),
    )
