"""The segmentation head."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from lidar_mt.layers.conv import BACKBONE_NORM, SeparableConv
from lidar_mt.layers.init import init_kaiming, init_normal
from lidar_mt.structures.outputs import SegmentationOutput


class SegmentationHead(nn.Module):
    """Two depthwise-separable convolutions, dropout of whole channels, and a 1x1 classifier.

    Args:
        in_channels: C of the neck's map.
        classes: segmentation class names.
        mid_channels: C of the two convolutions' outputs.
        dropout: share of channels that training drops.
        classifier_std: standard deviation of the classifier's initial weights.
    """

    def __init__(
        self,
        in_channels: int,
        classes: Sequence[str],
        mid_channels: int = 64,
        dropout: float = 0.1,
        classifier_std: float = 0.01,
    ) -> None:
        super().__init__()
        self.first = SeparableConv(in_channels, mid_channels, norm=BACKBONE_NORM, depthwise_norm=True)
        self.second = SeparableConv(mid_channels, mid_channels, norm=BACKBONE_NORM, depthwise_norm=True)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(mid_channels, len(classes), 1)
        init_kaiming(self)
        init_normal(self.classifier, classifier_std)

    def forward(self, x: Tensor) -> SegmentationOutput:
        """Maps (B, C, H, W) to logits (B, S, H, W)."""
        return SegmentationOutput(self.classifier(self.dropout(self.second(self.first(x)))))
