"""Every option of every group composes, and what it describes can be built."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lidar_mt.config import CONF_DIR, compose, instantiate
from lidar_mt.config.build import build_module
from lidar_mt.structures.errors import ConfigError

GROUPS = ["grid", "stage", "experiment", "debug", "task", "optimizer", "scheduler", "augmentation", "metric", "data"]
GROUPS += ["bev_labels", "quant"]
OPTIONS = [f"{group}={path.stem}" for group in GROUPS for path in sorted((Path(CONF_DIR) / group).glob("*.yaml"))]


@pytest.mark.parametrize("override", OPTIONS)
@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_every_option_composes_and_resolves(name, override):
    cfg = compose(name, [override])
    cfg.paths.run = "somewhere"
    for group in ("grid", "classes", "data", "model", "task", "metric", "trainer", "callbacks", "logger"):
        assert OmegaConf.to_container(cfg[group], resolve=True, throw_on_missing=True) is not None


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        ([], ["segmentation", "detection"]),
        (["model=detection", "task=detection"], ["detection"]),
        (["model=segmentation", "task=segmentation"], ["segmentation"]),
    ],
)
def test_network_and_tasks_are_built_from_the_configuration(overrides, names):
    cfg = compose("train", ["grid.voxel_size=[1.6,1.6,8.0]", *overrides])
    module = build_module(cfg, total_steps=10).eval()
    assert list(module.tasks) == names
    points = torch.rand(500, 5) * torch.tensor([80.0, 80.0, 4.0, 255.0, 0.5]) - torch.tensor(
        [40.0, 40.0, 3.0, 0.0, 0.0]
    )
    predictions = module.predict([points])
    assert list(predictions) == names
    optimizers = module.configure_optimizers()
    assert optimizers["optimizer"].param_groups[0]["lr"] == pytest.approx(2e-4)


def test_transforms_callbacks_and_trainer_are_built(tmp_path):
    cfg = compose("train")
    cfg.paths.run = str(tmp_path)
    transforms = instantiate(cfg.augmentation)
    assert next(name for name, step in transforms.items() if step is not None) == "detection_classes"
    assert len(instantiate(cfg.callbacks)) == len(cfg.callbacks)
    assert instantiate(cfg.trainer, logger=False).gradient_clip_val == 35.0


@pytest.mark.parametrize(
    ("override", "error"),
    [
        ("sead=1", HydraException),
        ("seed=one", HydraException),
        ("data.bach_size=2", HydraException),
        ("model.voxelizer.max_pilars_train=2", HydraException),
        ("stage=flaot", HydraException),
        ("task.detection.loss.channel_weights.vell=1", HydraException),
        ("optimizer.lrr=1", HydraException),
        ("trainer.max_epoch=1", HydraException),
    ],
)
def test_misspelt_and_mistyped_keys_are_refused(override, error):
    with pytest.raises((error, OmegaConfBaseException)):
        compose("train", [override])


def test_a_wrong_value_names_itself():
    cfg = compose("train", ["grid.voxel_size=[0.3,0.2,8.0]"])
    with pytest.raises(ConfigError, match="x range"):
        instantiate(cfg.grid)
