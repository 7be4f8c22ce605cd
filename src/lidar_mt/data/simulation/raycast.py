"""Casts a bundle of rays at primitives: exact nearest hit, vectorised over (ray, primitive) pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lidar_mt.data.simulation.primitives import (
    BLOCK,
    ELLIPSOID,
    FREE_PATH,
    FRONT,
    FRUSTUM,
    HX,
    HY,
    HZ,
    KIND,
    REAR,
    SIDE,
    YAW,
    X,
    Y,
    Z,
    extents,
)

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

_MISS = np.float32(np.inf)
# Nothing solid is nearer to the sensor than this [m]; it keeps the sensor out of what it might drive through.
_NEAREST = np.float32(0.3)
_PRIMITIVE_BITS = 24
_TINY = np.float32(1e-30)


@dataclass(frozen=True)
class RayGrid:
    """Directions of one turn, ordered by azimuth step, then ring.

    Attributes:
        steps: azimuth steps A of the turn.
        first_azimuth: azimuth of step 0 in the sensor frame [rad]; azimuth falls from step to step, as the sensor
            turns clockwise seen from above.
        elevations: (R,) float64 elevation of each ring, ascending and evenly spaced [rad].
        sensor_dirs: (3, A * R) float32 unit directions in the sensor frame.
        town_dirs: (3, A * R) float32 the same in the town's frame.
        town_from_sensor: (3, 3) float64 rotation.
    """

    steps: int
    first_azimuth: float
    elevations: Float64
    sensor_dirs: Float32
    town_dirs: Float32
    town_from_sensor: Float64

    @property
    def rings(self) -> int:
        """Number of rings R."""
        return len(self.elevations)

    @property
    def size(self) -> int:
        """Number of rays."""
        return self.steps * self.rings


class Hits(NamedTuple):
    """Nearest hit of each ray, and every pair that would hit if nothing else were there.

    Attributes:
        distance: (rays,) float32 along the ray [m]; infinite without a hit.
        primitive: (rays,) int32 index of the primitive hit; -1 without a hit.
        pair_ray: (H,) int32 ray of each hitting pair.
        pair_primitive: (H,) int32 primitive of each hitting pair.
    """

    distance: Float32
    primitive: Int32
    pair_ray: Int32
    pair_primitive: Int32


def make_ray_grid(steps: int, first_azimuth: float, elevations: Float64, town_from_sensor: Float64) -> RayGrid:
    """Builds the directions of one turn; see `RayGrid` for the arguments."""
    azimuth = first_azimuth - np.arange(steps) * (2 * np.pi / steps)
    level = np.cos(elevations)
    x = np.outer(np.cos(azimuth), level).ravel()
    y = np.outer(np.sin(azimuth), level).ravel()
    z = np.tile(np.sin(elevations), steps)
    sensor = np.stack([x, y, z])
    town = np.stack([row[0] * x + row[1] * y + row[2] * z for row in town_from_sensor])
    return RayGrid(
        steps, first_azimuth, elevations, sensor.astype(np.float32), town.astype(np.float32), town_from_sensor
    )


def cast(grid: RayGrid, origin: Float64, primitives: Float64, rng: np.random.Generator) -> Hits:
    """Nearest hit of every ray.

    Args:
        grid: the rays.
        origin: (3,) float64 sensor position in the town's frame.
        primitives: (N, COLUMNS) float64 placed primitives.
        rng: decides how deep rays get into foliage.
    """
    relative = primitives.copy()
    relative[:, X : Z + 1] -= origin
    windows = ray_windows(grid, relative)
    distances, rays, owners = [], [], []
    for kind, intersect in ((BLOCK, _hit_blocks), (FRUSTUM, _hit_frustums), (ELLIPSOID, _hit_ellipsoids)):
        chosen = np.flatnonzero(primitives[:, KIND] == kind)
        row, ray = expand_windows(grid, windows[chosen])
        local = relative[chosen]
        enter, leave = intersect(*_local_rays(grid, local, row, ray), local.astype(np.float32), row)
        distance = _stop_inside(enter, leave, local[:, FREE_PATH], row, rng)
        hit = np.flatnonzero(distance < _MISS)
        distances.append(distance[hit])
        rays.append(ray[hit])
        owners.append(chosen[row[hit]].astype(np.int32))
    return _nearest(grid.size, np.concatenate(distances), np.concatenate(rays), np.concatenate(owners))


def ray_windows(grid: RayGrid, relative: Float64) -> Int64:
    """The azimuth steps and rings that can meet each primitive.

    Args:
        grid: the rays.
        relative: (N, COLUMNS) float64 primitives relative to the sensor, axes of the town.

    Returns:
        (N, 4) int64 first step (any integer, to be taken modulo the turn), number of steps, first ring, number of
        rings; zero rings for a primitive above or below the beams.
    """
    half = extents(relative)
    corners = _corners(relative, half)
    sensor = corners @ grid.town_from_sensor  # the transpose of the inverse rotation, for row vectors
    step = 2 * np.pi / grid.steps
    centre = relative[:, X : Z + 1] @ grid.town_from_sensor
    middle = np.arctan2(centre[:, 1], centre[:, 0])
    offset = np.arctan2(sensor[..., 1], sensor[..., 0]) - middle[:, None]
    offset = (offset + np.pi) % (2 * np.pi) - np.pi
    low, high = middle + offset.min(axis=1), middle + offset.max(axis=1)
    nearest = _nearest_axis_distance(relative, half, grid.town_from_sensor)
    around = (high - low > np.pi) | (nearest < 0.05)
    first = np.floor((grid.first_azimuth - high) / step).astype(np.int64)
    count = np.ceil((grid.first_azimuth - low) / step).astype(np.int64) - first + 1
    count = np.where(around, grid.steps, np.minimum(count, grid.steps))
    ring, rings = _ring_window(grid, sensor, nearest)
    return np.stack([first, count, ring, rings], axis=1)


def _corners(relative: Float64, half: Float64) -> Float64:
    """(N, 8, 3) corners of the yaw-aligned boxes around primitives, relative to the sensor."""
    sign = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)], dtype=np.float64)
    local = sign[None] * half[:, None]
    cos, sin = np.cos(relative[:, YAW, None]), np.sin(relative[:, YAW, None])
    turned = [cos * local[..., 0] - sin * local[..., 1], sin * local[..., 0] + cos * local[..., 1], local[..., 2]]
    corners: Float64 = np.stack(turned, axis=-1) + relative[:, None, X : Z + 1]
    return corners


def _nearest_axis_distance(relative: Float64, half: Float64, town_from_sensor: Float64) -> Float64:
    """(N,) lower bound of the distance of each box from the axis that the sensor turns about [m]."""
    cos, sin = np.cos(relative[:, YAW]), np.sin(relative[:, YAW])
    along = np.abs(cos * relative[:, X] + sin * relative[:, Y])
    across = np.abs(cos * relative[:, Y] - sin * relative[:, X])
    level = np.hypot(np.maximum(along - half[:, 0], 0), np.maximum(across - half[:, 1], 0))
    # The axis leans against the vertical, so a tall body comes nearer to it than its footprint does.
    upright = town_from_sensor[2, 2]
    tallest = np.abs(relative[:, Z]) + half[:, 2]
    nearest: Float64 = np.maximum(level * upright - tallest * np.sqrt(max(0.0, 1 - upright**2)), 0.0)
    return nearest


def _ring_window(grid: RayGrid, corners: Float64, nearest: Float64) -> tuple[Int64, Int64]:
    top, bottom = corners[..., 2].max(axis=1), corners[..., 2].min(axis=1)
    furthest = np.hypot(corners[..., 0], corners[..., 1]).max(axis=1)
    high = np.arctan2(top, np.where(top > 0, nearest, furthest))
    low = np.arctan2(bottom, np.where(bottom < 0, nearest, furthest))
    spacing = grid.elevations[1] - grid.elevations[0]
    first = np.ceil((low - grid.elevations[0]) / spacing - 1e-6).clip(0, grid.rings)
    last = np.floor((high - grid.elevations[0]) / spacing + 1e-6).clip(-1, grid.rings - 1)
    return first.astype(np.int64), np.maximum(last - first + 1, 0).astype(np.int64)


def expand_windows(grid: RayGrid, windows: Int64) -> tuple[Int32, Int32]:
    """Lists the (primitive row, ray) pairs of windows.

    Returns:
        row and ray, (P,) int32 each, sorted by row.
    """
    first, count, ring, rings = windows.astype(np.int32).T
    pairs = count * rings
    row = np.repeat(np.arange(len(windows), dtype=np.int32), pairs)
    within = np.arange(len(row), dtype=np.int32) - np.repeat(np.cumsum(pairs, dtype=np.int32) - pairs, pairs)
    step, ring_offset = np.divmod(within, np.repeat(rings, pairs))
    step += np.repeat(first % grid.steps, pairs)
    step -= np.int32(grid.steps) * (step >= grid.steps)
    return row, step * np.int32(grid.rings) + ring_offset + np.repeat(ring, pairs)


def _local_rays(grid: RayGrid, local: Float64, row: Int32, ray: Int32) -> tuple[Float32, tuple[Float32, ...]]:
    """Sensor position (3, N) and directions (3 arrays of P) in the primitives' own frames."""
    cos, sin = np.cos(local[:, YAW]), np.sin(local[:, YAW])
    x, y, z = local[:, X], local[:, Y], local[:, Z]
    origin = np.stack([-(cos * x + sin * y), -(cos * y - sin * x), -z]).astype(np.float32)
    pair_cos, pair_sin = cos.astype(np.float32)[row], sin.astype(np.float32)[row]
    dx, dy, dz = (component[ray] for component in grid.town_dirs)
    return origin, (pair_cos * dx + pair_sin * dy, pair_cos * dy - pair_sin * dx, dz)


def _hit_blocks(origin: Float32, direction: tuple[Float32, ...], local: Float32, row: Int32) -> tuple[Float32, Float32]:
    """Distances at which rays enter and leave blocks; enter > leave where they miss."""
    dx, dy, dz = direction
    ox, oy, oz = origin
    hx, hy, hz = local[:, HX], local[:, HY], local[:, HZ]
    front, rear, side = (local[:, column] for column in (FRONT, REAR, SIDE))
    faces = (
        (hx - ox - front * oz, front, dx),
        (hx + ox - rear * oz, rear, -dx),
        (hy - oy - side * oz, side, dy),
        (hy + oy - side * oz, side, -dy),
        (hz - oz, None, dz),
        (hz + oz, None, -dz),
    )
    enter = np.full(len(row), -_MISS, dtype=np.float32)
    leave = np.full(len(row), _MISS, dtype=np.float32)
    for room, lean, along in faces:
        # The sum turns both zeros into a positive number: a ray along a face is outside of it or never leaves by it.
        rate = (along if lean is None else along + lean[row] * dz) + _TINY
        distance = room[row] / rate
        inwards = rate < 0
        np.maximum(enter, np.where(inwards, distance, -_MISS), out=enter)
        np.minimum(leave, np.where(inwards, _MISS, distance), out=leave)
    return enter, leave


def _hit_frustums(
    origin: Float32, direction: tuple[Float32, ...], local: Float32, row: Int32
) -> tuple[Float32, Float32]:
    """As `_hit_blocks`; a frustum is entered through its mantle or its top."""
    dx, dy, dz = direction
    radius, slope, hz = local[:, HX], local[:, FRONT], local[:, HZ]
    ox, oy, oz = origin
    at_sensor = radius + slope * oz
    constant = (ox * ox + oy * oy - at_sensor * at_sensor)[row]
    ox, oy, oz, at_sensor, slope, hz = (values[row] for values in (ox, oy, oz, at_sensor, slope, hz))
    a = dx * dx + dy * dy - slope * slope * dz * dz
    b = ox * dx + oy * dy - slope * at_sensor * dz
    discriminant = b * b - a * constant
    root = np.sqrt(np.maximum(discriminant, 0))
    mantle = (-b - root) / a
    on_mantle = (discriminant > 0) & (mantle > 0) & (np.abs(oz + mantle * dz) <= hz)
    cap = (hz - oz) / dz
    rim = at_sensor - slope * (oz - hz)
    in_cap = (dz < 0) & (cap > 0) & ((ox + cap * dx) ** 2 + (oy + cap * dy) ** 2 <= rim * rim)
    enter = np.minimum(np.where(on_mantle, mantle, _MISS), np.where(in_cap, cap, _MISS))
    return enter, np.where(enter < _MISS, _MISS, -_MISS)


def _hit_ellipsoids(
    origin: Float32, direction: tuple[Float32, ...], local: Float32, row: Int32
) -> tuple[Float32, Float32]:
    """As `_hit_blocks`."""
    half = [local[:, column] for column in (HX, HY, HZ)]
    start = [o / h for o, h in zip(origin, half, strict=True)]
    steps = [d / h[row] for d, h in zip(direction, half, strict=True)]
    a = steps[0] ** 2 + steps[1] ** 2 + steps[2] ** 2
    b = start[0][row] * steps[0] + start[1][row] * steps[1] + start[2][row] * steps[2]
    constant = (start[0] ** 2 + start[1] ** 2 + start[2] ** 2 - 1)[row]
    discriminant = b * b - a * constant
    root = np.sqrt(np.maximum(discriminant, 0))
    hit = discriminant > 0
    return np.where(hit, (-b - root) / a, _MISS), np.where(hit, (-b + root) / a, -_MISS)


def _stop_inside(enter: Float32, leave: Float32, free_path: Float64, row: Int32, rng: np.random.Generator) -> Float32:
    """Distance of the hit of each pair; infinite for a miss or a ray that gets through foliage."""
    porous = np.flatnonzero((free_path[row] > 0) & (enter < leave) & (leave > 0))
    depth = rng.standard_exponential(len(porous), dtype=np.float32) * free_path[row[porous]].astype(np.float32)
    enter[porous] = np.maximum(enter[porous], 0) + depth
    return np.where((enter <= leave) & (enter > _NEAREST), enter, _MISS)


def _nearest(rays: int, distance: Float32, ray: Int32, primitive: Int32) -> Hits:
    # Positive floats order like their bit patterns, so one integer minimum finds both distance and primitive.
    key = (distance.view(np.int32).astype(np.int64) << _PRIMITIVE_BITS) | primitive
    best = np.full(rays, np.iinfo(np.int64).max, dtype=np.int64)
    np.minimum.at(best, ray, key)
    missed = best == np.iinfo(np.int64).max
    nearest = (best >> _PRIMITIVE_BITS).astype(np.int32).view(np.float32)
    owner = (best & ((1 << _PRIMITIVE_BITS) - 1)).astype(np.int32)
    return Hits(np.where(missed, _MISS, nearest), np.where(missed, np.int32(-1), owner), ray, primitive)
