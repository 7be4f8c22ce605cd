"""MixVarGENet, the backbone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from lidar_mt.layers.conv import ConvNorm
from lidar_mt.layers.init import init_kaiming
from lidar_mt.layers.mixvarge import MixVarGEBlock


@dataclass(frozen=True)
class Level:
    """One level: a head block that carries stride and channels, then `stack` blocks at stride 1.

    Attributes:
        out_channels: C of the level's output.
        stride: of the head block.
        factor: widening inside the blocks.
        group_base: input channels per group of the 3x3 convolutions; None for one group.
        stack: blocks after the head block.
    """

    out_channels: int
    stride: int = 1
    factor: int = 2
    group_base: int | None = None
    stack: int = 0


class MixVarGENet(nn.Module):
    """A stem at stride 2 and levels of MixVarGE blocks.

        canvas 512 -> stem 256 -> level1 256 -> level2 128 -> level3 64 -> level4 32 -> level5 16
        stride   1         2             2              4            8           16           32

    Args:
        in_channels: C of the canvas.
        stem_channels: C of the stem's output.
        levels: settings of each level by name, in order; the fields of `Level`.
    """

    def __init__(
        self, in_channels: int, stem_channels: int, levels: Mapping[str, Level | Mapping[str, int | None]]
    ) -> None:
        super().__init__()
        self.stem = ConvNorm(in_channels, stem_channels, 3, stride=2)
        self.levels = nn.ModuleDict()
        channels = stem_channels
        for name, settings in levels.items():
            level = settings if isinstance(settings, Level) else Level(**settings)  # type: ignore[arg-type]
            self.levels[name] = _build_level(channels, level)
            channels = level.out_channels
        init_kaiming(self)

    def forward(self, canvas: Tensor) -> dict[str, Tensor]:
        """The output of every level.

        Args:
            canvas: (B, C, H, W).

        Returns:
            Level name -> (B, C, H / s, W / s) with the level's stride s relative to the canvas, finest first.
        """
        maps: dict[str, Tensor] = {}
        x = self.stem(canvas)
        for name, level in self.levels.items():
            x = level(x)
            maps[name] = x
        return maps


def _build_level(in_channels: int, level: Level) -> nn.Sequential:
    head = MixVarGEBlock(
        in_channels, level.out_channels, stride=level.stride, factor=level.factor, group_base=level.group_base
    )
    stack = (
        MixVarGEBlock(level.out_channels, level.out_channels, factor=level.factor, group_base=level.group_base)
        for _ in range(level.stack)
    )
    return nn.Sequential(head, *stack)
