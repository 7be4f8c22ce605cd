"""Scores a trained network, or any nuScenes result file, with the numbers of the official nuScenes evaluation.

    python -m lidar_mt.evaluate stage=float
    python -m lidar_mt.evaluate results=FILE data_root=DIR version=v1.0-mini out=DIR

Useful keys:
    stage=float                whose checkpoint; also calibrate, qat
    experiment=demo            the same experiment as in training
    checkpoint=FILE            another checkpoint; config.yaml beside it says what the network is
    data.version=v1.0-mini     data set version under paths.packed
    split=val                  a packed split: train or val
    data.num_workers=2         loader processes
    out=DIR                    where metrics.json, results_nusc.json, the evaluator's files and pictures go
    metric=nuscenes_devkit     let the devkit itself score the detections, which takes minutes instead of seconds
    results=FILE               score this file instead of a checkpoint; data_root holds the tables of `version`
"""

from __future__ import annotations

import logging
from pathlib import Path

import pytorch_lightning as pl
from omegaconf import DictConfig, open_dict

from lidar_mt.config import instantiate, program
from lidar_mt.config.build import NETWORK_KEYS, build_datamodule, build_metrics, load_module, read_network_config
from lidar_mt.engine.console import quiet_lightning
from lidar_mt.engine.ranks import is_first_process
from lidar_mt.metrics.detection_protocol import DETECTION_NAMES
from lidar_mt.metrics.detection_scores import DetectionScores, read_curves
from lidar_mt.metrics.nuscenes_detection import NuScenesDetectionMetric
from lidar_mt.metrics.tables import print_scores, write_metrics
from lidar_mt.structures.errors import ConfigError
from lidar_mt.visualization.detection_curves import draw_class_curves
from lidar_mt.visualization.figure import save_figure
from lidar_mt.visualization.precision_recall import draw_precision_recall

log = logging.getLogger("lidar_mt.evaluate")


@program("evaluate")
def main(cfg: DictConfig) -> None:
    """Scores the checkpoint or the result file, prints the tables and writes metrics.json."""
    out = Path(cfg.out)
    detection, segmentation = (_score_checkpoint if cfg.results is None else _score_file)(cfg, out)
    if not is_first_process():
        return
    print_scores(detection, segmentation)
    path = write_metrics(out / "metrics.json", detection, segmentation)
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


def _score_file(cfg: DictConfig, out: Path) -> tuple[DetectionScores | None, dict[str, float] | None]:
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
    return scores, None


def _score_checkpoint(cfg: DictConfig, out: Path) -> tuple[DetectionScores | None, dict[str, float] | None]:
    if cfg.data_root is not None:
        raise ConfigError(
            "data_root=DIR goes with results=FILE; a checkpoint is scored on packed data, see paths.packed"
        )
    checkpoint = Path(cfg.checkpoint)
    network = read_network_config(checkpoint)
    split, version = cfg.split, cfg.version
    with open_dict(cfg):
        cfg.paths.run, cfg.data.val_split, cfg.data.version = str(out), split, version
        for key in NETWORK_KEYS:
            cfg[key] = network[key]
        cfg.quant = network.get("quant")
    if network.num_sweeps != cfg.data.num_sweeps:
        log.warning("trained with %d sweeps, evaluated with %d", network.num_sweeps, cfg.data.num_sweeps)
    quiet_lightning()
    metrics = build_metrics(cfg)
    module = load_module(checkpoint, cfg, metrics=metrics)
    trainer: pl.Trainer = instantiate(
        cfg.trainer,
        callbacks=[item for name in ("progress", "pictures") if (item := instantiate(cfg.callbacks[name])) is not None],
        logger=False,
        enable_checkpointing=False,
        default_root_dir=str(out),
    )
    trainer.test(module, datamodule=build_datamodule(cfg), verbose=False, weights_only=True)
    segmentation = module.scores.get("segmentation")
    return getattr(metrics.get("detection"), "detection_scores", None), segmentation


if __name__ == "__main__":
    main()
