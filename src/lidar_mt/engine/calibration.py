"""Calibration: the network looks at some batches, chooses the scales of its activations, and is then validated."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import nn

from lidar_mt.data.datamodule import LidarDataModule
from lidar_mt.engine.files import copy_whole
from lidar_mt.engine.last_checkpoint import mark_finished
from lidar_mt.engine.lit_module import LidarMultiTaskModule
from lidar_mt.engine.ranks import LEAVING_S, end_children, largest, leave_together
from lidar_mt.engine.stop_signal import Stopped, StopSignal
from lidar_mt.quantization.modules import quantizers, set_mode
from lidar_mt.structures.errors import ConfigError, TrainingError

log = logging.getLogger("lidar_mt.calibration")


class Calibration(Callback):
    """Observes before the validation, and saves `best.ckpt` and `last.ckpt`, which are the same, after it.

    It belongs into `Trainer.validate`: nothing is trained, so there is no loop, optimizer or gradient to go on with. A
    calibration that is stopped starts again from the beginning. A signal is obeyed until the checkpoints are written;
    from there on there is nothing left to stop, and all is published.

    Args:
        folder: of the checkpoints.
        on_chosen: called on rank 0 with the network, once its scales are chosen.
        on_saved: called on rank 0 with both checkpoints, by `best` and `last`.
        interval_s: seconds between two lines that say how far it is.
    """

    def __init__(
        self,
        folder: Path,
        on_chosen: Callable[[nn.Module], None],
        on_saved: Callable[[dict[str, Path]], None],
        interval_s: float = 15.0,
    ) -> None:
        self.folder = folder
        self.on_chosen = on_chosen
        self.on_saved = on_saved
        self.interval_s = interval_s
        self._signal = StopSignal()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Notes signals from here on; Lightning's own handler, which comes between, calls this one as well."""
        self._signal.install()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Observes and chooses.

        Raises:
            TrainingError: a scale is not finite; names the module.
            Stopped: a signal asked to stop.
        """
        if not isinstance(pl_module, LidarMultiTaskModule):
            raise ConfigError("calibration needs a LidarMultiTaskModule")
        self._signal.install()
        set_mode(pl_module.net, "observe")
        self._observe(trainer, pl_module)
        (signum,) = largest(trainer, self._signal.received)
        self._leave(trainer, signum)
        for name, quantizer in quantizers(pl_module.net):
            quantizer.choose()
            if not (torch.isfinite(quantizer.scale) and quantizer.scale > 0):
                raise TrainingError(
                    f"the scale of {name} is {float(quantizer.scale)}; train float again, or look at the data"
                )
        set_mode(pl_module.net, "quantize")
        if trainer.is_global_zero:
            self.on_chosen(pl_module.net)

    def on_validation_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: object) -> None:
        """A single process stops at once; several ranks finish the validation, in which they cannot agree."""
        if trainer.world_size == 1:
            self._leave(trainer, self._signal.received)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Saves and publishes."""
        (signum,) = largest(trainer, self._signal.received)
        self._leave(trainer, signum)
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        saved = {name: self.folder / f"{name}.ckpt" for name in ("best", "last")}
        trainer.save_checkpoint(saved["last"], weights_only=True)  # there is no more state than weights and scales
        if trainer.is_global_zero:
            copy_whole(saved["last"], saved["best"])
            self.on_saved(saved)
            mark_finished(self.folder)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Gives the signals back, and ends ranks that would wait for this one."""
        self._signal.remove()
        if trainer.is_global_zero:
            end_children(trainer, LEAVING_S if isinstance(exception, Stopped) else 0.0)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Gives the signals back."""
        self._signal.remove()

    def _observe(self, trainer: pl.Trainer, module: LidarMultiTaskModule) -> None:
        datamodule = getattr(trainer, "datamodule", None)
        if not isinstance(datamodule, LidarDataModule):
            raise ConfigError("calibration needs a LidarDataModule")
        limit = trainer.limit_train_batches
        loader = datamodule.calibration_dataloader(limit if isinstance(limit, int) else None)
        (fewest,) = largest(trainer, -len(loader))
        started = told = time.monotonic()
        for number, batch in enumerate(loader, start=1):
            module(trainer.strategy.batch_to_device(batch, module.device).points)
            now = time.monotonic()
            if trainer.is_global_zero and (now - told > self.interval_s or number == len(loader)):
                told, rate = now, number / max(1e-9, now - started)
                left = (len(loader) - number) / rate / 60
                print(f"observed {number}/{len(loader)} batches  {rate:.2f} batches/s  {left:.1f} min left", flush=True)
            if number <= -fewest:  # the batches that every rank has
                (signum,) = largest(trainer, self._signal.received)
                self._leave(trainer, signum)

    def _leave(self, trainer: pl.Trainer, signum: int) -> None:
        if signum:
            name = signal.Signals(signum).name
            message = f"{name}: stopped while calibrating; nothing was saved or published, start it again"
            raise leave_together(trainer, Stopped(signum, message))
