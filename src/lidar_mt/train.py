"""Trains the network.

    python -m lidar_mt.train stage=float

Useful keys:
    stage=float                    what to train
    experiment=demo                a named set of overrides, see conf/experiment
    data.version=v1.0-trainval     data set version under paths.packed
    data.batch_size=4              samples per device and step
    data.num_workers=2             loader processes per device
    trainer.max_epochs=20          length
    optimizer.lr=2.0e-4            base learning rate; the schedule peaks at ten times this
    grid=small                     0.4 m cells: a quarter of the work
    model=detection task=detection one task alone
    resume=FILE.ckpt               go on from a checkpoint; keys that changed since then are listed
    debug=fast_dev_run             one batch through everything; also overfit, limit, profiler
    paths.root=DIR paths.runs=DIR  where data lies and runs go
    logger=none                    no TensorBoard files
    -m optimizer.lr=1e-4,2e-4      one run for each value
"""

from __future__ import annotations

import logging
from pathlib import Path

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from lidar_mt.config import instantiate, program
from lidar_mt.config.build import (
    build_datamodule,
    build_metrics,
    build_module,
    check_values,
    drop_unlabelled_tasks,
    match_monitor,
    total_steps,
    write_network_config,
)
from lidar_mt.config.changes import report_changes_since
from lidar_mt.data.memory import keep_freed_memory
from lidar_mt.engine.checkpoint import load_network, read_checkpoint
from lidar_mt.engine.console import quiet_lightning

log = logging.getLogger("lidar_mt.train")


@program("train")
def main(cfg: DictConfig) -> None:
    """Builds data, module and trainer from the configuration, and fits."""
    run = HydraConfig.get()
    folder = Path(run.runtime.output_dir)
    # Jobs of a multirun publish into their own folders, or they would overwrite each other.
    published = folder / "published" if run.mode == RunMode.MULTIRUN else Path(cfg.paths.published)
    with open_dict(cfg):
        cfg.paths.run, cfg.paths.published = str(folder), str(published)
    check_values(cfg)
    resumed = None if cfg.resume is None else read_checkpoint(cfg.resume)  # fails before any data is touched
    if not torch.cuda.is_available():
        keep_freed_memory()
    quiet_lightning()
    pl.seed_everything(cfg.seed, workers=True, verbose=False)

    datamodule = build_datamodule(cfg)
    drop_unlabelled_tasks(cfg, datamodule)
    match_monitor(cfg)
    metrics = build_metrics(cfg)
    if resumed is not None:
        report_changes_since(cfg.resume, cfg)
    OmegaConf.save(cfg, folder / "config.yaml", resolve=True)
    trainer: pl.Trainer = instantiate(
        cfg.trainer,
        callbacks=[callback for callback in instantiate(cfg.callbacks).values() if callback is not None],
        logger=instantiate(cfg.logger) if cfg.logger else False,
        default_root_dir=str(folder),
    )
    steps = total_steps(trainer, datamodule.steps_per_epoch(trainer.world_size))
    module = build_module(cfg, total_steps=steps, metrics=metrics)
    if resumed is not None:
        load_network(module.net, resumed, cfg.resume)  # the wrong network is named here, not by a list of every weight
    if trainer.is_global_zero:
        # Beside the checkpoints, so that those of an unfinished run can be used as well.
        write_network_config(cfg, folder / "checkpoints")
        log.info("run folder %s, %d steps, precision %s", folder, steps, cfg.trainer.precision)
    trainer.fit(module, datamodule=datamodule, ckpt_path=cfg.resume, weights_only=True)
    if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
        overrides = [item for item in run.overrides.task if not item.lstrip("+").startswith(("resume=", "debug="))]
        log.info("checkpoints in %s; next: python -m lidar_mt.evaluate %s", published, " ".join(overrides))


if __name__ == "__main__":
    main()
