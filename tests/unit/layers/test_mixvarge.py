from __future__ import annotations

import pytest
import torch
from torch import nn

from lidar_mt.layers.conv import ConvNorm
from lidar_mt.layers.mixvarge import MixVarGEBlock, VarGBlock


def zero_last_norm(block: MixVarGEBlock) -> None:
    nn.init.zeros_(block.project.norm.weight)


def test_identity_shortcut_when_nothing_changes() -> None:
    block = MixVarGEBlock(8, 8, factor=3).eval()
    zero_last_norm(block)
    x = torch.randn(1, 8, 6, 6)
    torch.testing.assert_close(block(x), x.clamp(min=0))
    assert block.expand.conv.out_channels == 24


@pytest.mark.parametrize(("out_channels", "stride"), [(8, 2), (12, 1), (12, 2)])
def test_convolved_shortcut_otherwise(out_channels: int, stride: int) -> None:
    block = MixVarGEBlock(8, out_channels, stride=stride).eval()
    zero_last_norm(block)
    x = torch.randn(1, 8, 6, 6)
    assert isinstance(block.shortcut, ConvNorm)
    torch.testing.assert_close(block(x), block.shortcut(x).clamp(min=0))
    assert block(x).shape == (1, out_channels, 6 // stride, 6 // stride)


def test_group_base_divides_the_input_channels() -> None:
    assert MixVarGEBlock(96, 160, group_base=16).expand.conv.groups == 6


def test_varg_block_has_its_own_shortcut() -> None:
    block = VarGBlock(16, 24).eval()
    nn.init.zeros_(block.second.pointwise.norm.weight)
    x = torch.randn(1, 16, 6, 6)
    torch.testing.assert_close(block(x), block.shortcut(x).clamp(min=0))
    assert sum(p.numel() for p in block.shortcut.parameters()) == sum(p.numel() for p in block.first.parameters())
