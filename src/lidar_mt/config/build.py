"""From a composed configuration to the objects of a run."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from lidar_mt.config.checkpoints import read_or_tell, stage_of
from lidar_mt.config.commands import command_line
from lidar_mt.config.instantiate import instantiate
from lidar_mt.config.places import STAGES, shared_arguments
from lidar_mt.config.stages import Start, build_net, check_stage, stage_command
from lidar_mt.data.datamodule import LidarDataModule
from lidar_mt.engine.checkpoint import check_there, config_beside, load_network
from lidar_mt.engine.lit_module import LidarMultiTaskModule
from lidar_mt.structures.errors import CheckpointError, ConfigError, DataError

#: Input cells per cell of the neck's last map.
HEAD_STRIDE = 4

log = logging.getLogger("lidar_mt.config")

#: What a checkpoint's network was built from; written beside it and read back by `evaluate` and `infer`.
NETWORK_KEYS = ("grid", "classes", "model", "task")


def build_datamodule(cfg: DictConfig) -> LidarDataModule:
    """The data module of `cfg.data`, with `cfg.augmentation` in training."""
    datamodule: LidarDataModule = instantiate(cfg.data)
    return datamodule


def build_module(
    cfg: DictConfig, total_steps: int = 0, metrics: Mapping[str, Any] | None = None, start: Start | None = None
) -> LidarMultiTaskModule:
    """Network, voxelizer, tasks and, where configured, metrics, optimizer and schedule.

    Args:
        cfg: a composed configuration with the groups grid, classes, model and task.
        total_steps: optimizer steps of the whole training; 0 for evaluation.
        metrics: validation metric by task name.
        start: checkpoint of the stage before, whose weights the network begins with.
    """
    training = total_steps > 0
    tasks = {name: instantiate(node) for name, node in cfg.task.items() if node is not None}
    return LidarMultiTaskModule(
        voxelizer=instantiate(cfg.model.voxelizer),
        net=build_net(cfg, start),
        tasks=tasks,
        metrics=metrics,
        optimizer=instantiate(cfg.optimizer) if training else None,
        scheduler=instantiate(cfg.scheduler) if training else None,
        total_steps=total_steps,
        config=network_config(cfg),
    )


def load_module(
    checkpoint: Path, cfg: DictConfig | None = None, metrics: Mapping[str, Any] | None = None
) -> LidarMultiTaskModule:
    """A module in evaluation mode with the weights of a checkpoint.

    Args:
        checkpoint: a `.ckpt` file; `config.yaml` beside it says what the network is.
        cfg: configuration with the network groups; read from beside the checkpoint when None.
        metrics: metric by task name.

    Raises:
        CheckpointError: the checkpoint or its configuration is missing or damaged.
    """
    content = read_or_tell(checkpoint, _command_of(checkpoint))
    cfg = cfg or read_network_config(checkpoint)
    trained = content.get("lidar_mt", {}).get("config")
    here = network_config(cfg)
    if trained and any(trained.get(key) != here.get(key) for key in ("grid", "classes", "model", "quant")):
        raise CheckpointError(
            f"{checkpoint} was trained with another network than the config.yaml beside it describes; "
            "take the config.yaml from the checkpoint's own run folder"
        )
    module = build_module(cfg, metrics=metrics)
    load_network(module.net, content, checkpoint)
    return module.eval()


def _command_of(checkpoint: Path) -> str:
    """The training that a running program would start to get a published checkpoint; empty where none is known."""
    if not HydraConfig.initialized() or stage_of(checkpoint) not in STAGES:
        return ""
    return stage_command(stage_of(checkpoint), shared_arguments(command_line()))


def build_metrics(cfg: DictConfig) -> dict[str, Any]:
    """The configured metric of each configured task, once the data it needs is known to be there.

    Raises:
        DataError: the ground truth is missing.
        ConfigError: the split does not belong to the version.
    """
    metrics = instantiate_metrics(cfg)
    for metric in metrics.values():
        # Now rather than after the first hours of training.
        if hasattr(metric, "check_data"):
            metric.check_data()
    return metrics


def instantiate_metrics(cfg: DictConfig) -> dict[str, Any]:
    """The configured metric of each configured task; touches no data."""
    return {name: instantiate(node) for name, node in cfg.metric.items() if name in cfg.task and node is not None}


def check_values(cfg: DictConfig) -> None:
    """Refuses combinations that would fail later with a less telling message; `config.check` has seen every value.

    Raises:
        ConfigError: names the key, the value and what was expected.
    """
    if cfg.grid.head_stride != HEAD_STRIDE:
        raise ConfigError(f"grid.head_stride={cfg.grid.head_stride}: the neck's last map has stride {HEAD_STRIDE}")
    heads, tasks = sorted(cfg.model.head), sorted(cfg.task)
    if heads != tasks:
        raise ConfigError(f"the model has heads {heads}, the tasks are {tasks}; choose model=... and task=... alike")
    if Path(cfg.run_name).is_absolute() or ".." in Path(cfg.run_name).parts:
        raise ConfigError(f"run_name={cfg.run_name}: expected the name of a folder under paths.runs")
    best = cfg.callbacks.get("best")
    if best is not None and "loss" in str(best.get("monitor")) and best.get("mode") == "max":
        raise ConfigError(f"callbacks.best keeps the largest {best.monitor}; set callbacks.best.mode=min")
    check_stage(cfg)


def match_hardware(cfg: DictConfig) -> None:
    """Switches synchronised batch norm off where training runs on CPUs, for which torch has none."""
    if cfg.trainer.accelerator == "cpu" or not torch.cuda.is_available():
        cfg.trainer.sync_batchnorm = False


def match_monitor(cfg: DictConfig) -> None:
    """Lets the mean IoU choose the best checkpoint where no detection score is there to do it."""
    best = cfg.callbacks.get("best")
    if "detection" not in cfg.task and best is not None and best.get("monitor") == "val/NDS":
        best.monitor = "val/mIoU"


def total_steps(trainer: pl.Trainer, batches: int) -> int:
    """Optimizer steps of the whole training, before Lightning has touched the data.

    Args:
        trainer: gives epochs, accumulation and limits.
        batches: batches per rank and epoch.

    Raises:
        ConfigError: there is no batch to train on, or validation would come later than the end of an epoch.
    """
    limit = trainer.limit_train_batches
    batches = min(batches, limit) if isinstance(limit, int) else int(batches * (1.0 if limit is None else limit))
    if batches == 0:
        raise ConfigError(f"nothing to train on: trainer.limit_train_batches={limit} leaves no batch of an epoch")
    every = trainer.val_check_interval
    if isinstance(every, int) and every > batches and trainer.check_val_every_n_epoch is not None:
        raise ConfigError(
            f"trainer.val_check_interval={every}: an epoch has {batches} batches; a share up to 1.0 works as well"
        )
    # The last group of an epoch steps even when it is smaller than the accumulation.
    steps = math.ceil(batches / trainer.accumulate_grad_batches) * (trainer.max_epochs or 1)
    return max(1, steps if trainer.max_steps < 0 else min(steps, trainer.max_steps))


def drop_unlabelled_tasks(cfg: DictConfig, datamodule: LidarDataModule) -> bool:
    """Takes segmentation out of network, tasks and metrics when nothing in the data set labels the ground.

    Returns:
        Whether it did.
    """
    if "segmentation" not in cfg.task or datamodule.has_bev_labels():
        return False
    if len(cfg.task) == 1:
        raise DataError(
            f"{datamodule.train_store} has no lidarseg labels, so there is nothing to segment; use task=detection, "
            "or bev_labels=map_mask"
        )
    log.warning("%s has no lidarseg labels: training detection alone", datamodule.train_store)
    with open_dict(cfg):
        for tasks in (cfg.task, cfg.model.head, cfg.metric):
            tasks.pop("segmentation", None)
    return True


def network_config(cfg: DictConfig) -> dict[str, Any]:
    """The resolved groups that define the network, and the sweeps it is used to, as plain containers."""
    groups: dict[str, Any] = {key: OmegaConf.to_container(cfg[key], resolve=True) for key in NETWORK_KEYS}
    if cfg.get("quant") is not None:
        groups["quant"] = OmegaConf.to_container(cfg.quant, resolve=True)
    return {**groups, "num_sweeps": cfg.data.num_sweeps if "data" in cfg else cfg.num_sweeps}


def write_network_config(cfg: DictConfig, folder: Path) -> None:
    """Writes `config.yaml` into the folder that holds the checkpoints."""
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.create(network_config(cfg)), folder / "config.yaml")


def read_network_config(checkpoint: Path) -> DictConfig:
    """Reads `config.yaml`, or `<stage>-config.yaml`, from beside a checkpoint.

    Returns:
        The groups of `NETWORK_KEYS`, `num_sweeps` and, for a quantized network, `quant`.

    Raises:
        CheckpointError: there is none, or it lacks a group.
    """
    check_there(checkpoint)
    path = config_beside(checkpoint)
    if not path.is_file():
        raise CheckpointError(f"no {path}; it describes the network of {checkpoint.name} and is written by training")
    try:
        config = OmegaConf.load(path)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is damaged; copy the run's config.yaml there or train again") from error
    missing = [key for key in (*NETWORK_KEYS, "num_sweeps") if key not in config]
    if missing or not isinstance(config, DictConfig):
        raise CheckpointError(f"{path} lacks {missing}; train again or restore the file")
    return config
