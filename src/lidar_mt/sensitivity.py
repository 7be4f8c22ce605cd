"""Ranks the layers of a quantized network by what their rounding does, and finds the fewest exceptions from int8.

    python -m lidar_mt.sensitivity stage=calibrate

Useful keys:
    stage=calibrate            whose checkpoint; also qat
    run_name=demo              whose published checkpoint
    experiment=demo            the same experiment as in training
    checkpoint=FILE            another checkpoint; config.yaml beside it says what the network is
    by=layer                   what is looked at together; also block, or head for the parts of the network
    samples=8                  keyframes of `split` on which outputs are compared with those in float
    data.num_sweeps=9          other sweeps than in training
    cells=objects              box values count where the float network sees something; all counts them everywhere
    metric_samples=0           keyframes on which the losses are compared, for the `top` rows
    top=15                     rows that are printed and, without a budget, excepted in the fragment
    budget=25                  finds the fewest exceptions with which the outputs have this SQNR [dB]
    measure=loss budget=0.5    or with which the loss is at most this much above that in float [%]
    precisions=[int16]         exceptions that may be used, tried in this order
    calibration_samples=16     training keyframes on which the scales of int16 are chosen
    out=DIR                    where sensitivity.txt, .json, .png and quant/exceptions.yaml go

Nothing is trained. `python -m lidar_mt.train stage=calibrate quant=exceptions --config-dir DIR` uses what was found.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf, open_dict
from rich import box
from rich.console import Console
from rich.table import Table

from lidar_mt.config import program
from lidar_mt.config.build import NETWORK_KEYS, build_datamodule, load_module, read_network_config
from lidar_mt.config.commands import command_line, told_command
from lidar_mt.config.exceptions_file import NAME, override, with_exceptions, write_exceptions
from lidar_mt.config.origin import NETWORKS, origin_line, origin_of
from lidar_mt.config.places import Place, find_configured, shared_arguments
from lidar_mt.config.stages import BEFORE, build_net
from lidar_mt.config.sweeps import match_sweeps
from lidar_mt.data.datamodule import LidarDataModule
from lidar_mt.engine.lit_module import LidarMultiTaskModule
from lidar_mt.engine.sensitivity_study import MEASURES, Budget, SensitivityStudy
from lidar_mt.metrics.json_files import nan_to_none, write_json
from lidar_mt.models.quantized_multitask import QuantizedMultiTaskNet
from lidar_mt.quantization import sensitivity_report as report
from lidar_mt.quantization.mixed_precision import Found
from lidar_mt.quantization.sensitivity import Effect, Quality, decibels
from lidar_mt.structures.errors import CheckpointError, ConfigError
from lidar_mt.visualization.figure import save_figure
from lidar_mt.visualization.sensitivity import draw_sensitivity

#: Allowed values of keys that are plain text.
_CHOICES = {"by": ("layer", "block", "head"), "cells": ("objects", "all"), "measure": MEASURES}
_PRECISIONS = ("int16", "float")
_DRAWN = 30

log = logging.getLogger("lidar_mt.sensitivity")


@program("sensitivity")
def main(cfg: DictConfig) -> None:
    """Ranks, searches where there is a budget, and writes everything down."""
    _check(cfg)
    place = find_configured(cfg, command_line())
    origin = origin_of(place, Path(cfg.paths.published))
    module, datamodule = _load(cfg, place)
    dataset = datamodule.dataset(training=False)
    study = SensitivityStudy(module, cfg.by, _score_threshold(cfg))
    keyframes, labelled = study.keyframes(dataset, cfg.samples), study.keyframes(dataset, cfg.metric_samples)
    log.info("%d groups of layers, %d keyframes of %s", len(study.groups), len(keyframes), datamodule.val_store)
    effects, whole = study.rank(keyframes)
    if labelled:
        study.add_losses(effects[: cfg.top], labelled)
    _show_ranking(cfg, study, effects, whole, origin)
    content = report.as_plain(effects, whole, study.kinds) | {NETWORKS: {cfg.stage.name: origin}}
    _write_content(cfg, content)  # already, since a search takes its time
    if cfg.budget is None:
        relieved = [effect.name for effect in effects if effect.relieved > 0][: cfg.top]
        exceptions, head = (
            dict.fromkeys(relieved, "int16"),
            f"the {len(relieved)} most sensitive that int16 relieves",
        )
    else:
        budget = Budget(cfg.measure, cfg.budget)
        found, cost = study.search(
            effects,
            keyframes if cfg.measure == "sqnr" else labelled,
            budget,
            list(cfg.precisions),
            datamodule.calibration_dataloader(),
            lambda rules: _build(cfg, rules),
        )
        exceptions, head = found.exceptions, summary(found, cost, budget, len(effects))
        _show_found(exceptions, effects, head)
        content["search"] = {"budget": budget.text, "met": found.met, "result": budget.show(cost)}
        content["search"] |= {"exceptions": exceptions, "tried": found.runs}
    _write_exceptions(cfg, study, exceptions, effects, head)
    _write_content(cfg, content)


def summary(found: Found, cost: float, budget: Budget, groups: int) -> str:
    """One line about a search.

    Args:
        found: its end.
        cost: of the network that was built with these exceptions.
        budget: what was asked for.
        groups: number of candidates.
    """
    kinds = Counter(found.exceptions.values())
    count = " and ".join(f"{number} in {kind}" for kind, number in kinds.items()) or "none"
    met = "met" if found.met and cost <= budget.limit else "NOT MET; the nearest is"
    return f"{budget.text}: {met} {budget.show(cost)}, exceptions: {count} of {groups}"


def _check(cfg: DictConfig) -> None:
    for key, allowed in _CHOICES.items():
        if cfg[key] not in allowed:
            raise ConfigError(f"{key}={cfg[key]}: expected one of {', '.join(allowed)}")
    wrong = [kind for kind in cfg.precisions if kind not in _PRECISIONS]
    if wrong or not cfg.precisions:
        raise ConfigError(f"precisions={list(cfg.precisions)}: expected some of {', '.join(_PRECISIONS)}")
    if cfg.stage.name not in BEFORE:
        raise ConfigError(f"stage={cfg.stage.name} rounds nothing; give stage=calibrate or stage=qat")
    if cfg.budget is not None and cfg.measure == "loss" and not cfg.metric_samples:
        raise ConfigError("measure=loss compares losses on keyframes; say on how many with metric_samples=N")


def _load(cfg: DictConfig, place: Place) -> tuple[LidarMultiTaskModule, LidarDataModule]:
    """The published network, which then stands in `cfg`, and the data."""
    checkpoint = place.path
    network = read_network_config(checkpoint)
    if network.get("quant") is None:
        raise CheckpointError(f"{checkpoint} holds a float network; take one of stage=calibrate or stage=qat")
    match_sweeps(cfg, int(network.num_sweeps), command_line())
    split = cfg.split
    with open_dict(cfg):
        cfg.paths.run, cfg.data.val_split = cfg.out, split
        cfg.data.calibration_batches, cfg.data.calibration_batch_size = cfg.calibration_samples, 1
        for key in (*NETWORK_KEYS, "quant"):
            cfg[key] = network[key]
    module = load_module(checkpoint, cfg)
    on_gpu = torch.cuda.is_available() and cfg.trainer.accelerator != "cpu"
    return module.to("cuda" if on_gpu else "cpu"), build_datamodule(cfg)


def _build(cfg: DictConfig, rules: Sequence[Mapping[str, str]]) -> QuantizedMultiTaskNet:
    net = build_net(OmegaConf.merge(cfg, {"quant": with_exceptions(cfg.quant, rules)}))  # type: ignore[arg-type]
    if not isinstance(net, QuantizedMultiTaskNet):
        raise TypeError(f"expected a quantized network, got {type(net).__name__}")
    return net


def _score_threshold(cfg: DictConfig) -> float | None:
    """None counts all cells."""
    if cfg.cells == "all":
        return None
    return float(OmegaConf.select(cfg, "task.detection.decoder.score_threshold", default=0.1))


def _write_content(cfg: DictConfig, content: Mapping[str, Any]) -> None:
    write_json(Path(cfg.out) / "sensitivity.json", nan_to_none(content), indent=1)


def _show_ranking(
    cfg: DictConfig, study: SensitivityStudy, effects: Sequence[Effect], whole: Quality, origin: Mapping[str, str]
) -> None:
    """Table on the screen, all rows in a file, and a picture."""
    out, tasks = Path(cfg.out), list(whole.tasks)
    title = f"{cfg.run_name}, stage {cfg.stage.name}: what rounding does, by {cfg.by}"
    with_losses = any(effect.losses for effect in effects)
    table = Table(title=title, box=box.SIMPLE_HEAD, caption="\n".join(report.NOTES), caption_justify="left")
    for place, header in enumerate(report.columns(tasks, with_losses)):
        table.add_column(header, justify="left" if 0 < place < 3 else "right", overflow="fold")
    for number, effect in enumerate(effects[: cfg.top], start=1):
        table.add_row(*report.cells(number, effect, study.kinds, tasks, with_losses))
    _console().print(table)
    _console().print(report.whole_line(whole))
    text = f"{report.text(effects, whole, study.kinds, title)}\n{origin_line(cfg.stage.name, origin)}\n"
    (out / "sensitivity.txt").write_text(text, encoding="utf-8")
    drawn = effects[:_DRAWN]
    bars = {task: [decibels(effect.rounded.tasks[task]) for effect in drawn] for task in tasks}
    figure = draw_sensitivity([effect.name for effect in drawn], bars, decibels(whole.total), title)
    save_figure(figure, out / "sensitivity.png")


def _show_found(exceptions: Mapping[str, str], effects: Sequence[Effect], head: str) -> None:
    places = {effect.name: place for place, effect in enumerate(effects, start=1)}
    table = Table(box=box.SIMPLE_HEAD)
    for header in ("exception", "precision", "place in the ranking"):
        table.add_column(header, overflow="fold")
    for name, kind in exceptions.items():
        table.add_row(name, kind, str(places[name]))
    print(head)  # in one line, for those who search for it
    _console().print(table)


def _console() -> Console:
    # Names are long, and a log file has no width.
    return Console() if sys.stdout.isatty() else Console(width=130)


def _write_exceptions(
    cfg: DictConfig, study: SensitivityStudy, exceptions: Mapping[str, str], effects: Sequence[Effect], head: str
) -> None:
    out, rules = Path(cfg.out), study.rules(exceptions)
    notes = {}
    for effect in effects:
        for rule in study.rules({effect.name: "int16"}):
            notes[rule["pattern"]] = f"alone: SQNR {report.show(effect.rounded.total)} dB"
    path = write_exceptions(out, cfg.quant, rules, notes, head)
    shared = shared_arguments(command_line())
    kept = [item for item in shared if not item.startswith(("quant=", "stage=", "--config-dir="))]
    command = told_command("train", ["stage=calibrate", f"quant={NAME}", *kept, f"--config-dir={out}"])
    log.info("ranking in %s, exceptions in %s", out / "sensitivity.txt", path)
    if rules:
        log.info("to use them: %s\nor add %s", command, override(cfg.quant, rules))


if __name__ == "__main__":
    main()
