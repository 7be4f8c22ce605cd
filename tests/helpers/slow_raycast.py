"""Ray casting by stepping along each ray and asking whether the point is inside: slow, and no formula shared."""

from __future__ import annotations

import numpy as np

from lidar_mt.data.simulation import primitives as p

STEP = 0.01


def inside(primitive: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Which points (..., 3) in the town's frame lie inside a primitive."""
    delta = points - primitive[p.X : p.Z + 1]
    cos, sin = np.cos(primitive[p.YAW]), np.sin(primitive[p.YAW])
    x, y = cos * delta[..., 0] + sin * delta[..., 1], cos * delta[..., 1] - sin * delta[..., 0]
    z = delta[..., 2]
    hx, hy, hz = primitive[p.HX : p.HZ + 1]
    if primitive[p.KIND] == p.ELLIPSOID:
        return (x / hx) ** 2 + (y / hy) ** 2 + (z / hz) ** 2 <= 1
    if primitive[p.KIND] == p.FRUSTUM:
        return (np.hypot(x, y) <= hx + primitive[p.FRONT] * z) & (np.abs(z) <= hz)
    ahead, behind = hx - primitive[p.FRONT] * z, hx - primitive[p.REAR] * z
    return (x <= ahead) & (-x <= behind) & (np.abs(y) <= hy - primitive[p.SIDE] * z) & (np.abs(z) <= hz)


def march(origin: np.ndarray, direction: np.ndarray, primitives: np.ndarray, reach: float) -> tuple[float, int]:
    """Distance to the first step inside of a solid primitive and its index; inf and -1 without one."""
    distance = np.arange(0.31, reach, STEP)
    points = origin + distance[:, None] * direction
    best, owner = np.inf, -1
    for index, primitive in enumerate(primitives):
        steps = np.flatnonzero(inside(primitive, points))
        if len(steps) and distance[steps[0]] < best:
            best, owner = distance[steps[0]], index
    return best, owner
