"""Non-maximum suppression of rotated boxes, for many independent sets of candidates at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lidar_mt.ops.box_geometry import Rectangles, circles_meet, iou_exceeds, squared_distances

#: From two lists of candidates, (S, A) and (S, B) int64 indices, and the pairs asked for, (S, A, B) bool, to those of
#: them that are in conflict, (S, A, B) bool.
Conflicts = Callable[[Tensor, Tensor, Tensor], Tensor]

# How many candidates of a set are compared with each other at once: at first few, because in a crowd each of them meets
# all the others; then in proportion to what may still be kept, within these limits.
_FIRST_LEADERS = 64
_LEADERS_PER_ROOM, _LEAST_LEADERS, _MOST_LEADERS = 2, 64, 256
# And how many times as many are held against what is kept already, which most of them do not survive.
_WINDOW_PER_LEADER = 6


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
    return order[keep_greedily(rotated_conflicts(candidates, iou_threshold), valid, post_max)[0]]


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
    close = circle_conflicts(candidates, candidates.new_tensor([radius_m**2]))
    return order[keep_greedily(close, valid, post_max)[0]]


def rotated_conflicts(boxes: Tensor, iou_threshold: float) -> Conflicts:
    """Which boxes overlap more than allowed, seen from above.

    Args:
        boxes: (S, M, 9) float, M candidates in each of S independent sets.
        iou_threshold: >= 0; a larger IoU is a conflict.
    """
    outlines = Rectangles.of(boxes.flatten(0, 1))
    offset = boxes.shape[1] * torch.arange(len(boxes), device=boxes.device)[:, None]

    def conflicts(first: Tensor, second: Tensor, asked: Tensor) -> Tensor:
        first, second = first + offset, second + offset
        result = circles_meet(outlines.at(first), outlines.at(second)) & asked
        which, i, j = torch.nonzero(result, as_tuple=True)
        pairs = outlines.at(first[which, i]), outlines.at(second[which, j])
        result[which, i, j] = iou_exceeds(*pairs, iou_threshold)
        return result

    return conflicts


def circle_conflicts(boxes: Tensor, squared_radius: Tensor) -> Conflicts:
    """Which boxes have centres close to each other, seen from above.

    Args:
        boxes: (S, M, 9) float, M candidates in each of S independent sets.
        squared_radius: (S,) float [m^2]; centres at most this far apart are a conflict.
    """
    rows = torch.arange(len(boxes), device=boxes.device)[:, None]

    def conflicts(first: Tensor, second: Tensor, asked: Tensor) -> Tensor:
        close = squared_distances(boxes[rows, first], boxes[rows, second]) <= squared_radius.view(-1, 1, 1)
        return close & asked

    return conflicts


def keep_greedily(conflicts: Conflicts, valid: Tensor, post_max: int) -> Tensor:
    """Keeps each candidate that conflicts with no better kept one, best first.

    A few of the best open candidates of every set are settled at a time: those that conflict with what is kept fall
    out, and the first of the rest are compared with each other. So no pair is looked at that the answer does not need,
    but for some among the few, and a set is done with as soon as it is full.

    Args:
        conflicts: see `Conflicts`.
        valid: (S, M) bool; candidates are ordered best first, others neither stay nor suppress.
        post_max: how many candidates of each set are kept at most.

    Returns:
        (S, M) bool.
    """
    keep = torch.zeros_like(valid)
    index, is_open = first_of(valid, _FIRST_LEADERS)
    todo = valid
    while True:
        later = (is_open[:, :, None] & is_open[:, None, :]).triu(diagonal=1)
        settled = _fixed_point(conflicts(index, index, later), is_open)
        settled &= settled.cumsum(dim=1) <= post_max - keep.sum(dim=1, keepdim=True)
        keep = _assigned(keep, index, settled, True)
        room = post_max - keep.sum(dim=1, keepdim=True)
        todo = _assigned(todo, index, is_open, False) & (room > 0)
        leaders = min(max(_LEADERS_PER_ROOM * int(room.max()), _LEAST_LEADERS), _MOST_LEADERS)
        index, is_open = first_of(todo, _WINDOW_PER_LEADER * leaders)
        if not index.shape[1]:
            return keep
        kept, is_kept = first_of(keep, post_max)
        suppressed = conflicts(kept, index, is_kept[:, :, None] & is_open[:, None, :]).any(dim=1)
        todo = _assigned(todo, index, is_open & suppressed, False)
        # Only from among those that were held against what is kept.
        place, is_survivor = first_of(is_open & ~suppressed, leaders)
        index, is_open = index.gather(1, place), is_survivor


def first_of(mask: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Places of the first set entries of each row.

    Args:
        mask: (S, M) bool.
        count: how many entries of a row at most.

    Returns:
        index (S, K) int64 and which of its entries are real, (S, K) bool; K is the most of any row, up to `count`.

    Example:
        >>> first_of(torch.tensor([[False, True, True], [True, False, False]]), 5)
        (tensor([[1, 2],
                [0, 0]]), tensor([[ True,  True],
                [ True, False]]))
    """
    rank = mask.cumsum(dim=1)
    which, place = torch.nonzero(mask & (rank <= count), as_tuple=True)
    found = rank[:, -1].clamp(max=count) if mask.shape[1] else rank.sum(dim=1)
    index = place.new_zeros(len(mask), int(found.max()))
    index[which, rank[which, place] - 1] = place
    return index, torch.arange(index.shape[1], device=mask.device) < found[:, None]


def _assigned(mask: Tensor, index: Tensor, chosen: Tensor, value: bool) -> Tensor:
    """A copy of mask (S, M) with a value at index (S, K) where chosen (S, K)."""
    which, place = torch.nonzero(chosen, as_tuple=True)
    mask = mask.clone()
    mask[which, index[which, place]] = value
    return mask


def _fixed_point(conflicts: Tensor, valid: Tensor) -> Tensor:
    """The greedy answer (S, K) from the conflicts (S, K, K) of a few candidates with later ones, ordered best first.

    "i is kept unless a kept one before it conflicts" is repeated for all candidates at once until nothing changes.
    The first candidate is right from the start and each round settles at least one more, so the fixed point is the
    greedy answer; it is reached after as many rounds as the longest chain of conflicts, usually under ten.
    """
    keep = valid
    while True:
        settled = valid & ~(conflicts & keep[:, :, None]).any(dim=1)
        if torch.equal(settled, keep):
            return keep
        keep = settled
