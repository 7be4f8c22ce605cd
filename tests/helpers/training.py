"""Trainings that stop at a chosen point and go on, for comparison with one that ran through."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from lidar_mt.config import compose, instantiate
from lidar_mt.config.build import build_datamodule, build_module, match_hardware, total_steps
from lidar_mt.config.stages import read_start
from lidar_mt.engine.stop_signal import Stopped

#: A small network on coarse cells, with much random dropout.
SMALL_NETWORK = (
    "grid.voxel_size=[1.6,1.6,8.0]",
    "data.num_sweeps=1",
    "optimizer.lr=1e-3",
    "model.encoder.out_channels=16",
    "model.backbone.stem_channels=16",
    "model.backbone.levels.level1.out_channels=16",
    "model.backbone.levels.level2={out_channels: 16, stack: 0}",
    "model.backbone.levels.level3={out_channels: 16, stack: 0}",
    "model.backbone.levels.level4={out_channels: 32, stack: 0}",
    "model.backbone.levels.level5={out_channels: 32, stack: 0}",
    "model.neck.out_channels={level4: 32, level3: 32, level2: 32}",
    "model.head.detection.mid_channels=16",
    "model.head.segmentation.mid_channels=16",
    "model.head.segmentation.dropout=0.5",
)

TINY = (
    *SMALL_NETWORK,
    "data.batch_size=1",
    "data.num_workers=0",
    "metric=none",
    "trainer.accelerator=cpu",
    "trainer.devices=1",
    "trainer.precision=32-true",
    "+trainer.enable_progress_bar=false",
    "callbacks.pictures=null",
    "callbacks.publish=null",
    "callbacks.progress=null",
)


class Stop(Callback):
    """Sends the process a SIGTERM after some training batches or validation batches of the whole run.

    Args:
        train: training batch after which it comes; 0 for none.
        val: validation batch after which it comes; 0 for none.

    Attributes:
        losses: loss of every batch.
    """

    def __init__(self, train: int = 0, val: int = 0) -> None:
        self.train, self.val = train, val
        self.at = {"train": 0, "val": 0}
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.losses.append(float(outputs["loss"]))
        self._count("train", self.train)

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *args: Any) -> None:
        self._count("val", self.val)

    def _count(self, kind: str, target: int) -> None:
        self.at[kind] += 1
        if self.at[kind] == target:
            os.kill(os.getpid(), signal.SIGTERM)


@dataclass
class Result:
    """What a training left behind."""

    state: dict[str, torch.Tensor]
    optimizer: list[torch.Tensor]
    losses: list[float]
    scores: dict[str, float]
    best: tuple[str, float]
    stopped: bool
    last: Path


def train(run: Path, packed: Path, overrides: Sequence[str], stop: Stop | None = None, resume: Path | None = None):
    """Trains by configuration, as the program does; `run` is the run folder."""
    cfg = compose("train", [*TINY, f"paths.packed={packed}", f"paths.run={run}", *overrides])
    match_hardware(cfg)
    # Another process would have other numbers here.
    torch.manual_seed(cfg.seed if resume is None else 12345)
    stop = stop or Stop()
    datamodule = build_datamodule(cfg)
    callbacks = [instantiate(node) for node in cfg.callbacks.values() if node is not None]
    trainer: pl.Trainer = instantiate(
        cfg.trainer, callbacks=[stop, *callbacks], logger=instantiate(cfg.logger), default_root_dir=str(run)
    )
    start = read_start(cfg) if resume is None else None
    module = build_module(cfg, total_steps(trainer, datamodule.steps_per_epoch(trainer.world_size)), start=start)
    stopped = False
    try:
        trainer.fit(module, datamodule=datamodule, ckpt_path=resume, weights_only=True)
    except Stopped as signalled:
        stopped = signalled.status == 128 + signal.SIGTERM
    best = next(callback for callback in callbacks if getattr(callback, "filename", "") == "best")
    optimizer = [value for state in trainer.optimizers[0].state.values() for value in state.values()]
    return Result(
        state={name: value.clone() for name, value in module.state_dict().items()},
        optimizer=optimizer,
        losses=stop.losses,
        scores={name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")},
        best=(Path(best.best_model_path).name, float(best.best_model_score or 0)),
        stopped=stopped,
        last=run / "checkpoints/last.ckpt",
    )


def difference(left: Result, right: Result) -> float:
    """Largest difference between two trainings' weights, buffers and optimizer states; NaN-safe."""
    pairs = [(left.state[name], right.state[name]) for name in left.state | right.state]
    pairs += list(zip(left.optimizer, right.optimizer, strict=True))
    return max(float((a.double() - b.double()).abs().max()) for a, b in pairs if a.numel())
