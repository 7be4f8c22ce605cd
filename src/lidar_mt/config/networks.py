"""The network at a place: what it was built from, its integers, and the module that evaluation and inference run."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from omegaconf import DictConfig, OmegaConf, open_dict

from lidar_mt.config.build import NETWORK_KEYS, load_module, read_network_config
from lidar_mt.config.instantiate import instantiate
from lidar_mt.config.places import TORCH, Place, naming_command
from lidar_mt.deploy.artefact import Artefact, read_artefact
from lidar_mt.deploy.exporter import build_artefact
from lidar_mt.deploy.runtimes.base import RuntimeNet
from lidar_mt.deploy.runtimes.loading import load_runtime
from lidar_mt.engine.lit_module import LidarMultiTaskModule
from lidar_mt.models.quantized_multitask import QuantizedMultiTaskNet
from lidar_mt.models.voxelizer import Voxelizer
from lidar_mt.structures.classes import Classes
from lidar_mt.structures.errors import ArtefactError, ConfigError

_NO_INTEGERS = "a float network has no integers; take a checkpoint of stage=calibrate or stage=qat"

log = logging.getLogger("lidar_mt.config")


@dataclass(frozen=True)
class Network:
    """A network that is there.

    Attributes:
        place: where it was found.
        config: its own configuration: the groups of `NETWORK_KEYS`, `num_sweeps` and, quantized, `quant`; None for an
            artefact that carries none.
        read: what an exported network's folder holds; None for a checkpoint.
        threads: processor threads of the runtime.
    """

    place: Place
    config: DictConfig | None
    read: Artefact | None
    threads: int

    @functools.cached_property
    def artefact(self) -> Artefact | None:
        """What a runtime computes; None for torch. A checkpoint is exported in memory when this is first asked for.

        Raises:
            ArtefactError: the network gives no integers.
            CheckpointError: the checkpoint is damaged.
        """
        if self.place.exported or self.place.runtime == TORCH:
            return self.read
        config = self._described()
        parts = integer_parts(load_module(self.place.path, config))
        return build_artefact(*parts, instantiate(config.classes), num_sweeps=config.num_sweeps)

    @property
    def num_sweeps(self) -> int:
        """Sweeps that its training merged."""
        if self.config is not None:
            return int(self.config.num_sweeps)
        return self._integers().signature.preprocessing.num_sweeps

    def classes(self) -> Classes:
        """What its outputs mean."""
        if self.place.exported:
            return self._integers().signature.build_classes()
        classes: Classes = instantiate(self._described().classes)
        return classes

    def voxelizer(self) -> Voxelizer:
        """Points to pillars as the network takes them, in evaluation mode."""
        if not self.place.exported:
            voxelizer: Voxelizer = instantiate(self._described().model.voxelizer)
            return voxelizer.eval()
        signature = self._integers().signature
        limits, grid = signature.preprocessing, signature.build_grid()
        return Voxelizer(grid, points_per_pillar=limits.points_per_pillar, max_pillars_eval=limits.max_pillars).eval()

    def described_by(self, cfg: DictConfig) -> Network:
        """The same network; where it has no configuration of its own, with the groups of a command line.

        Raises:
            ArtefactError: its grid or classes are others.
            ConfigError: its outputs belong to other tasks.
        """
        if self.config is not None:
            return self
        folder = self.place.path
        log.warning("%s has no configuration of its own; its outputs are decoded as this command line says", folder)
        config = OmegaConf.create({key: cfg[key] for key in NETWORK_KEYS})
        config.num_sweeps = self.num_sweeps
        check_fits(self._integers(), config, folder)
        return Network(self.place, config, self.read, self.threads)

    def replace_groups(self, cfg: DictConfig) -> None:
        """Puts the network's own groups in the place of a configuration's."""
        network = self._described()
        with open_dict(cfg):
            for key in NETWORK_KEYS:
                cfg[key] = network[key]
            cfg.quant = network.get("quant")

    def build(self, metrics: Mapping[str, Any] | None = None, cfg: DictConfig | None = None) -> LidarMultiTaskModule:
        """A module in evaluation mode.

        Args:
            metrics: metric by task name.
            cfg: a configuration with the network groups; the network's own when None.

        Raises:
            CheckpointError: the checkpoint is damaged.
            ArtefactError: the runtime refuses the network.
            ConfigError: the runtime's package is not installed.
        """
        cfg = cfg or self._described()
        if self.artefact is None:
            return load_module(self.place.path, cfg, metrics)
        net: Any = RuntimeNet(load_runtime(self.place.runtime, self.artefact, self.threads))
        tasks = {name: instantiate(node) for name, node in cfg.task.items() if node is not None}
        return LidarMultiTaskModule(self.voxelizer(), net, tasks, metrics).eval()

    def _described(self) -> DictConfig:
        if self.config is None:
            raise ConfigError(f"{self.place.path} has no configuration of its own; export the network with one")
        return self.config

    def _integers(self) -> Artefact:
        if self.artefact is None:
            raise ConfigError(f"{self.place.path} was not exported")
        return self.artefact


def open_network(place: Place, threads: int | None = None) -> Network:
    """Reads what a place says of its network; the weights of a checkpoint are read when they are needed.

    Args:
        place: from `config.places`.
        threads: processor threads of a runtime; None takes torch's.

    Raises:
        CheckpointError: the checkpoint's description is missing or damaged.
        ArtefactError: the artefact is missing or damaged.
        ConfigError: the checkpoint holds a float network, and the place asks for a runtime.
    """
    threads = threads or torch.get_num_threads()
    if place.exported:
        with naming_command(place):
            artefact = read_artefact(place.path)
            config = _own_config(artefact, place.path)
        return Network(place, config, artefact, threads)
    config = read_network_config(place.path)
    if place.runtime != TORCH and config.get("quant") is None:
        raise ConfigError(_NO_INTEGERS)
    return Network(place, config, None, threads)


def integer_parts(module: LidarMultiTaskModule) -> tuple[QuantizedMultiTaskNet, Voxelizer]:
    """The network and the voxelizer of a quantized module.

    Raises:
        ConfigError: the module is a float one.
    """
    if not isinstance(module.net, QuantizedMultiTaskNet):
        raise ConfigError(_NO_INTEGERS)
    voxelizer: Any = module.voxelizer
    return module.net, voxelizer


def check_fits(artefact: Artefact, config: DictConfig, folder: Path) -> None:
    """Refuses a configuration of another network.

    Raises:
        ArtefactError: grid or classes are others.
        ConfigError: the outputs belong to other tasks.
    """
    signature = artefact.signature
    grid, classes = instantiate(config.grid), instantiate(config.classes)
    if (grid, classes) != (signature.build_grid(), signature.build_classes()):
        raise ArtefactError(f"{folder} was exported with another grid or other classes than its configuration says")
    tasks, outputs = sorted(config.task), sorted(signature.structure)
    if tasks != outputs:
        raise ConfigError(f"{folder} has outputs for {outputs}, the tasks are {tasks}; choose task=... alike")


def _own_config(artefact: Artefact, folder: Path) -> DictConfig | None:
    """The configuration that an artefact carries; None where it is empty."""
    if not artefact.config.strip():
        return None
    try:
        config = OmegaConf.create(artefact.config)
    except yaml.YAMLError as error:
        raise ArtefactError(f"{folder}: config.yaml is damaged; export the network again") from error
    lacks = [key for key in (*NETWORK_KEYS, "num_sweeps") if key not in config]
    if lacks or not isinstance(config, DictConfig):
        raise ArtefactError(f"{folder}: config.yaml lacks {lacks}; export the network again")
    check_fits(artefact, config, folder)
    return config
