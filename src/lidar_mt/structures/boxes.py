r"""3D boxes: the one convention used everywhere, and the only conversions out of it.

A box is a row of nine float32 numbers in the keyframe's LiDAR frame (x right, y forward, z up):

    x y z    geometric centre [m] (not the bottom)
    w l h    width, length, height [m]; length is along the heading
    yaw      angle of the heading about +z, counter-clockwise from +x [rad], in (-pi, pi]
    vx vy    velocity over ground, expressed in the LiDAR frame [m/s]; NaN where unknown

    seen from above:           y
            heading            ^    l = length along the heading
               \   ___         |    w = width across it
                \ /  /         |
                 /\ /  yaw     +---> x
                /__/

This is nuScenes' own convention (size order w, l, h; centre in the middle), so no value changes on the way in or out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # torch takes seconds to load, which processes that only prepare data need not spend
    from torch import Tensor

X, Y, Z, W, L, H, YAW, VX, VY = range(9)
BOX_SIZE = 9

FloatArray = npt.NDArray[Any]


def wrap_angle(angle_rad: FloatArray) -> FloatArray:
    """Wraps angles to (-pi, pi].

    Args:
        angle_rad: any shape [rad].

    Returns:
        Same shape and dtype, in (-pi, pi].

    Example:
        >>> round(float(wrap_angle(np.array(3.5))), 4)
        -2.7832
    """
    return -((-angle_rad + np.pi) % (2 * np.pi) - np.pi)


def transform_boxes(boxes: FloatArray, target_from_source: FloatArray) -> FloatArray:
    """Moves boxes into another frame by a rigid transform whose z axes are close to parallel.

    The heading vector is rotated in 3D and projected to the target's x-y plane, as the nuScenes evaluation
    does; roll and pitch of a box are not kept.

    Args:
        boxes: (N, 9) float, convention of this module.
        target_from_source: (4, 4) float64 rigid transform.

    Returns:
        (N, 9) float64 in the target frame. The vertical velocity that a tilted frame would add is dropped.
    """
    boxes = np.asarray(boxes, dtype=np.float64)
    rotation, translation = target_from_source[:3, :3], target_from_source[:3, 3]
    out = boxes.copy()
    out[:, :3] = boxes[:, :3] @ rotation.T + translation
    zero = np.zeros(len(boxes))
    # One by one: numpy's own sine of a strided array differs in the last bit with the place of the array in memory.
    heading = np.array([(math.cos(yaw), math.sin(yaw), 0.0) for yaw in boxes[:, YAW].tolist()]).reshape(-1, 3)
    out[:, YAW] = [math.atan2(y, x) for x, y, _ in (heading @ rotation.T).tolist()]
    out[:, VX:] = (np.stack([boxes[:, VX], boxes[:, VY], zero], axis=1) @ rotation.T)[:, :2]
    return out


def bev_corners(boxes: Tensor) -> Tensor:
    """Corners of boxes seen from above.

    Args:
        boxes: (N, 9) float tensor, convention of this module.

    Returns:
        (N, 4, 2) x, y [m]: front left, rear left, rear right, front right (counter-clockwise).

    Example:
        >>> import torch
        >>> bev_corners(torch.tensor([[0.0, 0, 0, 2, 4, 1, 0, 0, 0]]))[0].tolist()
        [[2.0, 1.0], [-2.0, 1.0], [-2.0, -1.0], [2.0, -1.0]]
    """
    import torch

    along = boxes.new_tensor([0.5, -0.5, -0.5, 0.5]) * boxes[:, L, None]
    across = boxes.new_tensor([0.5, 0.5, -0.5, -0.5]) * boxes[:, W, None]
    cos, sin = torch.cos(boxes[:, YAW, None]), torch.sin(boxes[:, YAW, None])
    x = along * cos - across * sin + boxes[:, X, None]
    y = along * sin + across * cos + boxes[:, Y, None]
    return torch.stack([x, y], dim=-1)


def points_in_boxes(points: FloatArray, boxes: FloatArray) -> npt.NDArray[np.bool_]:
    """Which points lie inside which boxes, borders included.

    Args:
        points: (P, >=3) float, x y z [m] in the boxes' frame.
        boxes: (N, 9) float, convention of this module.

    Returns:
        (N, P) bool.
    """
    inside = np.zeros((len(boxes), len(points)), dtype=bool)
    for i, box in enumerate(np.asarray(boxes, dtype=np.float64)):
        delta = points[:, :3] - box[:3]
        cos, sin = np.cos(box[YAW]), np.sin(box[YAW])
        along = delta[:, 0] * cos + delta[:, 1] * sin
        across = delta[:, 1] * cos - delta[:, 0] * sin
        inside[i] = (np.abs(along) <= box[L] / 2) & (np.abs(across) <= box[W] / 2) & (np.abs(delta[:, 2]) <= box[H] / 2)
    return inside
