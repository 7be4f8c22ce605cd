"""Non-maximum suppression of rotated boxes, for many independent sets of candidates at once."""

from __future__ import annotations

import torch
from torch import Tensor

from lidar_mt.ops.box_geometry import bev_iou, circles_meet, squared_distances


def rotated_nms(boxes: Tensor, scores: Tensor, iou_threshold: float, pre_max: int, post_max: int) -> Tensor:
    """Greedy suppression by overlap seen from above.

    Args:
        boxes: (N, 9) float, convention of `structures.boxes`.
        scores: (N,) float.
        iou_threshold: a box is dropped if its IoU with a better kept one is larger.
        pre_max: how many of the best boxes are looked at.
        post_max: how many boxes are kept at most.

    Returns:
        (K,) int64 indices of the kept boxes, best score first.

    Example:
        >>> boxes = torch.tensor([[0.0, 0, 0, 2, 4, 1, 0, 0, 0], [0.5, 0, 0, 2, 4, 1, 0, 0, 0]])
        >>> rotated_nms(boxes, torch.tensor([0.5, 0.9]), 0.2, 1000, 83).tolist()
        [1]
    """
    order = torch.argsort(scores, descending=True, stable=True)[:pre_max]
    candidates = boxes[order][None]
    valid = torch.ones_like(order, dtype=torch.bool)[None]
    keep = keep_greedily(overlapping(candidates, valid, iou_threshold), valid, post_max)
    return order[keep[0]]


def circle_nms(boxes: Tensor, scores: Tensor, radius_m: float, post_max: int) -> Tensor:
    """Greedy suppression by the distance between centres.

    Args:
        boxes: (N, 9) float, convention of `structures.boxes`.
        scores: (N,) float.
        radius_m: a box is dropped if a better kept one is at most this far away, seen from above.
        post_max: how many boxes are kept at most.

    Returns:
        (K,) int64 indices of the kept boxes, best score first.
    """
    order = torch.argsort(scores, descending=True, stable=True)
    candidates = boxes[order][None]
    valid = torch.ones_like(order, dtype=torch.bool)[None]
    close = within_radius(candidates, candidates.new_tensor([radius_m**2]))
    return order[keep_greedily(close, valid, post_max)[0]]


def overlapping(boxes: Tensor, valid: Tensor, iou_threshold: float) -> Tensor:
    """Which candidates of a set overlap more than allowed.

    Args:
        boxes: (S, M, 9) float, M candidates in each of S independent sets.
        valid: (S, M) bool; other candidates overlap nothing.
        iou_threshold: in [0, 1).

    Returns:
        (S, M, M) bool, filled for columns right of the diagonal only: [s, i, j] with i < j.
    """
    near = circles_meet(boxes, boxes) & valid[:, :, None] & valid[:, None, :]
    which, i, j = torch.nonzero(near.triu(diagonal=1), as_tuple=True)
    result = torch.zeros_like(near)
    result[which, i, j] = bev_iou(boxes[which, i], boxes[which, j]) > iou_threshold
    return result


def within_radius(boxes: Tensor, squared_radius: Tensor) -> Tensor:
    """Which candidates of a set have centres close to each other, seen from above.

    Args:
        boxes: (S, M, 9) float, M candidates in each of S independent sets.
        squared_radius: (S,) float [m^2].

    Returns:
        (S, M, M) bool.
    """
    return squared_distances(boxes, boxes) <= squared_radius.view(-1, 1, 1)


def keep_greedily(conflicts: Tensor, valid: Tensor, post_max: int) -> Tensor:
    """Keeps each candidate that conflicts with no better kept one, best first.

    "i is kept unless a kept one before it conflicts" is repeated for all candidates at once until nothing changes.
    The first candidate is right from the start and each round settles at least one more, so the fixed point is the
    greedy answer; it is reached after as many rounds as the longest chain of conflicts, usually under ten.

    Args:
        conflicts: (S, M, M) bool; only entries [s, i, j] with i < j are read.
        valid: (S, M) bool; candidates are ordered best first, others neither stay nor suppress.
        post_max: how many candidates of each set are kept at most.

    Returns:
        (S, M) bool.
    """
    conflicts = conflicts.triu(diagonal=1)
    keep = valid
    while True:
        settled = valid & ~(conflicts & keep[:, :, None]).any(dim=1)
        if torch.equal(settled, keep):
            return keep & (keep.cumsum(dim=1) <= post_max)
        keep = settled
