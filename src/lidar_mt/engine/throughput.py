"""What a run costs: samples per second, time spent waiting for data, memory; and the norm of the gradient."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch.optim import Optimizer

from lidar_mt.structures.sample import Batch

_GIB = 2**30
_KIB_PER_GIB = 2**20


class Throughput(Callback):
    """Logs speed and memory of training every `trainer.log_every_n_steps` steps, as means since the last time.

    - `speed/samples_per_second`: samples of all ranks.
    - `speed/step_ms`: one optimizer step.
    - `speed/data_share`: part of that time in which the loop waited for the next batch, 0 to 1, as the processor sees
      it: on a GPU, work that is still queued there goes on meanwhile.
    - `memory/host_GiB`: resident size of this process, without its loader processes; where /proc tells it.
    - `memory/gpu_GiB`, `memory/gpu_peak_GiB`: held by tensors at present, and at most so far.

    Validation and its pictures count as neither work nor waiting.
    """

    def __init__(self) -> None:
        self._restart(0)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts counting at the step that the run starts from."""
        self._restart(trainer.global_step)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock: the first batch of an epoch is waited for as well."""
        self._lap()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock again."""
        self._lap()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Ends the wait for this batch."""
        self._waited_s += self._lap()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Ends the work on this batch; logs where Lightning logs the losses too."""
        self._worked_s += self._lap()
        self._samples += len(batch)
        if is_logged(trainer, trainer.global_step) and trainer.global_step > self._first_step:
            self._log(trainer)

    def _restart(self, step: int) -> None:
        self._first_step, self._samples = step, 0
        self._waited_s = self._worked_s = 0.0
        self._mark = time.perf_counter()

    def _lap(self) -> float:
        now = time.perf_counter()
        lap, self._mark = now - self._mark, now
        return lap

    def _log(self, trainer: pl.Trainer) -> None:
        total_s = self._waited_s + self._worked_s
        values = {
            "speed/samples_per_second": self._samples * trainer.world_size / total_s,
            "speed/step_ms": 1e3 * total_s / (trainer.global_step - self._first_step),
            "speed/data_share": self._waited_s / total_s,
            **memory_gib(trainer.strategy.root_device),
        }
        for logger in trainer.loggers:
            # Lightning numbers the steps of its own values from 0; the same numbers line up under the pointer.
            logger.log_metrics(values, step=trainer.global_step - 1)
        self._restart(trainer.global_step)


class GradientNorm(Callback):
    """Logs `optimizer/gradient_norm`, the L2 norm over all parameters before clipping, with the losses."""

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Gradients are complete and unscaled here, and not yet clipped."""
        if is_logged(trainer, trainer.global_step + 1):
            gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
            norm = torch.nn.utils.get_total_norm(gradients)
            for logger in trainer.loggers:
                logger.log_metrics({"optimizer/gradient_norm": float(norm)}, step=trainer.global_step)


def is_logged(trainer: pl.Trainer, steps: int) -> bool:
    """Whether Lightning logs after this many optimizer steps."""
    every = int(getattr(trainer, "log_every_n_steps", 0))
    return every > 0 and steps % every == 0


def memory_gib(device: torch.device) -> dict[str, float]:
    """Memory of this process by tag [GiB]."""
    values = {}
    resident = resident_gib()
    if resident is not None:
        values["memory/host_GiB"] = resident
    if device.type == "cuda":
        values["memory/gpu_GiB"] = torch.cuda.memory_allocated(device) / _GIB
        values["memory/gpu_peak_GiB"] = torch.cuda.max_memory_allocated(device) / _GIB
    return values


def resident_gib() -> float | None:
    """Resident size of this process [GiB]; None where the system does not tell it."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    return int(lines["VmRSS"].split()[0]) / _KIB_PER_GIB if "VmRSS" in lines else None
