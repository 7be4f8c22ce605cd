"""The network of any stage in any runtime, for evaluation and inference."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from omegaconf import DictConfig, OmegaConf, open_dict

from lidar_mt.config.build import NETWORK_KEYS, load_module, read_network_config
from lidar_mt.config.instantiate import instantiate
from lidar_mt.config.stages import EXPORTED
from lidar_mt.deploy.artefact import Artefact, read_artefact
from lidar_mt.deploy.exporter import build_artefact
from lidar_mt.deploy.runtimes.base import RuntimeNet
from lidar_mt.deploy.runtimes.loading import RUNTIMES, load_runtime
from lidar_mt.engine.lit_module import LidarMultiTaskModule
from lidar_mt.models.quantized_multitask import QuantizedMultiTaskNet
from lidar_mt.models.voxelizer import Voxelizer
from lidar_mt.structures.errors import ArtefactError, ConfigError

#: The network as it is trained.
TORCH = "torch"
#: What computes an artefact where nothing is said.
_DEFAULT_RUNTIME = "integer"

log = logging.getLogger("lidar_mt.config")


@dataclass(frozen=True)
class Deployed:
    """A network that is there, and what computes it.

    Attributes:
        stage: float, calibrate, qat or int8.
        runtime: torch, or one of `RUNTIMES`.
        source: checkpoint file or artefact folder.
        network: its own configuration: the groups of `NETWORK_KEYS`, `num_sweeps` and, quantized, `quant`.
        artefact: for int8.
        threads: processor threads of the runtime.
    """

    stage: Literal["float", "calibrate", "qat", "int8"]
    runtime: str
    source: Path
    network: DictConfig
    artefact: Artefact | None
    threads: int

    @property
    def name(self) -> str:
        """For tables, file and folder names: `float`, `qat`, `int8_onnxruntime`."""
        return self.stage if self.runtime == TORCH else f"{self.stage}_{self.runtime}"

    def use_network(self, cfg: DictConfig) -> None:
        """Replaces a configuration's network groups with the network's own."""
        with open_dict(cfg):
            for key in NETWORK_KEYS:
                cfg[key] = self.network[key]
            cfg.quant = self.network.get("quant")

    def build(self, metrics: Mapping[str, Any] | None = None, cfg: DictConfig | None = None) -> LidarMultiTaskModule:
        """A module in evaluation mode.

        Args:
            metrics: metric by task name.
            cfg: a configuration with the network groups; the network's own when None.

        Raises:
            CheckpointError: the checkpoint is damaged.
            ArtefactError: the network has no integers, or the runtime refuses it.
            ConfigError: the runtime's package is not installed.
        """
        cfg = cfg or self.network
        if self.artefact is not None:
            return self._from_artefact(self.artefact, cfg, metrics)
        module = load_module(self.source, cfg, metrics)
        if self.runtime != TORCH:
            classes, sweeps = instantiate(cfg.classes), self.network.num_sweeps
            artefact = build_artefact(*integer_parts(module), classes, num_sweeps=sweeps)
            module.net = self._net(artefact)
        return module

    def _from_artefact(
        self, artefact: Artefact, cfg: DictConfig, metrics: Mapping[str, Any] | None
    ) -> LidarMultiTaskModule:
        limits = artefact.signature.preprocessing
        voxelizer = Voxelizer(
            artefact.signature.build_grid(),
            points_per_pillar=limits.points_per_pillar,
            max_pillars_eval=limits.max_pillars,
        )
        tasks = {name: instantiate(node) for name, node in cfg.task.items() if node is not None}
        return LidarMultiTaskModule(voxelizer, self._net(artefact), tasks, metrics).eval()

    def _net(self, artefact: Artefact) -> Any:
        return RuntimeNet(load_runtime(self.runtime, artefact, self.threads))


def integer_parts(module: LidarMultiTaskModule) -> tuple[QuantizedMultiTaskNet, Voxelizer]:
    """The network and the voxelizer of a quantized module.

    Raises:
        ConfigError: the module is a float one.
    """
    if not isinstance(module.net, QuantizedMultiTaskNet):
        raise ConfigError("a float network has no integers; take a checkpoint of stage=calibrate or stage=qat")
    voxelizer: Any = module.voxelizer
    return module.net, voxelizer


def find_deployed(cfg: DictConfig) -> Deployed:
    """What `stage`, `runtime`, `checkpoint` and `artefact` of a configuration name.

    Raises:
        ConfigError: the stage has no such runtime.
        CheckpointError: the checkpoint's description is missing.
        ArtefactError: the artefact is missing or damaged.
    """
    stage, threads = cfg.stage.name, cfg.threads or torch.get_num_threads()
    runtime = cfg.runtime or (_DEFAULT_RUNTIME if stage == EXPORTED else TORCH)
    known = [*(() if stage == EXPORTED else (TORCH,)), *(() if stage == "float" else RUNTIMES)]
    if runtime not in known:
        raise ConfigError(f"stage={stage} runtime={runtime}: a network of this stage runs in {', '.join(known)}")
    if stage != EXPORTED:
        source = Path(cfg.checkpoint)
        return Deployed(stage, runtime, source, read_network_config(source), None, threads)
    folder = Path(cfg.artefact)
    artefact = read_artefact(folder)
    return Deployed(stage, runtime, folder, _described(artefact, folder, cfg), artefact, threads)


def _described(artefact: Artefact, folder: Path, cfg: DictConfig) -> DictConfig:
    """The artefact's own configuration, or that of the command line where it has none."""
    signature = artefact.signature
    if artefact.config.strip():
        network = parse_network(artefact.config, folder)
    else:
        log.warning("%s has no configuration of its own; its outputs are decoded as this command line says", folder)
        network = OmegaConf.create({key: cfg[key] for key in NETWORK_KEYS})
        network.num_sweeps = signature.preprocessing.num_sweeps
    grid, classes = instantiate(network.grid), instantiate(network.classes)
    if (grid, classes) != (signature.build_grid(), signature.build_classes()):
        raise ArtefactError(f"{folder} was exported with another grid or other classes than its configuration says")
    tasks, outputs = sorted(network.task), sorted(signature.structure)
    if tasks != outputs:
        raise ConfigError(f"{folder} has outputs for {outputs}, the tasks are {tasks}; choose task=... alike")
    return network


def parse_network(text: str, folder: Path) -> DictConfig:
    """The configuration that an artefact carries.

    Args:
        text: of its `config.yaml`.
        folder: of the artefact, for messages.

    Raises:
        ArtefactError: the text is damaged, or lacks a group.
    """
    try:
        network = OmegaConf.create(text)
    except yaml.YAMLError as error:
        raise ArtefactError(f"{folder}: config.yaml is damaged; export the network again") from error
    lacks = [key for key in (*NETWORK_KEYS, "num_sweeps") if key not in network]
    if lacks or not isinstance(network, DictConfig):
        raise ArtefactError(f"{folder}: config.yaml lacks {lacks}; export the network again")
    return network
