from __future__ import annotations

import pytest
import torch
from torch import nn

from lidar_mt.models.mixvargenet import Level, MixVarGENet
from tests.helpers.networks import build

#: Parameters, output channels and stride of each level, and the groups of its first convolutions.
REFERENCE = {
    "level1": (82_496, 64, 2, [1]),
    "level2": (498_688, 64, 4, [1, 1, 1]),
    "level3": (498_688, 64, 8, [1, 1, 1]),
    "level4": (319_488, 96, 16, [4, 6, 6, 6, 6, 6, 6]),
    "level5": (272_704, 160, 32, [6, 10, 10]),
}


def test_levels_of_the_reference_network() -> None:
    backbone = build().backbone
    assert sum(p.numel() for p in backbone.stem.parameters()) == 37_056
    with torch.no_grad():
        maps = backbone(torch.zeros(1, 64, 64, 96))
    assert list(maps) == list(REFERENCE)
    for name, (parameters, channels, stride, groups) in REFERENCE.items():
        level = backbone.levels[name]
        assert sum(p.numel() for p in level.parameters()) == parameters, name
        assert maps[name].shape == (1, channels, 64 // stride, 96 // stride), name
        assert [block.expand.conv.groups for block in level] == groups, name


def test_normalisation_settings() -> None:
    norms = [m for m in build().backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(2e-5, 0.1)}


def test_levels_may_be_given_as_objects_or_mappings() -> None:
    one = MixVarGENet(8, 8, {"a": Level(16, stride=2, stack=1)})
    other = MixVarGENet(8, 8, {"a": {"out_channels": 16, "stride": 2, "stack": 1}})
    assert [p.shape for p in one.parameters()] == [p.shape for p in other.parameters()]


def test_a_misspelt_level_setting_is_named() -> None:
    with pytest.raises(TypeError, match="chanels"):
        MixVarGENet(8, 8, {"a": {"chanels": 16}})
