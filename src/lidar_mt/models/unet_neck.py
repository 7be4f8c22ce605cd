"""The neck: from the coarsest map back to the heads' stride."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from lidar_mt.layers.conv import SeparableGroupConv
from lidar_mt.layers.init import init_kaiming
from lidar_mt.layers.mixvarge import VarGBlock
from lidar_mt.structures.errors import ConfigError


class Fusion(nn.Module):
    """Adds the coarser map, doubled in size, to the map of the next finer level.

    Args:
        coarse_channels: C of the coarser map.
        lateral_channels: C of the finer map.
        out_channels: C of the result.
    """

    def __init__(self, coarse_channels: int, lateral_channels: int, out_channels: int) -> None:
        super().__init__()
        self.coarse = SeparableGroupConv(coarse_channels, out_channels)
        self.lateral = VarGBlock(lateral_channels, out_channels)
        self.act = nn.ReLU()

    def forward(self, coarse: Tensor, lateral: Tensor) -> Tensor:
        """Fuses (B, coarse, H / 2, W / 2) and (B, lateral, H, W) to (B, out, H, W)."""
        doubled = F.interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=False)
        out: Tensor = self.act(self.coarse(doubled) + self.lateral(lateral))
        return out


class UNetNeck(nn.Module):
    """Fuses the backbone's maps from coarse to fine.

        level5 (stride 32) --- x2 --- + --- x2 --- + --- x2 --- + --- out (stride 4)
                                      |            |            |
                                   level4       level3       level2

    Args:
        in_channels: channels of the backbone's levels that are used, by level name, coarsest first.
        out_channels: channels after the fusion with each level but the coarsest, by level name, coarsest first.

    Raises:
        ConfigError: the two tables do not name the same levels.
    """

    def __init__(self, in_channels: Mapping[str, int], out_channels: Mapping[str, int]) -> None:
        super().__init__()
        self.coarsest, *lateral = in_channels
        if lateral != list(out_channels):
            raise ConfigError(
                f"neck: out_channels must name the levels {lateral} (in_channels without its first), "
                f"but names {list(out_channels)}"
            )
        self.fusions = nn.ModuleDict()
        channels = in_channels[self.coarsest]
        for name in lateral:
            self.fusions[name] = Fusion(channels, in_channels[name], out_channels[name])
            channels = out_channels[name]
        init_kaiming(self)

    def forward(self, maps: dict[str, Tensor]) -> Tensor:
        """Fuses the maps.

        Args:
            maps: level name -> (B, in_channels[name], H, W), each level twice as large as the next coarser.

        Returns:
            (B, C, H, W), of the finest level's size.
        """
        x = maps[self.coarsest]
        for name, fusion in self.fusions.items():
            x = fusion(x, maps[name])
        return x
