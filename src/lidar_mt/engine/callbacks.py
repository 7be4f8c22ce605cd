"""Callbacks: progress and published checkpoints."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, TQDMProgressBar

from lidar_mt.engine.best_checkpoint import BestCheckpoint
from lidar_mt.engine.checkpoint import CONFIG_NAME
from lidar_mt.engine.files import copy_whole
from lidar_mt.engine.last_checkpoint import LastCheckpoint


class Progress(TQDMProgressBar):
    """Lightning's bar on a terminal; elsewhere (a log file) a line every `interval_s` seconds with rate and time left.

    Args:
        interval_s: seconds between lines when the output is no terminal.
    """

    def __init__(self, interval_s: float = 15.0) -> None:
        super().__init__(refresh_rate=5)
        self.interval_s = interval_s
        self._started = self._last = 0.0
        self._first_step = 0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Hides the bar where lines are printed instead."""
        super().setup(trainer, pl_module, stage)
        if not sys.stderr.isatty():
            self.disable()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock."""
        self._started = self._last = time.monotonic()
        self._first_step = trainer.global_step
        super().on_train_start(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Updates the bar, or prints a line with rate and time left."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        step, total = trainer.global_step, getattr(pl_module, "total_steps", 0)
        if not self._is_due(trainer, total - step):
            return
        # Only now: asking for the loss waits for a GPU.
        loss = float(trainer.callback_metrics.get("train/loss", torch.tensor(float("nan"))))
        head = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  step {step}/{total}  loss {loss:.3f}"
        self._print_line(trainer, head, step - self._first_step, total - step)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock."""
        self._started = self._last = time.monotonic()
        super().on_test_start(trainer, pl_module)

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Updates the bar, or prints a line with rate and time left."""
        super().on_test_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)
        done, total = batch_idx + 1, int(trainer.num_test_batches[dataloader_idx])
        self._print_line(trainer, f"evaluated {done}/{total} batches", done, total - done)

    def _is_due(self, trainer: pl.Trainer, left: int) -> bool:
        if self.is_enabled or not trainer.is_global_zero:
            return False
        return left <= 0 or time.monotonic() - self._last >= self.interval_s

    def _print_line(self, trainer: pl.Trainer, head: str, done: int, left: int) -> None:
        if not self._is_due(trainer, left):
            return
        self._last = now = time.monotonic()
        rate = done / max(1e-9, now - self._started)
        print(f"{head}  {rate:.2f} steps/s  {left / max(1e-9, rate) / 60:.1f} min left", flush=True)


class PublishCheckpoint(Callback):
    """Copies the best and the last checkpoint to where the next stage, `evaluate` and `infer` look for them.

    Args:
        folder: target, see `publish`.
        stage: float, calibrate or qat.
    """

    def __init__(self, folder: str, stage: str) -> None:
        self.folder = Path(folder)
        self.stage = stage

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Publishes what the run's checkpoint callbacks kept."""
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        kept = {
            "last" if isinstance(callback, LastCheckpoint) else "best": callback.best_model_path
            for callback in trainer.checkpoint_callbacks
            if isinstance(callback, BestCheckpoint | LastCheckpoint) and callback.best_model_path
        }
        # A run without validation has no best checkpoint; the last one stands in for it.
        sources = {name: Path(kept.get(name) or kept.get("last", "")) for name in ("best", "last")}
        if not all(source.is_file() for source in sources.values()):
            return
        publish(sources, self.folder, self.stage)


def publish(sources: Mapping[str, Path], folder: Path, stage: str) -> None:
    """Copies checkpoints, and what describes their network, to where the next stage looks for them.

    Args:
        sources: checkpoint by `best` and `last`; `config.yaml` lies beside them.
        folder: `<stage>-best.ckpt` and `<stage>-last.ckpt` appear in it, and beside them `config.yaml`, for quantized
            networks `<stage>-config.yaml`.
        stage: float, calibrate or qat.
    """
    folder.mkdir(parents=True, exist_ok=True)
    described = folder / (CONFIG_NAME if stage == "float" else f"{stage}-{CONFIG_NAME}")
    copy_whole(sources["last"].parent / CONFIG_NAME, described)
    for name, source in sources.items():
        copy_whole(source, folder / f"{stage}-{name}.ckpt")
