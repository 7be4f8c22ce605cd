"""Convolutions with their normalisation: the pieces the network is made of, and what quantization fuses."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Norm:
    """Settings of a batch normalisation.

    Attributes:
        eps: added to the variance.
        momentum: share of the newest batch in the running statistics.
    """

    eps: float
    momentum: float = 0.1

    def build(self, channels: int) -> nn.BatchNorm2d:
        """A new batch normalisation."""
        return nn.BatchNorm2d(channels, eps=self.eps, momentum=self.momentum)


#: Backbone, neck and segmentation head.
BACKBONE_NORM = Norm(eps=2e-5)


class ConvNorm(nn.Module):
    """Convolution with padding that keeps the size, batch normalisation, and optionally ReLU.

    Args:
        in_channels: C of the input.
        out_channels: C of the output.
        kernel_size: odd.
        stride: of the convolution.
        groups: of the convolution.
        bias: of the convolution.
        norm: settings of the normalisation.
        relu: end with a ReLU.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        groups: int = 1,
        bias: bool = True,
        norm: Norm = BACKBONE_NORM,
        relu: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2, groups=groups, bias=bias
        )
        self.norm = norm.build(out_channels)
        self.act = nn.ReLU() if relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, out, H / stride, W / stride)."""
        out: Tensor = self.act(self.norm(self.conv(x)))
        return out


class SeparableConv(nn.Module):
    """3x3 depthwise convolution (bias), then 1x1 convolution (bias), batch normalisation and ReLU.

    Args:
        in_channels: C of the input.
        out_channels: C of the output.
        norm: settings of the normalisation.
        depthwise_norm: also normalise after the depthwise convolution; never an activation there.
    """

    def __init__(self, in_channels: int, out_channels: int, *, norm: Norm, depthwise_norm: bool) -> None:
        super().__init__()
        self.depthwise: nn.Module
        if depthwise_norm:
            self.depthwise = ConvNorm(in_channels, in_channels, 3, groups=in_channels, norm=norm)
        else:
            self.depthwise = nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels)
        self.pointwise = ConvNorm(in_channels, out_channels, 1, norm=norm, relu=True)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, out, H, W)."""
        out: Tensor = self.pointwise(self.depthwise(x))
        return out


class SeparableGroupConv(nn.Module):
    """3x3 group convolution to `factor` times the channels with ReLU, then 1x1 convolution; no bias.

    Args:
        in_channels: C of the input, a multiple of `group_base`.
        out_channels: C of the output.
        factor: widening between the two convolutions.
        group_base: input channels per group.
        norm: settings of both normalisations.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        factor: int = 2,
        group_base: int = 8,
        norm: Norm = BACKBONE_NORM,
    ) -> None:
        super().__init__()
        mid = in_channels * factor
        groups = in_channels // group_base
        self.spatial = ConvNorm(in_channels, mid, 3, groups=groups, bias=False, norm=norm, relu=True)
        self.pointwise = ConvNorm(mid, out_channels, 1, bias=False, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, out, H, W)."""
        out: Tensor = self.pointwise(self.spatial(x))
        return out
