"""A sample (one keyframe with its sweeps) on its way to the network, and a batch of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from torch import Tensor


@dataclass
class Sample:
    """One keyframe with its sweeps, as numpy arrays. Transforms take one and return one.

    Attributes:
        token: nuScenes sample token.
        timestamp_us: time of the keyframe's LiDAR sweep [us].
        points: (P, 5) float32, x y z [m] in the keyframe's LiDAR frame, intensity [0, 255], time lag [s] (>= 0).
            The keyframe's points come first, then the sweeps, then whatever a transform adds.
        num_keyframe_points: how many of the first points belong to the keyframe.
        boxes: (N, 9) float32, see `structures.boxes`; velocity NaN where unknown.
        labels: (N,) int64 index into the detection classes; -1 for an annotation of no detection class.
        lidarseg: (num_keyframe_points,) uint8 raw nuScenes-lidarseg indices, or None without labels.
        bev_labels: (H, W) int64 segmentation class of each cell, -1 where ignored; None until a transform builds it.
        ego_from_lidar: (4, 4) float64 rigid transform of the keyframe.
        global_from_ego: (4, 4) float64 rigid transform of the keyframe.
        augmented_from_lidar: (4, 4) float64 transform of the recorded LiDAR frame into the frame that points and boxes
            are in now. A transform that moves the whole scene multiplies it from the left.
    """

    token: str
    timestamp_us: int
    points: npt.NDArray[np.float32]
    num_keyframe_points: int
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    lidarseg: npt.NDArray[np.uint8] | None
    ego_from_lidar: npt.NDArray[np.float64]
    global_from_ego: npt.NDArray[np.float64]
    bev_labels: npt.NDArray[np.int64] | None = None
    augmented_from_lidar: npt.NDArray[np.float64] = field(default_factory=lambda: np.eye(4))


@dataclass
class Batch:
    """Samples as tensors. Ragged members are lists with one tensor per sample.

    Attributes:
        tokens: B sample tokens.
        points: B tensors (P, 5) float32, columns as in `Sample.points`.
        boxes: B tensors (N, 9) float32.
        labels: B tensors (N,) int64.
        bev_labels: (B, H, W) int64 with -1 where ignored, or None when the data set has no lidarseg labels.
        ego_from_lidar: (B, 4, 4) float64.
        global_from_ego: (B, 4, 4) float64.
    """

    tokens: list[str]
    points: list[Tensor]
    boxes: list[Tensor]
    labels: list[Tensor]
    bev_labels: Tensor | None
    ego_from_lidar: Tensor
    global_from_ego: Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    def one(self, index: int) -> Batch:
        """One of the samples, as a batch of its own."""
        return Batch(
            tokens=self.tokens[index : index + 1],
            points=self.points[index : index + 1],
            boxes=self.boxes[index : index + 1],
            labels=self.labels[index : index + 1],
            bev_labels=None if self.bev_labels is None else self.bev_labels[index : index + 1],
            ego_from_lidar=self.ego_from_lidar[index : index + 1],
            global_from_ego=self.global_from_ego[index : index + 1],
        )

    def pin_memory(self) -> Batch:
        """A copy in page-locked memory, from which a GPU reads faster; DataLoader calls this."""
        return Batch(
            tokens=self.tokens,
            points=[points.pin_memory() for points in self.points],
            boxes=[boxes.pin_memory() for boxes in self.boxes],
            labels=[labels.pin_memory() for labels in self.labels],
            bev_labels=None if self.bev_labels is None else self.bev_labels.pin_memory(),
            ego_from_lidar=self.ego_from_lidar.pin_memory(),
            global_from_ego=self.global_from_ego.pin_memory(),
        )
