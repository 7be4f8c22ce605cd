"""A linear map of points followed by a maximum over each pillar, in blocks that stay in the cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

# Rows per block on a CPU: 16384 x 64 floats are 4 MiB. Allocating the product of all points at once costs about four
# times as much as computing it (page faults), and the backward pass recomputes blocks instead of keeping them.
_CPU_BLOCK = 16384


def linear_segment_max(points: Tensor, weight: Tensor, segment: Tensor, initial: Tensor) -> Tensor:
    """Maximum over each segment of `points @ weight.T`, and of the segment's initial value.

    The gradient of a maximum is split evenly among all that attain it; the initial value's share goes nowhere.

    Args:
        points: (P, F) float.
        weight: (C, F) float.
        segment: (P,) int64 segment of each point, an index into `initial`. Sorted segments are fastest.
        initial: (V,) float, for example 0 where an all-zero point takes part, else -inf.

    Returns:
        (V, C) float.

    Example:
        >>> points = torch.tensor([[1.0], [3.0], [-2.0]])
        >>> linear_segment_max(points, torch.ones(1, 1), torch.tensor([0, 0, 1]), torch.zeros(2)).tolist()
        [[3.0], [0.0]]
    """
    result: Tensor = _LinearSegmentMax.apply(points, weight, segment, initial)  # type: ignore[no-untyped-call]
    return result


class _LinearSegmentMax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, weight: Tensor, segment: Tensor, initial: Tensor) -> Tensor:
        out = initial[:, None].repeat(1, weight.shape[0])
        for rows in _blocks(points):
            product = points[rows] @ weight.T
            out.scatter_reduce_(0, segment[rows, None].expand_as(product), product, "amax")
        ctx.save_for_backward(points, weight, segment, initial, out)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        points, weight, segment, initial, out = ctx.saved_tensors
        ties = (out == initial[:, None]).to(out.dtype)
        for rows in _blocks(points):
            ties.index_add_(0, segment[rows], _attained(points, weight, segment, out, rows).to(out.dtype))
        share = grads[0] / ties.clamp_(min=1)
        grad_weight = torch.zeros_like(weight)
        grad_points = torch.zeros_like(points) if ctx.needs_input_grad[0] else None
        for rows in _blocks(points):
            grad_product = share[segment[rows]] * _attained(points, weight, segment, out, rows)
            grad_weight += grad_product.T @ points[rows]
            if grad_points is not None:
                grad_points[rows] = grad_product @ weight
        return grad_points, grad_weight, None, None


def _attained(points: Tensor, weight: Tensor, segment: Tensor, out: Tensor, rows: slice) -> Tensor:
    """Which products are their segment's maximum; the same block gives the same bits as in the forward pass."""
    return (points[rows] @ weight.T) == out[segment[rows]]


def _blocks(points: Tensor) -> Iterator[slice]:
    size = _CPU_BLOCK if points.device.type == "cpu" else max(len(points), 1)
    for start in range(0, len(points), size):
        yield slice(start, start + size)
