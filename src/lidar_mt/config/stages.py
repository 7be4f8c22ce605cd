"""What a stage starts from, and the network that it trains or evaluates."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf
from torch import nn

from lidar_mt.config.changes import changed_keys, describe
from lidar_mt.config.checkpoints import read_or_tell
from lidar_mt.config.commands import told_command
from lidar_mt.config.instantiate import instantiate
from lidar_mt.engine.checkpoint import load_network
from lidar_mt.engine.files import previous_of
from lidar_mt.models.multitask import LidarMultiTaskNet
from lidar_mt.models.quantized_multitask import QuantizedMultiTaskNet
from lidar_mt.quantization.modules import set_mode
from lidar_mt.quantization.recipe import Quantization
from lidar_mt.quantization.report import uncalled_modules, write_table
from lidar_mt.structures.errors import CheckpointError, ConfigError

#: The stage that a stage starts from.
BEFORE = {"calibrate": "float", "qat": "calibrate"}
#: Keys of `quant` that calibration has settled; the others may change from stage to stage.
_SETTLED = ("scheme", "scales", "exceptions")
_SHOWN = 3
#: Stages with integers.
QUANTIZED = tuple(BEFORE)
#: What `export` makes; nothing to train.
EXPORTED = "int8"

log = logging.getLogger("lidar_mt.config")


class Start(NamedTuple):
    """The checkpoint that a stage starts from.

    Attributes:
        path: for messages.
        content: what `read_checkpoint` returned.
    """

    path: Path
    content: dict[str, Any]

    @property
    def config(self) -> Mapping[str, Any]:
        """What its network was built from, as plain containers."""
        config: Mapping[str, Any] = self.content.get("lidar_mt", {}).get("config", {})
        return config


def check_stage(cfg: DictConfig) -> None:
    """Refuses a stage without its quantization, and the other way round.

    Raises:
        ConfigError: names both.
    """
    if cfg.stage.name == EXPORTED:
        raise ConfigError(
            "stage=int8 is exported, not trained; run `python -m lidar_mt.export`, then "
            "`python -m lidar_mt.evaluate stage=int8`"
        )
    quantized = cfg.stage.name in BEFORE
    if quantized and cfg.quant is None:
        raise ConfigError(
            f"stage={cfg.stage.name} needs a quantization; leave quant=... out, or choose one of its files"
        )
    if cfg.quant is not None and not quantized:
        raise ConfigError(
            f"stage={cfg.stage.name} has no quantization; quant=... goes with stage=calibrate or stage=qat"
        )
    if cfg.quant is not None:
        instantiate(cfg.quant)


def read_start(cfg: DictConfig, arguments: Sequence[str] = ()) -> Start | None:
    """The checkpoint that a stage starts from; None where there is none before it, or the run is resumed.

    Args:
        cfg: a training configuration.
        arguments: of the command line, to say which command makes a missing checkpoint.

    Raises:
        CheckpointError: it is missing, damaged, or of another stage.
    """
    before = BEFORE.get(cfg.stage.name)
    if cfg.stage.name == "calibrate" and cfg.resume is not None:
        raise ConfigError(f"a calibration cannot go on from {cfg.resume}; leave resume out, it starts anew")
    if before is None or cfg.resume is not None:
        return None
    path = Path(cfg.stage.start)
    if not path.is_file() and not previous_of(path).is_file():
        raise CheckpointError(
            f"stage={cfg.stage.name} starts from {path}, which is not there; first run\n"
            f"{stage_command(before, arguments)}\nor name another checkpoint with stage.start=FILE"
        )
    start = Start(path, read_or_tell(path, stage_command(before, arguments)))
    if ("quant" in start.config) != (before in BEFORE):
        found = "a quantized" if "quant" in start.config else "a float"
        raise CheckpointError(f"{path} holds {found} network; stage={cfg.stage.name} starts from one of stage={before}")
    return start


def stage_command(stage: str, arguments: Sequence[str]) -> str:
    """The command of a stage, from the arguments of another or the same one; never one that resumes."""
    left_out = ["resume=", "stage="]
    if f"stage={stage}" not in arguments:  # what belongs to another stage
        left_out += ["stage.", "optimizer", *(["quant"] if stage == "float" else ["trainer.max_epochs"])]
    kept = [item for item in arguments if not item.lstrip("+~").startswith(tuple(left_out))]
    return told_command("train", [f"stage={stage}", *kept])


def build_net(cfg: DictConfig, start: Start | None = None) -> LidarMultiTaskNet | QuantizedMultiTaskNet:
    """The configured network, quantized where `quant` says so.

    Args:
        cfg: a configuration with the network groups.
        start: weights to begin with.

    Returns:
        The network; where it is quantized, in mode `quantize`.

    Raises:
        CheckpointError: the start is of another network.
        ConfigError: the network cannot be quantized.
    """
    net: LidarMultiTaskNet = instantiate(cfg.model.net)
    if cfg.get("quant") is None:
        return net
    if start is not None:
        _check_same_network(start, cfg)
    if start is not None and "quant" not in start.config:
        load_network(net, start.content, start.path)
    quantization: Quantization = instantiate(cfg.quant)
    quantized = QuantizedMultiTaskNet(net.eval(), quantization.settings, quantization.exceptions)
    set_mode(quantized, "quantize")
    if start is not None and "quant" in start.config:
        load_network(quantized, start.content, start.path)
    quantized.train()  # like a float network; the parts of one in evaluation would stay there
    return quantized


def report_quantization(cfg: DictConfig, net: nn.Module, path: Path, *, told: bool = True) -> None:
    """Says in short how a network is quantized and what of it stays in float, and writes all of it to a file.

    Args:
        cfg: configuration of the training.
        net: float networks are passed over.
        path: of the file.
        told: say it, and do not only write it.
    """
    if not isinstance(net, QuantizedMultiTaskNet):
        return
    uncalled = uncalled_modules(instantiate(cfg.model.net), net)
    title = f"scheme {cfg.quant.scheme}, {cfg.quant.scales} scales, observer {cfg.quant.observer}"
    short = write_table(net, path, title, uncalled)
    if told:
        log.info("%s", short)


def _check_same_network(start: Start, cfg: DictConfig) -> None:
    keys = [key for key in ("grid", "classes", "model", "quant") if key in start.config]
    before = {key: start.config[key] for key in keys}
    here: dict[str, Any] = {key: OmegaConf.to_container(cfg[key], resolve=True) for key in keys}
    for groups in (before, here):
        if "quant" in groups:
            groups["quant"] = {key: groups["quant"].get(key) for key in _SETTLED}
    changes = changed_keys(before, OmegaConf.create(here))
    if changes:
        told = describe(changes, f"differ from those of {start.path}", shown=_SHOWN)
        raise CheckpointError(f"{told}\nGive the same ones to stage={cfg.stage.name}, or run the stage before it again")
