from __future__ import annotations

import pytest
import torch
from torch import nn

from lidar_mt.layers.init import init_kaiming, init_normal


@pytest.mark.parametrize("groups", [1, 8, 64])
def test_kaiming_keeps_the_size_of_gradients(groups: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 64, 3, padding=1, groups=groups)
    init_kaiming(conv)
    x = torch.randn(4, 64, 16, 16, requires_grad=True)
    upstream = torch.randn(4, 64, 16, 16)
    conv(x).backward(upstream)
    # Half of the gradient is lost in the ReLU that follows, hence twice.
    inner = x.grad[:, :, 1:-1, 1:-1]
    assert 1.6 < float(inner.square().mean() / upstream.square().mean()) < 2.4
    assert not conv.bias.any()


def test_normal() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(32, 32, 3), nn.Conv2d(32, 32, 1, bias=False))
    init_normal(net, 0.02)
    assert all(0.018 < float(conv.weight.detach().std()) < 0.022 for conv in net)
    assert not net[0].bias.any()
