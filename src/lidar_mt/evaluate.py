"""Scores a trained network, or any nuScenes result file, with the numbers of the official nuScenes evaluation.

    python -m lidar_mt.evaluate stage=float
    python -m lidar_mt.evaluate stage=int8 runtime=onnxruntime
    python -m lidar_mt.evaluate results=FILE data_root=DIR version=v1.0-mini out=DIR

Useful keys:
    stage=float                whose checkpoint; also calibrate, qat; int8 is what `export` wrote
    runtime=onnxruntime        what computes it: torch, integer, onnxruntime, openvino or litert
    run_name=demo              whose checkpoint; runs/<run_name> takes the scores
    experiment=demo            the same experiment as in training
    checkpoint=FILE            another checkpoint; config.yaml beside it says what the network is
    artefact=DIR               another exported network, for stage=int8
    threads=2                  processor threads of the runtime
    data.version=v1.0-mini     data set version under paths.packed
    split=val                  a packed split: train or val
    data.num_sweeps=9          other sweeps than in training; such scores are kept apart from the others
    data.num_workers=2         loader processes
    out=DIR                    where metrics.json, results_nusc.json, the evaluator's files and pictures go
    metric=nuscenes_devkit     let the devkit itself score the detections, which takes minutes instead of seconds
    results=FILE               score this file instead of a checkpoint; data_root holds the tables of `version`
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict
from rich.console import Console
from rich.table import Table

from lidar_mt.config import instantiate, program
from lidar_mt.config.build import build_datamodule, build_metrics
from lidar_mt.config.commands import command_line
from lidar_mt.config.networks import open_network
from lidar_mt.config.places import Place, find_configured
from lidar_mt.config.sweeps import match_sweeps
from lidar_mt.engine.console import quiet_lightning
from lidar_mt.engine.ranks import is_first_process
from lidar_mt.metrics.bev_iou import BevIoU
from lidar_mt.metrics.detection_protocol import DETECTION_NAMES
from lidar_mt.metrics.detection_scores import DetectionScores, read_curves
from lidar_mt.metrics.nuscenes_detection import NuScenesDetectionMetric
from lidar_mt.metrics.scoreboard import (
    BASELINE,
    SCORES,
    Score,
    comparison_table,
    data_key,
    digest,
    headline,
    read_scores,
    told_folder,
    write_score,
)
from lidar_mt.metrics.tables import print_scores, write_metrics
from lidar_mt.structures.errors import ConfigError, DataError
from lidar_mt.structures.told_names import told_names
from lidar_mt.visualization.detection_curves import draw_class_curves
from lidar_mt.visualization.figure import save_figure
from lidar_mt.visualization.precision_recall import draw_precision_recall

#: Scores by name of each task that has no table of its own.
Others = dict[str, dict[str, float]]
#: Scores by task, and their comparison with those of other stages and runtimes.
Scored = tuple[DetectionScores | None, dict[str, float] | None, Others, Table | None]

#: Columns of a terminal that shows all numbers of the comparison.
_WIDE = 160

log = logging.getLogger("lidar_mt.evaluate")


@program("evaluate")
def main(cfg: DictConfig) -> None:
    """Scores the checkpoint or the result file, prints the tables and writes metrics.json."""
    out = Path(cfg.out)
    detection, segmentation, others, comparison = (_score_network if cfg.results is None else _score_file)(cfg, out)
    if not is_first_process():
        return
    print_scores(detection, segmentation, others=others)
    if comparison is not None:
        Console().print(comparison)
    path = write_metrics(out / "metrics.json", detection, segmentation, others)
    if detection is not None:
        _draw_curves(out / "nuscenes_eval", detection)
    log.info("scores in %s, pictures and the result file beside it", path)


def _draw_curves(folder: Path, scores: DetectionScores) -> None:
    curves = read_curves(folder)
    average = {name: scores.class_ap[name] for name in DETECTION_NAMES}
    figure = draw_precision_recall(curves, DETECTION_NAMES, average, title="precision over recall")
    save_figure(figure, folder / "plots" / "precision_recall.png")
    for name in DETECTION_NAMES:
        save_figure(draw_class_curves(curves, name), folder / "plots" / f"{name}.png")


def _score_file(cfg: DictConfig, out: Path) -> Scored:
    if cfg.data_root is None:
        raise ConfigError("results=FILE needs data_root=DIR, the folder that holds the tables of version=NAME")
    with open_dict(cfg):
        cfg.paths.run = str(out)  # which the metric's own settings refer to
    settings = {
        "data_root": cfg.data_root,
        "version": cfg.version,
        "split": cfg.split,
        "out_dir": out / "nuscenes_eval",
    }
    node = cfg.metric.get("detection")
    metric = NuScenesDetectionMetric(**settings) if node is None else instantiate(node, **settings)
    scores: DetectionScores = metric.score_file(cfg.results)
    return scores, None, {}, None


def _score_network(cfg: DictConfig, out: Path) -> Scored:
    if cfg.data_root is not None:
        raise ConfigError(
            "data_root=DIR goes with results=FILE; a checkpoint is scored on packed data, see paths.packed"
        )
    arguments = command_line()
    place = find_configured(cfg, arguments)
    network = open_network(place, cfg.threads).described_by(cfg)
    split, version = cfg.split, cfg.version
    network.replace_groups(cfg)
    with open_dict(cfg):
        cfg.paths.run, cfg.data.val_split, cfg.data.version = str(out), split, version
    data = _data(cfg, match_sweeps(cfg, network.num_sweeps, arguments))
    quiet_lightning()
    metrics = build_metrics(cfg)
    module = network.build(metrics, cfg)
    callbacks = {name: instantiate(cfg.callbacks[name]) for name in ("progress", "pictures", "extremes")}
    baseline = _baseline(place, data)
    if callbacks["extremes"] is not None and baseline is not None:
        callbacks["extremes"].choose(baseline.frames)  # the same frames for all, side by side
    trainer: pl.Trainer = instantiate(
        cfg.trainer,
        callbacks=[item for item in callbacks.values() if item is not None],
        logger=False,
        enable_checkpointing=False,
        default_root_dir=str(out),
    )
    trainer.test(module, datamodule=build_datamodule(cfg), verbose=False, weights_only=True)
    detection, segmentation, others = _by_task(module.scores, metrics)
    frames = getattr(callbacks["extremes"], "chosen", {})
    comparison = _compare(place, cfg, data, detection, segmentation, others, frames) if is_first_process() else None
    return detection, segmentation, others, comparison


def _by_task(
    scores: Mapping[str, dict[str, float]], metrics: Mapping[str, Any]
) -> tuple[DetectionScores | None, dict[str, float] | None, Others]:
    """What the metrics of detection and segmentation that have tables found, and the scores of all other metrics."""
    detection = getattr(metrics.get("detection"), "detection_scores", None)
    segmentation = scores.get("segmentation") if isinstance(metrics.get("segmentation"), BevIoU) else None
    shown = {"detection": detection, "segmentation": segmentation}
    others: Others = {}
    for task, values in scores.items():
        if shown.get(task) is None:
            told = told_names(metrics[task], "score_names", "compute") or ()
            others[task] = {name: values[name] for name in told if name in values} | values
    return detection, segmentation, others


def _baseline(place: Place, data: str) -> Score | None:
    """What float had on the same data, unless it is float that is scored."""
    scores = read_scores(place.path.parent / SCORES) if place.name != BASELINE else []
    return next((score for score in scores if (score.name, score.data) == (BASELINE, data)), None)


def _data(cfg: DictConfig, sweeps: int | None) -> str:
    labels = HydraConfig.get().runtime.choices.get("bev_labels")
    return data_key(
        cfg.data.version,
        cfg.split,
        limit=cfg.trainer.get("limit_test_batches"),
        labels=None if labels == "lidarseg" else labels,
        sweeps=sweeps,
    )


def _compare(
    place: Place,
    cfg: DictConfig,
    data: str,
    detection: DetectionScores | None,
    segmentation: dict[str, float] | None,
    others: Others,
    frames: dict[str, str],
) -> Table | None:
    """Keeps the scores beside the checkpoint; a table of all stages and runtimes that were scored on the same data."""
    source, samples = place.path, 0 if detection is None else detection.num_samples
    folder = source.parent / SCORES
    pictures = told_folder(Path(cfg.out) / "pictures", folder)
    try:
        values = headline(detection, segmentation, others)
        score = Score(place.name, data, digest(source), source.name, values, samples, pictures, frames)
        write_score(folder, score)
    except (DataError, OSError) as error:
        log.warning("%s; the scores are not kept for comparison", error)
    return comparison_table(read_scores(folder), data, samples, short=Console().width < _WIDE)


if __name__ == "__main__":
    main()
