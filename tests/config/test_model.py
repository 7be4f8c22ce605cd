from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from hydra.errors import InstantiationException

from lidar_mt.config import CONF_DIR, compose, instantiate
from lidar_mt.models.voxelizer import SpconvVoxelizer, Voxelizer
from lidar_mt.structures.errors import ConfigError


def options(group: str) -> list[str]:
    return sorted(path.stem for path in Path(CONF_DIR, group).glob("*.yaml"))


@pytest.mark.parametrize("model", [name for name in options("model") if name != "base"])
def test_every_model_builds(model: str) -> None:
    net = instantiate(compose("calops", [f"model={model}"]).model.net)
    assert list(net.heads) == (["segmentation", "detection"] if model == "multitask" else [model])


def test_numbers_have_one_owner() -> None:
    cfg = compose("calops", ["model.encoder.out_channels=32", "model.neck.out_channels.level2=64", "grid=small"])
    net = instantiate(cfg.model.net)
    assert net.backbone.stem.conv.in_channels == 32
    assert net.heads["segmentation"].first.depthwise.conv.in_channels == 64
    assert net.scatter.shape == (256, 256)
    assert instantiate(cfg.model.voxelizer).grid.shape == (256, 256)


@pytest.mark.parametrize("name", options("model/voxelizer"))
def test_every_voxelizer_builds_or_says_what_it_needs(name: str) -> None:
    cfg = compose("calops", [f"model/voxelizer={name}"])
    assert (cfg.model.voxelizer.max_pillars_train, cfg.model.voxelizer.max_pillars_eval) == (30000, 40000)
    if name == "spconv" and importlib.util.find_spec("spconv") is None:
        with pytest.raises((ConfigError, InstantiationException), match=r"pip install 'lidar_mt\[spconv\]'"):
            instantiate(cfg.model.voxelizer)
    else:
        expected = {"torch": Voxelizer, "spconv": SpconvVoxelizer}[name]
        assert type(instantiate(cfg.model.voxelizer)) is expected
