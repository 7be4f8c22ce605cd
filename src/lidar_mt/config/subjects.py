"""The forms of a network that a comparison is asked for by name: a stage, a checkpoint, an artefact in a runtime."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from lidar_mt.config.build import NETWORK_KEYS, load_module, read_network_config
from lidar_mt.config.deployed import parse_network
from lidar_mt.config.instantiate import instantiate
from lidar_mt.config.stages import stage_command
from lidar_mt.deploy.artefact import SIGNATURE, read_artefact
from lidar_mt.deploy.runtimes.loading import RUNTIMES, load_runtime
from lidar_mt.deploy.trace import Form, IntegerForm, OnnxForm, RuntimeForm, TorchForm
from lidar_mt.engine.files import previous_of
from lidar_mt.models.quantized_multitask import QuantizedMultiTaskNet
from lidar_mt.models.voxelizer import Voxelizer
from lidar_mt.quantization.modules import Settings
from lidar_mt.quantization.spec import build_scheme
from lidar_mt.structures.classes import Classes
from lidar_mt.structures.errors import ArtefactError, CheckpointError, ConfigError
from lidar_mt.structures.grid import Grid
from lidar_mt.tasks.base import AnyTask

#: Stages whose published checkpoint can be named.
STAGES = ("float", "calibrate", "qat")
_INT8 = "int8"
_EXPECTED = "float, calibrate, qat, int8:RUNTIME, FILE.ckpt or FOLDER:RUNTIME"


@dataclass(frozen=True)
class Place:
    """Where a form is found.

    Attributes:
        name: as the user gave it.
        path: checkpoint, or folder of an artefact.
        runtime: of an artefact; None for a checkpoint.
    """

    name: str
    path: Path
    runtime: str | None


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


def locate(key: str, name: str, published: Path, arguments: Sequence[str] = ()) -> Place:
    """Finds what a user named, without opening it.

    Args:
        key: of the configuration, for messages.
        name: a stage, `int8:RUNTIME`, a checkpoint, or an artefact's folder and a runtime as FOLDER:RUNTIME.
        published: folder of the published checkpoints, and of the artefact `int8`.
        arguments: of the command line, to say which command makes what is missing.

    Raises:
        ConfigError: the name means nothing.
        CheckpointError: the checkpoint is missing.
        ArtefactError: the artefact is missing.
    """
    if name in STAGES or name.endswith(".ckpt"):
        path = published / f"{name}-best.ckpt" if name in STAGES else Path(name)
        if not path.is_file() and not previous_of(path).is_file():
            stage = name if name in STAGES else next((one for one in STAGES if path.name.startswith(one)), "float")
            raise CheckpointError(
                f"{key}={name}: no checkpoint at {path}; run\n{stage_command(stage, arguments)}\n"
                f"or name another one with {key}=FILE.ckpt"
            )
        return Place(name, path, None)
    folder, runtime = _split(key, name, published)
    if not (folder / SIGNATURE).is_file():
        export = shlex.join(["python", "-m", "lidar_mt.export", *arguments])
        raise ArtefactError(
            f"{key}={name}: no artefact at {folder}; run\n{export}\nor name another one with {key}=FOLDER:{runtime}"
        )
    return Place(name, folder, runtime)


def load_subject(place: Place, threads: int = 1) -> Subject:
    """Opens what `locate` found.

    Args:
        place: of a checkpoint or an artefact.
        threads: of a runtime.

    Raises:
        CheckpointError: the checkpoint is damaged.
        ArtefactError: the artefact is damaged or refused by the runtime.
        ConfigError: the runtime is not installed, or the network cannot be captured.
    """
    if place.runtime is None:
        return _checkpoint(place.name, place.path)
    return _artefact(place.name, place.path, place.runtime, threads)


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


def _split(key: str, name: str, published: Path) -> tuple[Path, str]:
    """Folder and runtime of a name that is no checkpoint."""
    place, colon, runtime = name.rpartition(":")
    if not colon and (name == _INT8 or (Path(name) / SIGNATURE).is_file()):
        place, runtime = name, "integer"
    if not place:
        raise ConfigError(f"{key}={name}: expected {_EXPECTED}")
    if runtime not in RUNTIMES:
        raise ConfigError(f"{key}={name}: there is no runtime {runtime!r}, expected one of {sorted(RUNTIMES)}")
    return published / _INT8 if place == _INT8 else Path(place), runtime


def _checkpoint(name: str, path: Path) -> Subject:
    config = read_network_config(path)
    net = load_module(path, config).net
    if not isinstance(net, QuantizedMultiTaskNet):
        # The same graph with the same names, computed in float; scheme and scales play no part in it.
        net = QuantizedMultiTaskNet(net, Settings(build_scheme("u8", "float")))
    return Subject(
        name=name,
        form=TorchForm(net),
        voxelizer=instantiate(config.model.voxelizer).eval(),
        classes=instantiate(config.classes),
        num_sweeps=int(config.num_sweeps),
        config=config,
    )


def _artefact(name: str, folder: Path, runtime: str, threads: int) -> Subject:
    artefact = read_artefact(folder)
    signature = artefact.signature
    limits = signature.preprocessing
    voxelizer = Voxelizer(
        signature.build_grid(), points_per_pillar=limits.points_per_pillar, max_pillars_eval=limits.max_pillars
    )
    form: Form
    if runtime == "integer":
        form = IntegerForm(artefact)
    else:
        opened = load_runtime(runtime, artefact, threads)
        form = OnnxForm(opened, artefact) if runtime == "onnxruntime" else RuntimeForm(opened)
    config = parse_network(artefact.config, folder) if artefact.config.strip() else None
    return Subject(name, form, voxelizer.eval(), signature.build_classes(), limits.num_sweeps, config)
