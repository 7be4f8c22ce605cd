from __future__ import annotations

import pytest
import torch
from torch import nn

from lidar_mt.layers.conv import ConvNorm, Norm, SeparableConv, SeparableGroupConv


@pytest.mark.parametrize(("kernel_size", "stride", "size"), [(3, 1, (8, 12)), (3, 2, (4, 6)), (1, 2, (4, 6))])
def test_conv_norm_keeps_or_divides_the_size(kernel_size: int, stride: int, size: tuple[int, int]) -> None:
    assert ConvNorm(4, 6, kernel_size, stride=stride)(torch.zeros(1, 4, 8, 12)).shape == (1, 6, *size)


@pytest.mark.parametrize("relu", [False, True])
def test_conv_norm_ends_with_relu_only_when_asked(relu: bool) -> None:
    torch.manual_seed(0)
    out = ConvNorm(4, 6, 1, relu=relu)(torch.randn(2, 4, 8, 8))
    assert bool((out < 0).any()) != relu


def test_norm_settings_arrive() -> None:
    norm = Norm(eps=0.25, momentum=0.5).build(3)
    assert (norm.eps, norm.momentum, norm.num_features) == (0.25, 0.5, 3)


@pytest.mark.parametrize("depthwise_norm", [False, True])
def test_separable_conv_filters_each_channel_alone(depthwise_norm: bool) -> None:
    conv = SeparableConv(4, 6, norm=Norm(1e-5), depthwise_norm=depthwise_norm).eval()
    x = torch.zeros(1, 4, 5, 5)
    x[0, 1] = 1.0
    moved = (conv.depthwise(x) - conv.depthwise(torch.zeros_like(x))).abs().amax(dim=(0, 2, 3)) > 0
    assert moved.tolist() == [False, True, False, False]
    assert isinstance(conv.depthwise, ConvNorm if depthwise_norm else nn.Conv2d)
    # No activation between the two convolutions.
    assert bool((conv.depthwise(torch.randn(1, 4, 5, 5)) < 0).any())


def test_separable_group_conv_groups_by_eight_channels() -> None:
    conv = SeparableGroupConv(32, 48).spatial.conv
    assert (conv.groups, conv.in_channels, conv.out_channels, conv.bias) == (4, 32, 64, None)
