r"""Exact overlap of rotated boxes seen from above.

The area common to two rectangles is found in the frame of the first, where that one is axis-aligned:

          ____________________ +w/2
         |        __/\        |            The outline of the second rectangle is walked counter-clockwise. Each edge
         |     __/    \       |            contributes the integral over x, within +-l/2, of its y clamped to +-w/2.
         |    /        \      |            Over any x, clamp(upper edge) - clamp(lower edge) is the length that both
         |____\_________\_____| -w/2       rectangles share, so the edges add up to the common area.
               \      __/
     -l/2       \____/        +l/2

Every step is continuous in its input, so touching, contained, identical and flat boxes need no special case.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lidar_mt.structures.boxes import YAW, L, W, X, Y

# Four products of at most half the first box's area are added; twice what their rounding can leave.
_ROUNDING = 8


def bev_intersection(first: Tensor, second: Tensor) -> Tensor:
    """Common area of pairs of boxes seen from above.

    Args:
        first: (P, 9) float, convention of `structures.boxes`.
        second: (P, 9) float, same dtype.

    Returns:
        (P,) same dtype [m^2], exactly 0 for boxes that are apart.
    """
    x, y = _corners_in_frame_of(first, second)
    half_length, half_width = first[:, L, None] / 2, first[:, W, None] / 2
    next_x, next_y = torch.roll(x, -1, dims=1), torch.roll(y, -1, dims=1)
    # The part of each edge between x = -l/2 and +l/2; a vertical edge spans no x and contributes nothing.
    start_x, end_x = _clamp(x, half_length), _clamp(next_x, half_length)
    run = next_x - x
    rise = next_y - y
    start_y = y + torch.where(run == 0, 0, (start_x - x) / run).clamp(0, 1) * rise
    end_y = y + torch.where(run == 0, 0, (end_x - x) / run).clamp(0, 1) * rise
    area = ((start_x - end_x) * _mean_of_clamped(start_y, end_y, half_width)).sum(dim=1)
    # The edges of separate boxes cancel but for rounding; a test for "any overlap" needs a plain zero there.
    area = torch.where(area > _ROUNDING * torch.finfo(area.dtype).eps * _area(first), area, 0)
    return torch.minimum(area, torch.minimum(_area(first), _area(second)))


def bev_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of pairs of boxes seen from above.

    Args:
        first: (P, 9) float, convention of `structures.boxes`.
        second: (P, 9) float, same dtype.

    Returns:
        (P,) same dtype in [0, 1]; 0 for two boxes without area.

    Example:
        >>> box = torch.tensor([[0.0, 0, 0, 2, 4, 1, 0, 0, 0]])
        >>> bev_iou(box, box + torch.tensor([2.0, 0, 0, 0, 0, 0, 0, 0, 0])).tolist()
        [0.3333333432674408]
    """
    common = bev_intersection(first, second)
    union = _area(first) + _area(second) - common
    return torch.where(union > 0, common / union, 0)


def bev_iou_matrix(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of every box of one set with every box of another, seen from above.

    Args:
        first: (N, 9) float, convention of `structures.boxes`.
        second: (M, 9) float, same dtype.

    Returns:
        (N, M) same dtype in [0, 1].
    """
    iou = first.new_zeros(len(first), len(second))
    i, j = torch.nonzero(circles_meet(first, second), as_tuple=True)
    iou[i, j] = bev_iou(first[i], second[j])
    return iou


def circles_meet(first: Tensor, second: Tensor) -> Tensor:
    """Whether the circles around boxes overlap, seen from above: a cheap test that few far pairs pass.

    Args:
        first: (..., N, 9) float, convention of `structures.boxes`.
        second: (..., M, 9) float, same dtype and leading shape.

    Returns:
        (..., N, M) bool; False means that the boxes share no area.
    """
    reach = _circle_radius(first)[..., :, None] + _circle_radius(second)[..., None, :]
    return squared_distances(first, second) < reach**2


def squared_distances(first: Tensor, second: Tensor) -> Tensor:
    """Squared distances between box centres, seen from above.

    Args:
        first: (..., N, 9) float, convention of `structures.boxes`.
        second: (..., M, 9) float, same dtype and leading shape.

    Returns:
        (..., N, M) same dtype [m^2].
    """
    delta_x = first[..., :, None, X] - second[..., None, :, X]
    delta_y = first[..., :, None, Y] - second[..., None, :, Y]
    return delta_x**2 + delta_y**2


def _corners_in_frame_of(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Corners (x and y, (P, 4) each) of the second box, counter-clockwise, in the first box's frame."""
    cos, sin = torch.cos(first[:, YAW]), torch.sin(first[:, YAW])
    delta_x, delta_y = second[:, X] - first[:, X], second[:, Y] - first[:, Y]
    centre_x, centre_y = delta_x * cos + delta_y * sin, delta_y * cos - delta_x * sin
    turn = second[:, YAW] - first[:, YAW]
    cos, sin = torch.cos(turn), torch.sin(turn)
    along_x, along_y = second[:, L] / 2 * cos, second[:, L] / 2 * sin
    across_x, across_y = -second[:, W] / 2 * sin, second[:, W] / 2 * cos
    corners = ((1, 1), (-1, 1), (-1, -1), (1, -1))
    x = torch.stack([centre_x + a * along_x + b * across_x for a, b in corners], dim=1)
    y = torch.stack([centre_y + a * along_y + b * across_y for a, b in corners], dim=1)
    return x, y


def _mean_of_clamped(start: Tensor, end: Tensor, limit: Tensor) -> Tensor:
    """Mean of clamp(v, -limit, limit) while v runs evenly from start to end.

    The clamped ends' midpoint is right unless v spends time beyond the limits; the second term weighs the time spent
    at each end. It vanishes with the clamped run, so a division by a small run does no harm.
    """
    low, high = _clamp(start, limit), _clamp(end, limit)
    run = end - start
    imbalance = torch.where(run == 0, 0, ((start - low) + (end - high)) / run)
    return (low + high + imbalance * (high - low)) / 2


def _clamp(value: Tensor, limit: Tensor) -> Tensor:
    return torch.maximum(torch.minimum(value, limit), -limit)


def _area(boxes: Tensor) -> Tensor:
    return boxes[..., W] * boxes[..., L]


def _circle_radius(boxes: Tensor) -> Tensor:
    return torch.hypot(boxes[..., W], boxes[..., L]) / 2
