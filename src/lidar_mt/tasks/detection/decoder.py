"""From the detection head's maps to boxes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from lidar_mt.ops.gather import gather_cells
from lidar_mt.ops.nms import circle_conflicts, keep_greedily, rotated_conflicts
from lidar_mt.structures.boxes import X, Z
from lidar_mt.structures.classes import Classes
from lidar_mt.structures.errors import ConfigError
from lidar_mt.structures.grid import Grid
from lidar_mt.structures.outputs import Detections, GroupOutput
from lidar_mt.tasks.detection.target import group_names

# exp of an untrained or damaged output must stay finite; e^10 m is beyond any box.
_MAX_ABS_LOG_SIZE = 10.0

#: Boxes (B, G, M, 9) ordered best first within each group, and which of them (B, G, M) are valid, to those to keep.
Suppression = Callable[[Tensor, Tensor], Tensor]


class RotatedSuppression:
    """Drops a box that overlaps a better one of its group too much, seen from above.

    Args:
        iou_threshold: a box is dropped if its IoU with a better kept one is larger.
        pre_max: boxes per group that are looked at.
        post_max: boxes per group that are kept.
    """

    def __init__(self, iou_threshold: float, pre_max: int, post_max: int) -> None:
        self.iou_threshold = iou_threshold
        self.pre_max = pre_max
        self.post_max = post_max

    def __call__(self, boxes: Tensor, valid: Tensor) -> Tensor:
        """Boxes (B, G, M, 9) and their validity (B, G, M) to which are kept (B, G, M)."""
        candidates, considered = boxes.flatten(0, 1), valid.flatten(0, 1)
        considered = considered & (considered.cumsum(dim=1) <= self.pre_max)
        conflicts = rotated_conflicts(candidates, self.iou_threshold)
        return keep_greedily(conflicts, considered, self.post_max).view_as(valid)


class CircleSuppression:
    """Drops a box whose centre is close to that of a better one of its group, seen from above.

    Args:
        classes: class groups.
        squared_radius_m2: by group name; a box is dropped if the squared distance to a better kept one is at most
            this [m^2].
        post_max: boxes per group that are kept.

    Raises:
        ConfigError: the radii do not name every group exactly once.

    Source: Yin et al., Center-based 3D Object Detection and Tracking, CVPR 2021. Its published `min_radius` values are
        compared with squared distances, hence the name here.
    """

    def __init__(self, classes: Classes, squared_radius_m2: Mapping[str, float], post_max: int) -> None:
        names = group_names(classes)
        if sorted(squared_radius_m2) != sorted(names):
            raise ConfigError(
                f"circle suppression: expected a radius for each group of {sorted(names)}, "
                f"got {sorted(squared_radius_m2)}"
            )
        self.squared_radius_m2 = [float(squared_radius_m2[name]) for name in names]
        self.post_max = post_max

    def __call__(self, boxes: Tensor, valid: Tensor) -> Tensor:
        """Boxes (B, G, M, 9) and their validity (B, G, M) to which are kept (B, G, M)."""
        squared_radius = boxes.new_tensor(self.squared_radius_m2).repeat(len(boxes))
        conflicts = circle_conflicts(boxes.flatten(0, 1), squared_radius)
        return keep_greedily(conflicts, valid.flatten(0, 1), self.post_max).view_as(valid)


class DetectionDecoder:
    """Takes the best cells of each class group, reads a box from each and suppresses duplicates within the group.

    Args:
        grid: range and resolution.
        classes: class groups, in the order of the head's outputs.
        suppressions: ways to drop duplicates by name, or partials that make them: then the one to use alone is made,
            and has to fit the classes.
        nms: name of the one to use.
        max_candidates: best cells per group that are looked at.
        score_threshold: a box stays if its score is larger.
        centre_limit_m: the largest |x|, |y|, |z| of a kept centre [m].

    Raises:
        ConfigError: `nms` names no suppression.

    Source: Yin et al., Center-based 3D Object Detection and Tracking, CVPR 2021; without max-pooling of the peaks.
    """

    def __init__(
        self,
        grid: Grid,
        classes: Classes,
        suppressions: Mapping[str, Suppression | functools.partial[Suppression]],
        nms: str = "rotated",
        max_candidates: int = 100,
        score_threshold: float = 0.1,
        centre_limit_m: Sequence[float] = (61.2, 61.2, 10.0),
    ) -> None:
        if nms not in suppressions:
            raise ConfigError(f"detection decoder: nms={nms} is not one of {sorted(suppressions)}")
        self.grid = grid
        self.group_labels = classes.group_labels
        chosen = suppressions[nms]
        self.suppress: Suppression = chosen() if isinstance(chosen, functools.partial) else chosen
        self.max_candidates = max_candidates
        self.score_threshold = score_threshold
        self.centre_limit_m = tuple(centre_limit_m)

    def __call__(self, output: Sequence[GroupOutput]) -> list[Detections]:
        """Detections of each sample, group after group, best score first within a group."""
        groups = [self._best_cells(maps, labels) for maps, labels in zip(output, self.group_labels, strict=True)]
        boxes, scores, labels = (torch.stack(parts, dim=1) for parts in zip(*groups, strict=True))
        centres = boxes[..., X : Z + 1].abs()
        valid = (scores > self.score_threshold) & (centres <= boxes.new_tensor(self.centre_limit_m)).all(dim=-1)
        keep = self.suppress(boxes, valid)
        return [Detections(*(part[b][keep[b]] for part in (boxes, scores, labels))) for b in range(len(boxes))]

    def _best_cells(self, maps: GroupOutput, labels: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (B, M, 9), scores (B, M) and labels (B, M) of a group's best cells, best first.

        The best of all classes are among each class's best, so one search over the whole group finds them.
        """
        height, width = maps.heatmap.shape[2:]
        # The same number in every group, also on a map with fewer cells than candidates.
        count = min(self.max_candidates, height * width)
        logits, place = maps.heatmap.float().flatten(1).topk(count)
        cell = place % (height * width)
        values = {
            name: gather_cells(getattr(maps, name), cell).float() for name in GroupOutput._fields if name != "heatmap"
        }
        label_of_channel = torch.tensor(labels, device=place.device)
        return self._boxes(values, cell, width), logits.sigmoid(), label_of_channel[place // (height * width)]

    def _boxes(self, values: Mapping[str, Tensor], cell: Tensor, width: int) -> Tensor:
        """Boxes (B, M, 9) float32 from the regression values (B, M, C) at flat cells (B, M)."""
        column_row = torch.stack([cell % width, cell // width], dim=-1)
        size, low = self.grid.head_cell_size, self.grid.point_cloud_range[:2]
        reg, rot = values["reg"], values["rot"]
        centre = (column_row + reg) * reg.new_tensor(size) + reg.new_tensor(low)
        dim = values["dim"].clamp(-_MAX_ABS_LOG_SIZE, _MAX_ABS_LOG_SIZE).exp()
        yaw = torch.atan2(rot[..., :1], rot[..., 1:])
        return torch.cat([centre, values["height"], dim, yaw, values["vel"]], dim=-1)
