"""The sensor: a 32-beam spinning LiDAR like nuScenes' HDL-32E, and what one turn of it measures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lidar_mt.data.simulation.primitives import MATERIAL
from lidar_mt.data.simulation.raycast import Hits, RayGrid, cast, make_ray_grid
from lidar_mt.data.simulation.taxonomy import (
    EGO,
    MATERIAL_INTENSITY,
    MATERIAL_RETURN,
    MATERIAL_SPREAD,
    NOISE,
    SURFACE_CODE,
    SURFACE_INTENSITY,
    SURFACE_LABEL,
    SURFACE_RAISED,
)
from lidar_mt.data.simulation.town import KERB, Ground

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

#: Elevation of each ring [rad], lowest first. Source: Velodyne HDL-32E: 32 beams from -30.67 to +10.67 degrees.
ELEVATIONS = np.radians(np.linspace(-30.67, 10.67, 32))
#: Azimuth steps per turn at 20 Hz; real turns have 1084 to 1087.
STEPS = (1084, 1087)
MAX_RANGE = 105.0
#: Distance that a ray without a return is written at [m]: real files keep such rays next to the origin.
NO_RETURN = 5e-5
_RANGE_NOISE = 0.018
# Asphalt is seen by half of the rays at this distance [m], and by nearly none twenty metres further.
_GROUND_FADE, _GROUND_FADE_WIDTH = 31.0, 4.0
_BODY_FADE, _BODY_FADE_WIDTH = 88.0, 6.0
_GROUND_SPREAD = 0.33
_GAIN_SPREAD = 0.22
_ROUGH_TERRAIN = 0.012


@dataclass(frozen=True)
class Bodies:
    """Everything that is not ground, placed for one turn.

    Attributes:
        primitives: (N, COLUMNS) float64 in the town's frame.
        labels: (N,) uint8 lidarseg index.
        actors: (N,) int32 index of the annotated actor, -1 for scenery and the ego.
    """

    primitives: Float64
    labels: npt.NDArray[np.uint8]
    actors: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Turn:
    """One turn of the sensor.

    Attributes:
        points: (P, 5) float32 x y z [m] in the sensor frame, intensity [0, 255], ring. Every ray has a row; one
            without a return lies within `NO_RETURN` of the origin.
        labels: (P,) uint8 lidarseg index.
        hits: what the rays met before drop-out.
    """

    points: Float32
    labels: npt.NDArray[np.uint8]
    hits: Hits


def draw_gains(rng: np.random.Generator) -> Float32:
    """(32,) float32 gain of each beam's intensity: real sensors are not calibrated evenly."""
    gains: Float32 = np.exp(_GAIN_SPREAD * rng.standard_normal(len(ELEVATIONS))).astype(np.float32)
    return gains


def scan(
    ground: Ground,
    bodies: Bodies,
    origin: Float64,
    town_from_sensor: Float64,
    gains: Float32,
    rng: np.random.Generator,
) -> Turn:
    """Measures one turn from a fixed pose: like real files, the turn is free of the ego's own motion.

    Args:
        ground: the ground.
        bodies: everything else.
        origin: (3,) float64 sensor position in the town's frame.
        town_from_sensor: (3, 3) float64 rotation.
        gains: (32,) float32 intensity gain of each ring.
        rng: draws noise, drop-out, intensity and the turn's first azimuth.
    """
    steps = int(rng.integers(STEPS[0], STEPS[1] + 1))
    grid = make_ray_grid(steps, float(rng.uniform(-np.pi, np.pi)), ELEVATIONS, town_from_sensor)
    hits = cast(grid, origin, bodies.primitives, rng)
    ground_distance, code = cast_ground(grid, origin, ground)
    on_body = hits.distance < ground_distance
    hits = hits._replace(primitive=np.where(on_body, hits.primitive, np.int32(-1)))
    distance = np.where(on_body, hits.distance, ground_distance)
    intensity, returned = _reflect(distance, on_body, hits.primitive, code, bodies, np.tile(gains, steps), rng)
    labels = np.where(on_body, bodies.labels[hits.primitive], SURFACE_LABEL[code])
    distance = _blur(distance, on_body, code, rng)
    returned &= distance < MAX_RANGE
    distance[~returned], intensity[~returned], labels[~returned] = NO_RETURN, 0, EGO
    _stray_returns(grid, distance, intensity, labels, rng)
    points = np.empty((grid.size, 5), dtype=np.float32)
    points[:, :3] = (grid.sensor_dirs * distance).T
    points[:, 3] = intensity
    points[:, 4] = np.tile(np.arange(grid.rings, dtype=np.float32), steps)
    return Turn(points, labels.astype(np.uint8), hits)


def cast_ground(grid: RayGrid, origin: Float64, ground: Ground) -> tuple[Float32, npt.NDArray[np.uint8]]:
    """Where rays meet road, kerb faces and the raised surfaces beside the road.

    Args:
        grid: the rays.
        origin: (3,) float64 sensor position in the town's frame.
        ground: the ground.

    Returns:
        (rays,) float32 distance [m], infinite without a hit, and (rays,) uint8 surface code.
    """
    distance = np.full(grid.size, np.inf, dtype=np.float32)
    code = np.zeros(grid.size, dtype=np.uint8)
    down = np.flatnonzero(grid.town_dirs[2] < -(origin[2] - 0.3) / MAX_RANGE)
    dx, dy, dz = (component[down] for component in grid.town_dirs)
    z0 = np.float32(origin[2])
    below = _Below(ground, origin, dx, dy)
    inverse = 1 / dz
    low = -z0 * inverse
    for _ in range(3):
        low = (below.height(low) - z0) * inverse
    high = low + np.float32(KERB) * inverse
    for _ in range(2):
        high = (below.height(high) + (np.float32(KERB) - z0)) * inverse
    code_low, code_high = below.surface(low), below.surface(high)
    raised_low, raised_high = SURFACE_RAISED[code_low], SURFACE_RAISED[code_high]
    result = np.where(raised_high, high, low)
    found = np.where(raised_high, code_high, code_low)
    face = np.flatnonzero(raised_low & ~raised_high)
    if len(face):
        result[face] = _kerb_face(high[face], low[face], _Below(ground, origin, dx[face], dy[face]))
        found[face] = code_low[face]
    distance[down], code[down] = result, found
    return distance, code


class _Below:
    """The ground below the points at some distances along a bundle of rays."""

    def __init__(self, ground: Ground, origin: Float64, dx: Float32, dy: Float32) -> None:
        self._ground, self._dx, self._dy = ground, dx, dy
        self._x0, self._y0 = np.float32(origin[0]), np.float32(origin[1])

    def _street(self, distance: Float32) -> tuple[Float32, Float32]:
        u = self._x0 + distance * self._dx
        return u, self._y0 + distance * self._dy - self._ground.bend_at(u)

    def height(self, distance: Float32) -> Float32:
        """Height of the road level [m]."""
        return self._ground.height_at(*self._street(distance))

    def surface(self, distance: Float32) -> npt.NDArray[np.uint8]:
        """Surface code."""
        codes: npt.NDArray[np.uint8] = self._ground.surface.ravel()[self._ground.cells(*self._street(distance))]
        return codes


def _kerb_face(before: Float32, after: Float32, below: _Below) -> Float32:
    """Bisects where rays cross from above the road into the side of a raised surface."""
    for _ in range(5):
        middle = (before + after) / 2
        inside = SURFACE_RAISED[below.surface(middle)]
        before, after = np.where(inside, before, middle), np.where(inside, middle, after)
    return after


def _reflect(
    distance: Float32,
    on_body: npt.NDArray[np.bool_],
    primitive: npt.NDArray[np.int32],
    code: npt.NDArray[np.uint8],
    bodies: Bodies,
    gain: Float32,
    rng: np.random.Generator,
) -> tuple[Float32, npt.NDArray[np.bool_]]:
    """Intensity of each ray, whole numbers in [0, 255], and whether it comes back at all."""
    material = bodies.primitives[primitive, MATERIAL].astype(np.intp)
    median = np.where(on_body, MATERIAL_INTENSITY[material], SURFACE_INTENSITY[code])
    spread = np.where(on_body, MATERIAL_SPREAD[material], np.float32(_GROUND_SPREAD))
    noise = rng.standard_normal(len(distance), dtype=np.float32)
    intensity = np.round(gain * median * np.exp(spread * noise)).clip(0, 255)
    fade = np.where(
        on_body, np.float32(_BODY_FADE), np.float32(_GROUND_FADE) + SURFACE_INTENSITY[code] * np.float32(0.15)
    )
    width = np.where(on_body, np.float32(_BODY_FADE_WIDTH), np.float32(_GROUND_FADE_WIDTH))
    chance = np.where(on_body, MATERIAL_RETURN[material], np.float32(0.995))
    chance = chance / (1 + np.exp(((distance - fade) / width).clip(-30, 30)))
    returned = rng.random(len(distance), dtype=np.float32) < chance
    return intensity.astype(np.float32), returned & np.isfinite(distance)


def _blur(
    distance: Float32, on_body: npt.NDArray[np.bool_], code: npt.NDArray[np.uint8], rng: np.random.Generator
) -> Float32:
    noise = rng.standard_normal(len(distance), dtype=np.float32)
    rough = ~on_body & (code == SURFACE_CODE["grass"])
    scale = np.where(rough, distance * np.float32(_ROUGH_TERRAIN), np.float32(_RANGE_NOISE))
    with np.errstate(invalid="ignore"):
        return np.asarray(distance + scale * noise, dtype=np.float32)


def _stray_returns(
    grid: RayGrid, distance: Float32, intensity: Float32, labels: npt.NDArray[np.uint8], rng: np.random.Generator
) -> None:
    """Turns a few rays that saw nothing into noise, as dust and double reflections do."""
    ray = rng.integers(0, grid.size, rng.poisson(4))
    ray = np.unique(ray[(distance[ray] == np.float32(NO_RETURN)) & (grid.town_dirs[2][ray] > 0)])
    distance[ray] = rng.uniform(2, 40, len(ray))
    intensity[ray] = rng.integers(0, 6, len(ray))
    labels[ray] = NOISE
