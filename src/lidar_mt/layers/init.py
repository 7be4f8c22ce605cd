"""Initial weights."""

from __future__ import annotations

import math

from torch import nn


def init_kaiming(module: nn.Module) -> None:
    """Draws all convolution weights for ReLU networks (He, fan out) and sets their biases to zero.

    Source: He et al. 2015, "Delving Deep into Rectifiers", section 2.2, backward case.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            # torch's own fan-out ignores groups and would make depthwise weights far too small.
            fan_out = layer.out_channels // layer.groups * math.prod(layer.kernel_size)
            nn.init.normal_(layer.weight, std=math.sqrt(2.0 / fan_out))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def init_normal(module: nn.Module, std: float) -> None:
    """Draws all convolution weights from a normal distribution around zero and sets their biases to zero.

    Args:
        module: the module itself or any parent of convolutions.
        std: standard deviation.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
