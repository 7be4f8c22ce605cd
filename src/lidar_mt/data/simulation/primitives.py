"""The three bodies that everything in the town is built of, as rows of one float array.

block      a box with vertical axis whose four sides may lean inwards (windscreens, hoppers)
frustum    a vertical cone stump: poles, trunks, cones, tyres stacks
ellipsoid  crowns, bushes, heads
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lidar_mt.data.simulation.taxonomy import MATERIAL_CODE

FloatArray = npt.NDArray[np.float64]

BLOCK, FRUSTUM, ELLIPSOID = range(3)

# Columns of a primitive. Centre and yaw are in the owner's frame (x forward, y left, z up from the ground) or, once
# placed, in the town's. HX HY HZ are half extents at mid height; for a frustum HX is the radius at mid height and
# FRONT the growth of the radius per metre of height. FRONT REAR SIDE are inward leans [m per m of height]. A ray that
# enters a body with FREE_PATH > 0 is stopped after an exponentially distributed depth of that mean [m], or leaves it.
KIND, X, Y, Z, YAW, HX, HY, HZ, FRONT, REAR, SIDE, MATERIAL, FREE_PATH = range(13)
COLUMNS = 13

Row = list[float]
Shape = list[Row]


def block(
    x: tuple[float, float],
    width: float,
    z: tuple[float, float],
    material: str,
    *,
    y: float = 0.0,
    yaw: float = 0.0,
    lean: tuple[float, float, float] = (0.0, 0.0, 0.0),
    free_path: float = 0.0,
) -> Row:
    """A box from `x[0]` to `x[1]` and `z[0]` to `z[1]` at its foot.

    Args:
        x: rear and front end [m].
        width: extent along y [m].
        z: bottom and top [m].
        material: name in `taxonomy.MATERIALS`.
        y: centre along y [m].
        yaw: rotation about the centre [rad].
        lean: how far the front, the rear and each side move inwards from bottom to top [m].
        free_path: mean free path of a ray inside [m]; 0 for a solid body.
    """
    length, height = x[1] - x[0], z[1] - z[0]
    front, rear, side = lean
    centre_x = (x[0] + x[1]) / 2 + (rear - front) / 4
    half = (length / 2 - (front + rear) / 4, width / 2 - side / 2, height / 2)
    leans = (front / height, rear / height, side / height)
    return [BLOCK, centre_x, y, (z[0] + z[1]) / 2, yaw, *half, *leans, MATERIAL_CODE[material], free_path]


def frustum(x: float, y: float, z: tuple[float, float], radius: tuple[float, float], material: str) -> Row:
    """A vertical cone stump with the radii `radius` at its bottom and top [m]."""
    height = z[1] - z[0]
    mean, slope = (radius[0] + radius[1]) / 2, (radius[1] - radius[0]) / height
    return [
        FRUSTUM,
        x,
        y,
        (z[0] + z[1]) / 2,
        0.0,
        mean,
        mean,
        height / 2,
        slope,
        0.0,
        0.0,
        MATERIAL_CODE[material],
        0.0,
    ]


def ellipsoid(
    centre: tuple[float, float, float], half: tuple[float, float, float], material: str, free_path: float = 0.0
) -> Row:
    """An ellipsoid with the half axes `half` [m]."""
    return [ELLIPSOID, *centre, 0.0, *half, 0.0, 0.0, 0.0, MATERIAL_CODE[material], free_path]


def extents(primitives: FloatArray) -> FloatArray:
    """Half sizes of the yaw-aligned box around each primitive.

    Args:
        primitives: (N, COLUMNS) float64.

    Returns:
        (N, 3) float64 [m].
    """
    half = primitives[:, HX : HZ + 1].copy()
    lean_x = np.maximum(np.abs(primitives[:, FRONT]), np.abs(primitives[:, REAR]))
    half[:, 0] += lean_x * primitives[:, HZ]
    round_body = primitives[:, KIND] == FRUSTUM
    lean_y = np.where(round_body, lean_x, np.abs(primitives[:, SIDE]))
    half[:, 1] += lean_y * primitives[:, HZ]
    return half


def place(primitives: FloatArray, poses: FloatArray) -> FloatArray:
    """Moves primitives from their owners' frames into the town's.

    Args:
        primitives: (N, COLUMNS) float64.
        poses: (N, 4) float64 x, y, z, yaw of each primitive's owner.

    Returns:
        (N, COLUMNS) float64, a copy.
    """
    out = primitives.copy()
    cos, sin = np.cos(poses[:, 3]), np.sin(poses[:, 3])
    out[:, X] = poses[:, 0] + cos * primitives[:, X] - sin * primitives[:, Y]
    out[:, Y] = poses[:, 1] + sin * primitives[:, X] + cos * primitives[:, Y]
    out[:, Z] += poses[:, 2]
    out[:, YAW] += poses[:, 3]
    return out
