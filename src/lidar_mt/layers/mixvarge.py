"""The blocks of MixVarGENet and of the neck."""

from __future__ import annotations

from torch import Tensor, nn

from lidar_mt.layers.conv import BACKBONE_NORM, ConvNorm, Norm, SeparableGroupConv


class MixVarGEBlock(nn.Module):
    r"""3x3 convolution that widens, 1x1 convolution that narrows, and a shortcut.

        x --- 3x3, stride, groups, BN, ReLU --- 1x1, BN --- + --- ReLU
          \-- identity, or 1x1, stride, BN ----------------/

    Args:
        in_channels: C of the input.
        out_channels: C of the output.
        stride: of the 3x3 convolution and of the shortcut.
        factor: widening, relative to the input's channels.
        group_base: input channels per group of the 3x3 convolution; None for one group.
        norm: settings of all normalisations.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        factor: int = 2,
        group_base: int | None = None,
        norm: Norm = BACKBONE_NORM,
    ) -> None:
        super().__init__()
        mid = in_channels * factor
        groups = 1 if group_base is None else in_channels // group_base
        self.expand = ConvNorm(in_channels, mid, 3, stride=stride, groups=groups, norm=norm, relu=True)
        self.project = ConvNorm(mid, out_channels, 1, norm=norm)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = ConvNorm(in_channels, out_channels, 1, stride=stride, norm=norm)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, out, H / stride, W / stride)."""
        out: Tensor = self.act(self.project(self.expand(x)) + self.shortcut(x))
        return out


class VarGBlock(nn.Module):
    """Two separable group convolutions in a row beside one that is the shortcut.

    Args:
        in_channels: C of the input.
        out_channels: C of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = SeparableGroupConv(in_channels, out_channels)
        self.first_act = nn.ReLU()
        self.second = SeparableGroupConv(out_channels, out_channels)
        self.shortcut = SeparableGroupConv(in_channels, out_channels)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, out, H, W)."""
        out: Tensor = self.act(self.second(self.first_act(self.first(x))) + self.shortcut(x))
        return out
