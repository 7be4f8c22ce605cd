"""Trains the network.

    python -m lidar_mt.train stage=float

Useful keys:
    stage=float                    or calibrate, or qat; each starts from what the one before published
    stage.start=FILE.ckpt          start from another checkpoint
    quant.scheme=u8                number formats of calibrate and qat, see conf/quant
    experiment=demo                a named set of overrides, see conf/experiment
    data.version=v1.0-trainval     data set version under paths.packed
    data.batch_size=4              samples per device and step
    data.num_workers=2             loader processes per device
    trainer.max_epochs=20          length
    optimizer.lr=2.0e-4            base learning rate; the schedule peaks at ten times this
    grid=small                     0.4 m cells: a quarter of the work
    model=detection task=detection one task alone
    resume=last                    go on where this run_name's newest run stopped; resume=FILE.ckpt names one
    callbacks=ema                  average the weights over the steps
    trainer.devices=2 trainer.strategy=ddp    on two GPUs, or with trainer.accelerator=cpu two processes
    debug=fast_dev_run             one batch through everything; also overfit, limit, profiler
    paths.root=DIR paths.runs=DIR  where data lies and runs go
    logger=none                    no TensorBoard files
    -m optimizer.lr=1e-4,2e-4      one run for each value
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

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
    match_hardware,
    match_monitor,
    total_steps,
    write_network_config,
)
from lidar_mt.config.changes import report_changes_since
from lidar_mt.config.commands import command_line, told_command
from lidar_mt.config.monitors import check_monitors
from lidar_mt.config.stages import read_start, report_quantization, stage_command
from lidar_mt.data.datamodule import LidarDataModule
from lidar_mt.data.memory import keep_freed_memory
from lidar_mt.engine.calibration import Calibration
from lidar_mt.engine.callbacks import publish
from lidar_mt.engine.checkpoint import load_network, read_checkpoint
from lidar_mt.engine.console import quiet_lightning
from lidar_mt.engine.last_checkpoint import find_last, remove_all_stale
from lidar_mt.engine.lit_module import LidarMultiTaskModule
from lidar_mt.engine.ranks import is_first_process
from lidar_mt.engine.stop_signal import Stopped
from lidar_mt.structures.errors import CheckpointError

#: What of the network is integers, in the run folder.
TABLE_NAME = "quant_table.txt"

#: Arguments that say how a network is trained, and nothing of its evaluation.
_OF_TRAINING = (
    *("resume=", "debug=", "stage.", "quant", "optimizer", "scheduler", "augmentation", "float_epochs="),
    *("data.calibration_", "trainer.max_", "trainer.val_check_interval=", "trainer.check_val_every_n_epoch="),
)

log = logging.getLogger("lidar_mt.train")


@program("train")
def main(cfg: DictConfig) -> None:
    """Builds data, module and trainer from the configuration, and fits."""
    run = HydraConfig.get()
    folder = Path(run.runtime.output_dir)
    # Jobs of a multirun publish into their own folders, or they would overwrite each other.
    published = folder / "published" if run.mode == RunMode.MULTIRUN else Path(cfg.paths.published)
    with open_dict(cfg):
        cfg.stage = OmegaConf.to_container(cfg.stage, resolve=True)  # `start` is not in the job's own folder
        cfg.paths.run, cfg.paths.published = str(folder), str(published)
        cfg.resume = _resume_path(cfg.resume, folder.parent)
    check_values(cfg)
    match_hardware(cfg)
    match_monitor(cfg)
    check_monitors(cfg)
    resumed = None if cfg.resume is None else read_checkpoint(cfg.resume)  # fails before any data is touched
    start = read_start(cfg, command_line())
    if not torch.cuda.is_available():
        keep_freed_memory()
    quiet_lightning()
    pl.seed_everything(cfg.seed, workers=True, verbose=False)

    datamodule = build_datamodule(cfg)
    if drop_unlabelled_tasks(cfg, datamodule):
        check_monitors(cfg)  # once more: its names are gone too
    metrics = build_metrics(cfg)
    if resumed is not None:
        report_changes_since(cfg.resume, cfg)
    if is_first_process():
        remove_all_stale(folder.parent, published)
        OmegaConf.save(cfg, folder / "config.yaml", resolve=True)
    trainer: pl.Trainer = instantiate(
        cfg.trainer,
        callbacks=_callbacks(cfg, folder),
        logger=instantiate(cfg.logger) if cfg.logger else False,
        default_root_dir=str(folder),
    )
    steps = total_steps(trainer, datamodule.steps_per_epoch(trainer.world_size))
    module = build_module(cfg, total_steps=steps, metrics=metrics, start=start)
    if resumed is not None:
        load_network(module.net, resumed, cfg.resume)  # the wrong network is named here, not by a list of every weight
    if trainer.is_global_zero:
        # Beside the checkpoints, so that those of an unfinished run can be used as well.
        write_network_config(cfg, folder / "checkpoints")
        report_quantization(cfg, module.net, folder / TABLE_NAME)
        log.info("run folder %s, %d steps, precision %s", folder, steps, cfg.trainer.precision)
    if trainer.world_size > 1 and not cfg.trainer.sync_batchnorm and trainer.is_global_zero:
        log.info("%d ranks without synchronised batch norm: each normalises over its own samples", trainer.world_size)
    _run(cfg, trainer, module, datamodule, folder)
    if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
        overrides = [item for item in command_line() if not item.lstrip("+~").startswith(_OF_TRAINING)]
        log.info("checkpoints in %s; next: %s", published, told_command("evaluate", overrides))


def _run(
    cfg: DictConfig,
    trainer: pl.Trainer,
    module: LidarMultiTaskModule,
    datamodule: LidarDataModule,
    folder: Path,
) -> None:
    """Fits, or calibrates; when a signal asks to stop, says how to go on and leaves."""
    calibrate = cfg.stage.name == "calibrate"
    try:
        if calibrate:
            trainer.validate(module, datamodule=datamodule, verbose=False)
        else:
            trainer.fit(module, datamodule=datamodule, ckpt_path=cfg.resume, weights_only=True)
    except Stopped as stop:
        command = stage_command(cfg.stage.name, command_line()) if calibrate else _resume_command(folder)
        print(f"{stop.message}\nthe whole command: {command}", flush=True)
        sys.exit(stop.status)


def _callbacks(cfg: DictConfig, folder: Path) -> list[Any]:
    """All that are configured; in a calibration those that show a validation."""
    names, found = list(cfg.callbacks), []
    if cfg.stage.name == "calibrate":
        names = ["progress", "pictures", "curves"]
        # The table once more, now with the scales in it.
        found = [
            Calibration(
                folder / "checkpoints",
                on_chosen=lambda net: report_quantization(cfg, net, folder / TABLE_NAME, told=False),
                on_saved=lambda kept: publish(kept, Path(cfg.paths.published), "calibrate"),
            )
        ]
    return found + [item for name in names if (item := instantiate(cfg.callbacks.get(name))) is not None]


def _resume_path(resume: str | None, runs: Path) -> str | None:
    """The checkpoint that `resume=` means; `last` and `auto` look through the runs of the same name and stage."""
    if resume not in ("last", "auto"):
        return resume
    found = find_last(runs)
    if found is None and resume == "last":
        raise CheckpointError(
            f"resume=last: no unfinished run in {runs}; resume=FILE.ckpt goes on from any checkpoint, "
            "resume=auto starts anew where there is none"
        )
    log.info("resume=%s: %s", resume, found or "a new start")
    return None if found is None else str(found)


def _resume_command(folder: Path) -> str:
    """This command, going on from the run's last checkpoint."""
    # Of this job alone, in a multirun.
    kept = [item for item in command_line() if not item.lstrip("+").startswith("resume=")]
    path = str(folder / "checkpoints" / "last.ckpt")
    plain = path.isascii() and not set(path) & set(" =,'\"()[]{}")
    return told_command("train", [*kept, f"resume={path}" if plain else f'resume="{path}"'])


if __name__ == "__main__":
    main()
