"""Two forms of a network that a comparison looks into, and what has to be alike in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from lidar_mt.config.build import NETWORK_KEYS, load_module
from lidar_mt.config.instantiate import instantiate
from lidar_mt.config.networks import Network
from lidar_mt.deploy.runtimes.loading import load_runtime
from lidar_mt.deploy.trace import Form, IntegerForm, OnnxForm, RuntimeForm, TorchForm
from lidar_mt.models.quantized_multitask import QuantizedMultiTaskNet
from lidar_mt.models.voxelizer import Voxelizer
from lidar_mt.quantization.modules import Settings
from lidar_mt.quantization.spec import build_scheme
from lidar_mt.structures.classes import Classes
from lidar_mt.structures.errors import ConfigError
from lidar_mt.structures.grid import Grid
from lidar_mt.tasks.base import AnyTask


@dataclass(frozen=True)
class Subject:
    """A form of a network and what surrounds it.

    Attributes:
        name: as the user gave it.
        form: shows its tensors.
        voxelizer: points to pillars, in evaluation mode.
        classes: what its outputs mean.
        num_sweeps: sweeps that its training merged.
        config: groups of the network's configuration; None for an artefact that carries none.
    """

    name: str
    form: Form
    voxelizer: Voxelizer
    classes: Classes
    num_sweeps: int
    config: DictConfig | None

    @property
    def grid(self) -> Grid:
        """Range and resolution."""
        return self.voxelizer.grid


def load_subject(network: Network) -> Subject:
    """The form of a network that shows its tensors.

    Raises:
        CheckpointError: the checkpoint is damaged.
        ArtefactError: the runtime refuses the artefact.
        ConfigError: the runtime is not installed, or the network cannot be captured.
    """
    form = _form(network)
    return Subject(network.place.name, form, network.voxelizer(), network.classes(), network.num_sweeps, network.config)


def check_same(a: Subject, b: Subject) -> None:
    """Refuses two networks that see the world in different ways.

    Raises:
        ConfigError: grid, pillars or classes differ.
    """
    for what, one, other in (
        ("grid", a.grid, b.grid),
        ("points per pillar", a.voxelizer.points_per_pillar, b.voxelizer.points_per_pillar),
        ("limit of pillars", a.voxelizer.max_pillars_eval, b.voxelizer.max_pillars_eval),
        ("classes", a.classes, b.classes),
    ):
        if one != other:
            raise ConfigError(
                f"a={a.name} and b={b.name} cannot be compared, they differ in {what}: {one} and {other}; "
                "compare forms of one network"
            )


def build_tasks(cfg: DictConfig, a: Subject, b: Subject) -> dict[str, AnyTask]:
    """The decoders of the first that has a configuration; where none has, those of `cfg`, on the artefact's grid.

    Args:
        cfg: configuration of the program; its network groups are replaced.
        a: first subject.
        b: second subject.
    """
    config = a.config if a.config is not None else b.config
    with open_dict(cfg):
        if config is not None:
            for key in NETWORK_KEYS:
                cfg[key] = config[key]
        else:
            cfg.grid, cfg.classes = _as_config(a.grid), _as_config(a.classes)
    return {name: instantiate(node) for name, node in cfg.task.items() if node is not None}


def _as_config(value: Any) -> DictConfig:
    fields = {"_target_": f"{type(value).__module__}.{type(value).__name__}", **vars(value)}
    return OmegaConf.create(fields)


def _form(network: Network) -> Form:
    artefact, runtime = network.artefact, network.place.runtime
    if artefact is None:
        net = load_module(network.place.path, network.config).net
        if not isinstance(net, QuantizedMultiTaskNet):
            # The same graph with the same names, computed in float; scheme and scales play no part in it.
            net = QuantizedMultiTaskNet(net, Settings(build_scheme("u8", "float")))
        return TorchForm(net)
    if runtime == "integer":
        return IntegerForm(artefact)
    opened = load_runtime(runtime, artefact, network.threads)
    return OnnxForm(opened, artefact) if runtime == "onnxruntime" else RuntimeForm(opened)
