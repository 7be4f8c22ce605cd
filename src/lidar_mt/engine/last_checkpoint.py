"""The checkpoint that a stopped run goes on from, and the stop itself."""

from __future__ import annotations

import logging
import signal
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from lidar_mt.engine.files import previous_of, remove_stale
from lidar_mt.engine.ranks import LEAVING_S, end_children, largest, leave_together, share_buffers
from lidar_mt.engine.stop_signal import Stopped, StopSignal

log = logging.getLogger("lidar_mt.checkpoint")

_NAME = "last.ckpt"
_FINISHED = "finished"


class LastCheckpoint(Checkpoint):
    """Saves `last.ckpt` where a resumed run gives the same weights, bit by bit, as one that was never stopped.

    That is after an optimizer step in the middle of an epoch (at intervals, and when a signal asks to stop), before
    every validation, which a resumed run then does first, and at the end of every epoch. Gradients that are still
    being accumulated are never part of it.

    Lightning calls checkpoint callbacks after all others, so this one sees what a step leaves behind.

    Args:
        dirpath: folder of `last.ckpt`.
        every_minutes: interval in the middle of an epoch.
    """

    filename = "last"

    def __init__(self, dirpath: str, every_minutes: float = 15.0) -> None:
        self.path = Path(dirpath) / _NAME
        self.every_minutes = every_minutes
        self._signal = StopSignal()
        self._saved_at = time.monotonic()
        self._validation_is_due = False

    @property
    def best_model_path(self) -> str:
        """The file, once there is one; named as in `ModelCheckpoint`."""
        return str(self.path) if self.path.is_file() else ""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Removes what a killed run left half-written in the folder."""
        if stage == "fit" and trainer.is_global_zero:
            remove_stale(self.path.parent)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Notes signals from here on; Lightning's own handler, which comes between, calls this one as well."""
        self._signal.install()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes the signals over from Lightning, which would leave with status 0 and nothing saved."""
        self._signal.install()
        trainer._signal_connector.received_sigterm = False
        self._saved_at = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """After an optimizer step: saves where it is time, and stops where a rank was asked to."""
        loop = trainer.fit_loop.epoch_loop
        if loop._should_accumulate():
            return
        due = trainer.is_global_zero and time.monotonic() - self._saved_at > 60 * self.every_minutes
        signum, is_time = largest(trainer, self._signal.received, int(due))
        fetcher = trainer.fit_loop._data_fetcher
        if fetcher is not None and loop._should_check_val_fx(fetcher):
            self._save(trainer, validation_is_due=True)
        elif loop._num_ready_batches_reached():
            return  # the end of the epoch follows at once
        elif signum or is_time:
            self._save(trainer)
        self._leave(trainer, signum)

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """All ranks score the network that is saved."""
        share_buffers(trainer, pl_module)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """A single process leaves within a validation, which is done again later.

        Several ranks finish it first: they hold different numbers of batches, so that they cannot agree before.
        """
        # A validation within an accumulation has no checkpoint before it.
        if trainer.world_size == 1 and not trainer.fit_loop._should_accumulate():
            self._leave(trainer, self._signal.received)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stops after a validation where a rank was asked to in the meantime."""
        if trainer.sanity_checking or trainer.world_size == 1 or trainer.fit_loop._should_accumulate():
            return
        (signum,) = largest(trainer, self._signal.received)
        if signum:
            self._save(trainer)
        self._leave(trainer, signum)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Saves; after the last epoch there is nothing left to stop."""
        self._save(trainer)
        (signum,) = largest(trainer, self._signal.received)
        if trainer.max_epochs == -1 or trainer.current_epoch + 1 < (trainer.max_epochs or 0):
            self._leave(trainer, signum)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Marks a validation that is still to be done, in the words of Lightning's own loops."""
        if not self._validation_is_due:
            return
        loops = checkpoint["loops"]["fit_loop"]
        # As if the batch were finished and the first validation batch begun: Lightning then validates first. Left as
        # it is, it would take the validation for done.
        for count in loops["epoch_loop.batch_progress"]["total"], loops["epoch_loop.batch_progress"]["current"]:
            count["completed"] = count["processed"]
        begun = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
        loops["epoch_loop.val_loop.batch_progress"].update(total=begun, current=dict(begun), is_last_batch=False)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Marks the run as finished: `resume=last` does not go on from it."""
        if trainer.is_global_zero and self.path.is_file():
            mark_finished(self.path.parent)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Gives the signals back, ends ranks that would wait for this one, and says how to go on."""
        self._signal.remove()
        if not trainer.is_global_zero:
            return
        if isinstance(exception, Stopped):
            end_children(trainer, LEAVING_S)
            return
        end_children(trainer)
        if self.path.is_file():
            print(f"stopped at step {trainer.global_step}; go on with resume={self.path}", flush=True)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Gives the signals back."""
        self._signal.remove()

    def _save(self, trainer: pl.Trainer, validation_is_due: bool = False) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        self._validation_is_due = validation_is_due
        trainer.save_checkpoint(self.path, weights_only=False)  # the whole state, not only weights
        self._validation_is_due = False
        self._saved_at = time.monotonic()

    def _leave(self, trainer: pl.Trainer, signum: int) -> None:
        if not signum:
            return
        how = f"go on with resume={self.path}" if self.path.is_file() else "nothing was saved yet"
        name = signal.Signals(signum).name
        raise leave_together(trainer, Stopped(signum, f"{name}: stopped after step {trainer.global_step}; {how}"))


def mark_finished(checkpoints: Path) -> None:
    """Marks the run of a checkpoint folder as finished: `resume=last` does not go on from it."""
    (checkpoints / _FINISHED).touch()


def find_last(runs: Path) -> Path | None:
    """The last checkpoint of the newest run of a folder, None where no run has one or the newest has finished.

    Args:
        runs: holds one folder per run, with `checkpoints/last.ckpt` in it.
    """
    pairs = [
        (max(file.stat().st_mtime_ns for file in files), folder / _NAME)
        for folder in runs.glob("*/checkpoints")
        if (files := [file for file in (folder / _NAME, previous_of(folder / _NAME)) if file.is_file()])
    ]
    if not pairs:
        return None
    newest = max(pairs)[1]
    return None if (newest.parent / _FINISHED).exists() else newest


def remove_all_stale(runs: Path, published: Path) -> None:
    """Removes what killed runs of the same name left half-written."""
    for folder in (*runs.glob("*/checkpoints"), published):
        for path in remove_stale(folder):
            log.info("removed %s, which a killed run left half-written", path)
