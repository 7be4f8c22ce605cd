"""Loss of the segmentation head."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F

from lidar_mt.structures.classes import Classes
from lidar_mt.structures.errors import ConfigError
from lidar_mt.structures.outputs import SegmentationOutput

IGNORED = -1


class SegmentationLoss:
    """Weighted cross-entropy at the label map's resolution: one term, `cross_entropy`.

    Each labelled cell costs its class weight times its cross-entropy, an ignored one costs nothing, and the sum is
    divided by the number of all cells, ignored ones included. (`reduction="mean"` of PyTorch would divide by the sum of
    the labelled cells' weights.) Computed in float32, whatever the precision of the output.

    Args:
        classes: segmentation classes.
        class_weights: factor of each segmentation class by name; all must be given.

    Raises:
        ConfigError: the names are not the segmentation classes.
    """

    terms = ("cross_entropy",)

    def __init__(self, classes: Classes, class_weights: Mapping[str, float]) -> None:
        if sorted(class_weights) != sorted(classes.segmentation):
            raise ConfigError(
                f"segmentation class_weights: expected a weight for each of {sorted(classes.segmentation)}, "
                f"got {sorted(class_weights)}"
            )
        self.class_weights = [float(class_weights[name]) for name in classes.segmentation]

    def __call__(self, output: SegmentationOutput, targets: Tensor) -> dict[str, Tensor]:
        """Compares logits (B, S, h, w) with label maps (B, H, W); returns a scalar float32 term by name."""
        logits = F.interpolate(output.logits.float(), size=targets.shape[-2:], mode="bilinear", align_corners=False)
        weight = logits.new_tensor(self.class_weights)
        costs = F.cross_entropy(logits, targets, weight=weight, ignore_index=IGNORED, reduction="none")
        return dict(zip(self.terms, [costs.mean()], strict=True))
