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


class IntegerBackbone(nn.Module):
    """Convolutions, normalisation, ReLU, a shortcut and pooling, all with an integer form; same configuration."""

    def __init__(self, in_channels: int, stem_channels: int, levels: Mapping[str, Any]) -> None:
        super().__init__()
        self.stem = _block(in_channels, stem_channels, stride=2)
        self.blocks, self.shortcuts = nn.ModuleDict(), nn.ModuleDict()
        channels = stem_channels
        for name, level in levels.items():
            out, stride = level["out_channels"], level["stride"]
            self.blocks[name] = _block(channels, out)
            self.shortcuts[name] = nn.Sequential(nn.Conv2d(channels, out, 1), nn.BatchNorm2d(out))
            self.blocks[f"{name}_down"] = nn.MaxPool2d(stride) if stride > 1 else nn.Identity()
            channels = out
        self.names = tuple(levels)

    def forward(self, canvas: torch.Tensor) -> dict[str, torch.Tensor]:
        x, maps = self.stem(canvas), {}
        for name in self.names:
            x = self.blocks[f"{name}_down"](torch.relu(self.blocks[name](x) + self.shortcuts[name](x)))
            maps[name] = x
        return maps


def _block(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU())
