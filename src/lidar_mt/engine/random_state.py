"""The random numbers of the network (dropout), saved and taken up again."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from lidar_mt.engine.ranks import gather

_KEY = "random_state"


class RandomState(Callback):
    """Stores every rank's torch generators in the checkpoint, and sets them before the first step after a resume.

    Not earlier: what happens between loading and the first step may draw numbers too.
    """

    def __init__(self) -> None:
        self._loaded: dict[str, Any] | None = None

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds the states of all ranks."""
        states = {"cpu": torch.get_rng_state()}
        if pl_module.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(pl_module.device)
        checkpoint[_KEY] = gather(trainer, states)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keeps this rank's state for the first step; a run with more ranks than before starts anew on the others."""
        states = checkpoint.get(_KEY, [])
        self._loaded = states[trainer.global_rank] if trainer.global_rank < len(states) else None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Sets the generators once after a resume."""
        self._restore(pl_module)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The same where a resumed run begins with the validation that the stop left out."""
        if not trainer.sanity_checking:
            self._restore(pl_module)

    def _restore(self, pl_module: pl.LightningModule) -> None:
        states, self._loaded = self._loaded, None
        if states is None:
            return
        torch.set_rng_state(states["cpu"])
        if "cuda" in states and pl_module.device.type == "cuda":
            torch.cuda.set_rng_state(states["cuda"], pl_module.device)
