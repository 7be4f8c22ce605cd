"""The detection head: CenterPoint's, with depthwise-separable convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from lidar_mt.layers.conv import Norm, SeparableConv
from lidar_mt.layers.init import init_normal
from lidar_mt.structures.outputs import DetectionOutput, GroupOutput

#: Channels of each output of a class group; the heatmap has one per class of the group.
OUTPUT_CHANNELS = {"reg": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2}
_NORM = Norm(eps=1e-5)


class OutputBranch(nn.Module):
    """One separable convolution and a plain 3x3 convolution.

    Args:
        channels: C of the shared map.
        out_channels: C of the output.
        bias: of the last convolution.
    """

    def __init__(self, channels: int, out_channels: int, *, bias: bool) -> None:
        super().__init__()
        self.feature = SeparableConv(channels, channels, norm=_NORM, depthwise_norm=False)
        self.predict = nn.Conv2d(channels, out_channels, 3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, out, H, W)."""
        out: Tensor = self.predict(self.feature(x))
        return out


class GroupHead(nn.Module):
    """The six outputs of one class group.

    Args:
        channels: C of the shared map.
        num_classes: classes of the group.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        for name, out_channels in OUTPUT_CHANNELS.items():
            self.add_module(name, OutputBranch(channels, out_channels, bias=False))
        self.heatmap = OutputBranch(channels, num_classes, bias=True)

    def forward(self, x: Tensor) -> GroupOutput:
        """Maps (B, C, H, W) to the group's maps."""
        return GroupOutput(**{name: self.get_submodule(name)(x) for name in GroupOutput._fields})


class DetectionHead(nn.Module):
    """A shared separable convolution, then six outputs for each class group.

    Args:
        in_channels: C of the neck's map.
        groups: class names of each group.
        mid_channels: C of the shared map.
        init_std: standard deviation of all initial weights.
        heatmap_bias: initial bias of the heatmaps; -2.19 is a score of 0.1.

    Source: CenterPoint, Yin et al. 2021, section 4; focal-loss bias of CenterNet, Zhou et al. 2019.
    """

    def __init__(
        self,
        in_channels: int,
        groups: Sequence[Sequence[str]],
        mid_channels: int = 64,
        init_std: float = 0.01,
        heatmap_bias: float = -2.19,
    ) -> None:
        super().__init__()
        self.shared = SeparableConv(in_channels, mid_channels, norm=_NORM, depthwise_norm=False)
        heads = [GroupHead(mid_channels, len(group)) for group in groups]
        self.groups = nn.ModuleList(heads)
        init_normal(self, init_std)
        for head in heads:
            nn.init.constant_(head.heatmap.predict.bias, heatmap_bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> DetectionOutput:
        """Maps (B, C, H, W) to one `GroupOutput` per class group."""
        shared = self.shared(x)
        return tuple(group(shared) for group in self.groups)
