"""A backbone of plain torch.nn parts, to be swapped in by configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class PlainBackbone(nn.Module):
    """A convolution per level, written as people write them; takes the configuration of `MixVarGENet`."""

    def __init__(self, in_channels: int, stem_channels: int, levels: Mapping[str, Any]) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(in_channels, stem_channels, 3, 2, 1), nn.BatchNorm2d(stem_channels))
        self.convs, self.norms = nn.ModuleDict(), nn.ModuleDict()
        self.never = nn.Conv2d(1, 1, 1)
        channels = stem_channels
        for name, level in levels.items():
            self.convs[name] = nn.Conv2d(channels, level["out_channels"], 3, padding=1, bias=False)
            self.norms[name] = nn.BatchNorm2d(level["out_channels"])
            channels = level["out_channels"]
        self.strides = {name: level["stride"] for name, level in levels.items()}

    def forward(self, canvas: torch.Tensor) -> dict[str, torch.Tensor]:
        x, maps = torch.relu(self.stem(canvas)), {}
        for name, conv in self.convs.items():
            x = F.hardswish(self.norms[name](conv(x)))
            x = F.max_pool2d(x, 2) if self.strides[name] == 2 else x
            maps[name] = x
        return maps
