"""Loss of the detection head: Gaussian focal loss on the heatmap, L1 on the box at its centre cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lidar_mt.ops.gather import gather_cells
from lidar_mt.structures.classes import Classes
from lidar_mt.structures.errors import ConfigError
from lidar_mt.structures.outputs import GroupOutput
from lidar_mt.tasks.detection.target import REGRESSION, GroupTarget, group_names

# Keeps the division defined for a batch without objects of the group.
_COUNT_EPS = 1e-4


class DetectionLoss:
    """Two terms per class group: `<group>/heatmap` and `<group>/box`.

    All of it is computed in float32, whatever the precision of the output.

    Args:
        classes: class groups, in the order of the head's outputs.
        channel_weights: factor of each regression output by name; 1 where not named.
        box_weight: factor of the box term.
        alpha: focal exponent of the prediction.
        gamma: focal exponent that relieves the cells around a peak.
        clip: predicted probabilities are clipped to [clip, 1 - clip].

    Raises:
        ConfigError: `channel_weights` names an output that does not exist.

    Source: Law and Deng, CornerNet, ECCV 2018, equation 1; Yin et al., Center-based 3D Object Detection and Tracking,
        CVPR 2021.
    """

    def __init__(
        self,
        classes: Classes,
        channel_weights: Mapping[str, float],
        box_weight: float = 0.25,
        alpha: float = 2.0,
        gamma: float = 4.0,
        clip: float = 1e-4,
    ) -> None:
        unknown = sorted(set(channel_weights) - set(REGRESSION))
        if unknown:
            raise ConfigError(f"detection channel_weights: no output named {unknown}; there are {list(REGRESSION)}")
        self.names = group_names(classes)
        self.channel_weights = {name: float(channel_weights.get(name, 1.0)) for name in REGRESSION}
        self.box_weight = box_weight
        self.alpha = alpha
        self.gamma = gamma
        self.clip = clip

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the terms."""
        return tuple(f"{name}/{kind}" for name in self.names for kind in ("heatmap", "box"))

    def __call__(self, output: Sequence[GroupOutput], targets: Sequence[GroupTarget]) -> dict[str, Tensor]:
        """Scalar float32 terms by name; two per class group."""
        values = []
        for maps, target in zip(output, targets, strict=True):
            heatmap = gaussian_focal_loss(maps.heatmap, target.heatmap, self.alpha, self.gamma, self.clip)
            values += [heatmap, self.box_weight * self._box_loss(maps, target)]
        return dict(zip(self.terms, values, strict=True))

    def _box_loss(self, output: GroupOutput, target: GroupTarget) -> Tensor:
        """Weighted absolute errors at the centre cells, per object of the batch."""
        total = torch.zeros((), device=target.mask.device)
        for name, wanted in target.regression.items():
            found = gather_cells(getattr(output, name), target.cell).float()
            known = target.mask[..., None] & ~torch.isnan(wanted)
            # The inner replacement keeps NaN out of the backward pass too.
            error = (found - wanted.nan_to_num()).abs()
            total = total + self.channel_weights[name] * torch.where(known, error, 0.0).sum()
        return total / (target.mask.sum() + _COUNT_EPS)


def gaussian_focal_loss(logits: Tensor, target: Tensor, alpha: float, gamma: float, clip: float) -> Tensor:
    """Focal loss for heatmaps whose peaks are 1 and whose surroundings count less the closer they are to a peak.

    Args:
        logits: (B, K, H, W) float.
        target: (B, K, H, W) float32 in [0, 1].
        alpha: exponent of the prediction's error.
        gamma: exponent of the target's distance from 1.
        clip: predicted probabilities are clipped to [clip, 1 - clip].

    Returns:
        Scalar float32: the sum over all cells, divided by the number of cells equal to 1 unless there are none.

    Source: Law and Deng, CornerNet, ECCV 2018, equation 1.
    """
    probability = logits.float().sigmoid().clamp(clip, 1 - clip)
    is_peak = target == 1
    at_peaks = -probability.log() * (1 - probability) ** alpha
    elsewhere = -(1 - probability).log() * probability**alpha * (1 - target) ** gamma
    return torch.where(is_peak, at_peaks, elsewhere).sum() / is_peak.sum().clamp(min=1)
