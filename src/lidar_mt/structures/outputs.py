"""What the network and the decoders return."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor


class GroupOutput(NamedTuple):
    """Maps of one class group of the detection head, each (B, C, H, W) at the head's resolution.

    Attributes:
        reg: C=2 sub-cell offset of the centre along x (column) and y (row) [cells].
        height: C=1 centre height z [m].
        dim: C=3 log of w, l, h [log m].
        rot: C=2 sin(yaw), cos(yaw).
        vel: C=2 vx, vy [m/s].
        heatmap: C=classes of the group, logits.
    """

    reg: Tensor
    height: Tensor
    dim: Tensor
    rot: Tensor
    vel: Tensor
    heatmap: Tensor


class SegmentationOutput(NamedTuple):
    """The map of the segmentation head.

    Attributes:
        logits: (B, S, H, W) logits of the S segmentation classes at the head's resolution.
    """

    logits: Tensor


#: One `GroupOutput` per class group, in the order of `Classes.groups`.
DetectionOutput = tuple[GroupOutput, ...]

#: Everything the exported graph returns, by task name in the order of the network's tasks: any nesting of named
#: tuples of tensors per task; for the reference network 37 tensors, segmentation first.
NetOutput = dict[str, Any]


class Detections(NamedTuple):
    """Decoded boxes of one sample, best score first within each class group.

    Attributes:
        boxes: (N, 9) float32 in the keyframe's LiDAR frame, see `structures.boxes`.
        scores: (N,) float32 in (0, 1).
        labels: (N,) int64 index into the detection classes.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
