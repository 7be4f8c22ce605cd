r"""Exact overlap of rotated boxes seen from above.

The area common to two rectangles is found in the frame of the first, where that one is axis-aligned:

          ____________________ +w/2
         |        __/\        |            The outline of the second rectangle is walked counter-clockwise. Each edge
         |     __/    \       |            contributes the integral over x, within +-l/2, of its y clamped to +-w/2.
         |    /        \      |            Over any x, clamp(upper edge) - clamp(lower edge) is the length that both
         |____\_________\_____| -w/2       rectangles share, so the edges add up to the common area.
               \      __/
     -l/2       \____/        +l/2

Every step is continuous in its input, so touching, contained, identical and flat boxes need no special case. All of
it is computed in float64: there the difference of two float32 positions is exact, however far from the origin they
lie. (In float32, a box of 20 m x 1 cm turned by one unit in the last place loses a ten-thousandth of its overlap.)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lidar_mt.structures.boxes import YAW, L, W, X, Y

# Four products of at most half the first box's area are added; twice what their rounding can leave.
_ROUNDING = 8
# Bounds this close to the threshold, relative to the boxes' areas, decide nothing: far more than their own rounding.
_BOUND_MARGIN = 1e-9
# Ten times the rounding of five added products, relative to them.
_POWER_MARGIN = 1e-14


class Rectangles(NamedTuple):
    """Boxes seen from above, with what every pair would compute again. All members float64 of one shape.

    Attributes:
        x: of the centre [m].
        y: of the centre [m].
        cos: of the yaw.
        sin: of the yaw.
        half_length: along the heading [m].
        half_width: across it [m].
    """

    x: Tensor
    y: Tensor
    cos: Tensor
    sin: Tensor
    half_length: Tensor
    half_width: Tensor

    @classmethod
    def of(cls, boxes: Tensor) -> Rectangles:
        """Outlines of boxes (..., 9), convention of `structures.boxes`; members get the leading shape."""
        exact = boxes.double()
        yaw = exact[..., YAW]
        return cls(exact[..., X], exact[..., Y], yaw.cos(), yaw.sin(), exact[..., L] / 2, exact[..., W] / 2)

    def at(self, index: Tensor) -> Rectangles:
        """Those of P rectangles at an index of any shape, which the members get."""
        return Rectangles(*(member.take(index) for member in self))

    @property
    def area(self) -> Tensor:
        """(P,) float64 [m^2]."""
        return 4 * self.half_length * self.half_width


def bev_intersection(first: Tensor, second: Tensor) -> Tensor:
    """Common area of pairs of boxes seen from above.

    Args:
        first: (P, 9) float, convention of `structures.boxes`.
        second: (P, 9) float, same dtype.

    Returns:
        (P,) same dtype [m^2], exactly 0 for boxes that are apart.
    """
    return common_area(Rectangles.of(first), Rectangles.of(second)).to(first.dtype)


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
    return _iou(Rectangles.of(first), Rectangles.of(second)).to(first.dtype)


def bev_iou_matrix(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of every box of one set with every box of another, seen from above.

    Args:
        first: (N, 9) float, convention of `structures.boxes`.
        second: (M, 9) float, same dtype.

    Returns:
        (N, M) same dtype in [0, 1].
    """
    iou = first.new_zeros(len(first), len(second))
    rows, columns = Rectangles.of(first), Rectangles.of(second)
    i, j = torch.nonzero(circles_meet(rows, columns), as_tuple=True)
    iou[i, j] = _iou(rows.at(i), columns.at(j)).to(iou.dtype)
    return iou


def common_area(first: Rectangles, second: Rectangles) -> Tensor:
    """Common area of pairs of rectangles.

    Args:
        first: P rectangles.
        second: P rectangles.

    Returns:
        (P,) float64 [m^2], exactly 0 for rectangles that are apart.
    """
    x, y = _corners(_in_frame_of(first, second))
    half_length, half_width = first.half_length, first.half_width
    next_x, next_y = torch.roll(x, -1, dims=0), torch.roll(y, -1, dims=0)
    # The part of each edge between x = -l/2 and +l/2; a vertical edge spans no x and contributes nothing.
    start_x, end_x = _clamp(x, half_length), _clamp(next_x, half_length)
    run, rise = next_x - x, next_y - y
    start_y = y + torch.where(run == 0, 0, (start_x - x) / run).clamp(0, 1) * rise
    end_y = y + torch.where(run == 0, 0, (end_x - x) / run).clamp(0, 1) * rise
    area = ((start_x - end_x) * _mean_of_clamped(start_y, end_y, half_width)).sum(dim=0)
    # The edges of separate boxes cancel but for rounding; a test for "any overlap" needs a plain zero there.
    area = torch.where(area > _ROUNDING * torch.finfo(area.dtype).eps * first.area, area, 0)
    return torch.minimum(area, torch.minimum(first.area, second.area))


def iou_exceeds(first: Rectangles, second: Rectangles, threshold: float) -> Tensor:
    """Whether the IoU of pairs of rectangles is larger than a threshold.

    The same answer as from the exact IoU, which is computed only where simple bounds on the common area leave it open.

    Args:
        first: P rectangles.
        second: P rectangles.
        threshold: >= 0.

    Returns:
        (P,) bool.
    """
    # IoU > t is the same as common > t / (1 + t) * (sum of the areas).
    areas = first.area + second.area
    needed = threshold / (1 + threshold) * areas
    low, high = _area_bounds(first, _in_frame_of(first, second))
    margin = _BOUND_MARGIN * areas
    exceeds = low > needed + margin
    (open_,) = torch.nonzero(~exceeds & (high >= needed - margin), as_tuple=True)
    if len(open_):
        exceeds[open_] = _iou(first.at(open_), second.at(open_)) > threshold
    return exceeds


def circles_meet(first: Rectangles, second: Rectangles) -> Tensor:
    """Whether the circles around rectangles overlap: a cheap test that few far pairs pass.

    Args:
        first: (..., N) rectangles.
        second: (..., M) rectangles, same leading shape.

    Returns:
        (..., N, M) bool; False means that the rectangles share no area.
    """
    # |p - q|^2 - (r + s)^2 as one matrix product, which makes one large tensor where broadcasting makes seven.
    x, y, radius, power = _circles(first)
    left = torch.stack([-2 * x, -2 * y, -2 * radius, power, torch.ones_like(x)], dim=-1)
    x, y, radius, power = _circles(second)
    right = torch.stack([x, y, radius, torch.ones_like(x), power], dim=-1)
    return left @ right.mT < 0


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


def _iou(first: Rectangles, second: Rectangles) -> Tensor:
    common = common_area(first, second)
    union = first.area + second.area - common
    return torch.where(union > 0, common / union, 0)


def _in_frame_of(first: Rectangles, second: Rectangles) -> Rectangles:
    """The second rectangles in the frames of the first, where those are axis-aligned about the origin."""
    delta_x, delta_y = second.x - first.x, second.y - first.y
    return Rectangles(
        delta_x * first.cos + delta_y * first.sin,
        delta_y * first.cos - delta_x * first.sin,
        first.cos * second.cos + first.sin * second.sin,
        first.cos * second.sin - first.sin * second.cos,
        second.half_length,
        second.half_width,
    )


def _corners(boxes: Rectangles) -> tuple[Tensor, Tensor]:
    """Corners (x and y, (4, P) each), counter-clockwise."""
    along_x, along_y = boxes.half_length * boxes.cos, boxes.half_length * boxes.sin
    across_x, across_y = -boxes.half_width * boxes.sin, boxes.half_width * boxes.cos
    plus_x, minus_x, plus_y, minus_y = along_x + across_x, along_x - across_x, along_y + across_y, along_y - across_y
    x = boxes.x + torch.stack([plus_x, -minus_x, -plus_x, minus_x])
    y = boxes.y + torch.stack([plus_y, -minus_y, -plus_y, minus_y])
    return x, y


def _area_bounds(first: Rectangles, second: Rectangles) -> tuple[Tensor, Tensor]:
    """Lower and upper bounds of the common area, (P,) float64 each; the second is given in the first's frame.

    From below, the upright rectangle of the second's own proportions (or those turned by a quarter) that fits into it;
    from above, the upright rectangle around it, and where the two broad sides cross.
    """
    cos, sin = second.cos.abs(), second.sin.abs()
    length, width = second.half_length, second.half_width
    outer_x, outer_y = length * cos + width * sin, length * sin + width * cos
    upper = _upright_overlap(first, second, outer_x, outer_y)
    upper = torch.minimum(upper, 4 * first.half_width * width / sin)
    is_along = cos >= sin
    inner_x, inner_y = torch.where(is_along, length, width), torch.where(is_along, width, length)
    near, far = torch.maximum(cos, sin), torch.minimum(cos, sin)
    fit = torch.minimum(inner_x / (inner_x * near + inner_y * far), inner_y / (inner_x * far + inner_y * near))
    return _upright_overlap(first, second, fit * inner_x, fit * inner_y), upper


def _upright_overlap(first: Rectangles, second: Rectangles, half_x: Tensor, half_y: Tensor) -> Tensor:
    """Area common to the first rectangles, about the origin, and upright ones at the centres of the second."""
    x, y = second.x.abs(), second.y.abs()
    common_x = torch.minimum(torch.minimum(first.half_length, half_x) * 2, first.half_length + half_x - x)
    common_y = torch.minimum(torch.minimum(first.half_width, half_y) * 2, first.half_width + half_y - y)
    return common_x.clamp(min=0) * common_y.clamp(min=0)


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


def _circles(boxes: Rectangles) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Centre, radius and power (squared distance of the origin less squared radius) of the circles around boxes."""
    distance, radius = boxes.x**2 + boxes.y**2, boxes.half_length**2 + boxes.half_width**2
    # Less what the rounding of all products can add: rather a pair too many than one too few.
    power = distance - radius - _POWER_MARGIN * (distance + radius)
    return boxes.x, boxes.y, radius.sqrt(), power
