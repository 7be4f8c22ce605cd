"""Annotated objects: a body, its way through the scene and what it is doing there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from lidar_mt.data.simulation.geometry import rectangles_overlap
from lidar_mt.data.simulation.shapes import BOX_MARGIN, Body
from lidar_mt.data.simulation.taxonomy import MOVING_SPEED

Float64 = npt.NDArray[np.float64]

#: traffic: a vehicle that drives or waits; parked; rider and cycle: a two-wheeler with and without one;
#: walker: somebody on foot; sitter; thing: an object without attributes.
Role = Literal["traffic", "parked", "rider", "cycle", "walker", "sitter", "thing"]


@dataclass(frozen=True)
class Actor:
    """One annotated object.

    Attributes:
        body: shape and category.
        track: (T, 3) float64 u, v, heading in street coordinates at each turn; T = 1 for what stands still.
        role: decides the attribute.
    """

    body: Body
    track: Float64
    role: Role

    def attribute(self, speed: float) -> str | None:
        """Attribute name at a speed [m/s], None for what has none."""
        moving = speed > MOVING_SPEED
        names: dict[Role, str | None] = {
            "traffic": "vehicle.moving" if moving else "vehicle.stopped",
            "parked": "vehicle.parked",
            "rider": "cycle.with_rider",
            "cycle": "cycle.without_rider",
            "walker": "pedestrian.moving" if moving else "pedestrian.standing",
            "sitter": "pedestrian.sitting_lying_down",
            "thing": None,
        }
        return names[self.role]


def standing(body: Body, u: float, v: float, heading: float, role: Role) -> Actor:
    """An actor that does not move."""
    return Actor(body, np.array([[u, v, heading]], dtype=np.float64), role)


def footprints(actors: Sequence[Actor], turns: npt.NDArray[np.intp]) -> Float64:
    """Annotated rectangles of actors at some turns, in street coordinates.

    Returns:
        (A, T, 5) float64 u, v, length, width, heading.
    """
    out = np.empty((len(actors), len(turns), 5))
    for i, actor in enumerate(actors):
        track = actor.track[turns if len(actor.track) > 1 else np.zeros_like(turns)]
        out[i, :, :2], out[i, :, 4] = track[:, :2], track[:, 2]
        out[i, :, 2:4] = actor.body.length + 2 * BOX_MARGIN, actor.body.width + 2 * BOX_MARGIN
    return out


def without_collisions(actors: Sequence[Actor], turns: npt.NDArray[np.intp], room: float = 0.1) -> list[Actor]:
    """Drops actors that would overlap an earlier one at any of the turns.

    Args:
        actors: in falling order of importance; the first always stays.
        turns: when to look.
        room: free space kept between two actors [m].
    """
    boxes = footprints(actors, turns)
    boxes[..., 2:4] += room
    reach = np.hypot(boxes[:, 0, 2], boxes[:, 0, 3]) / 2
    kept: list[int] = []
    for i in range(len(actors)):
        others = np.array(kept, dtype=np.intp)
        gap = np.hypot(*(boxes[others, :, k] - boxes[i, :, k] for k in (0, 1)))
        near = np.argwhere(gap < (reach[others] + reach[i])[:, None])
        if not rectangles_overlap(boxes[others[near[:, 0]], near[:, 1]], boxes[i, near[:, 1]]).any():
            kept.append(i)
    return [actors[i] for i in kept]
