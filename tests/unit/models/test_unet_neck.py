from __future__ import annotations

import pytest
import torch
from torch import nn

from lidar_mt.models.unet_neck import UNetNeck
from lidar_mt.structures.errors import ConfigError
from tests.helpers.networks import build


def test_fusions_of_the_reference_network() -> None:
    neck = build().neck
    assert {name: sum(p.numel() for p in fusion.parameters()) for name, fusion in neck.fusions.items()} == {
        "level4": 194_944,
        "level3": 156_160,
        "level2": 156_160,
    }
    assert all(conv.bias is None for conv in neck.modules() if isinstance(conv, nn.Conv2d))
    assert {(m.eps, m.momentum) for m in neck.modules() if isinstance(m, nn.BatchNorm2d)} == {(2e-5, 0.1)}


def test_returns_the_finest_level_and_uses_every_level() -> None:
    neck = UNetNeck({"c": 24, "b": 16, "a": 8}, {"b": 16, "a": 8}).eval()
    maps = {"a": torch.rand(1, 8, 16, 24), "b": torch.rand(1, 16, 8, 12), "c": torch.rand(1, 24, 4, 6)}
    leaves = [value.requires_grad_() for value in maps.values()]
    out = neck(maps)
    assert out.shape == (1, 8, 16, 24)
    assert all(bool(grad.any()) for grad in torch.autograd.grad(out.sum(), leaves))


def test_tables_that_name_different_levels_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"must name the levels \['b', 'a'\].*\['a'\]"):
        UNetNeck({"c": 24, "b": 16, "a": 8}, {"a": 8})
