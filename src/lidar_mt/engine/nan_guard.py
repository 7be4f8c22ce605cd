"""What to do about losses and gradients that are no numbers."""

from __future__ import annotations

import logging
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.optim import Optimizer

from lidar_mt.engine.ranks import all_finite, gather, largest, leave_together
from lidar_mt.structures.errors import TrainingError

log = logging.getLogger("lidar_mt.training")


class NanGuard(Callback):
    """Leaves out optimizer steps whose loss or gradients are not finite, and ends training after too many in a row.

    All ranks decide alike. A step that is left out changes neither weights, nor the optimizer's state, nor the
    statistics of normalisation layers; the schedule goes on. No checkpoint is written with weights that are not finite.

    Args:
        max_in_a_row: steps in a row that may be left out; one more ends training.
    """

    def __init__(self, max_in_a_row: int = 5) -> None:
        self.max_in_a_row = max_in_a_row
        self._in_a_row = 0
        self._tokens: list[str] = []
        self._losses: list[Tensor] = []
        self._buffers: list[Tensor] = []

    def state_dict(self) -> dict[str, Any]:
        """The steps left out in a row."""
        return {"in_a_row": self._in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._in_a_row = int(state_dict["in_a_row"])

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Notes the samples, and the buffers as they are before the batches of an optimizer step."""
        if not self._tokens:
            self._buffers = [buffer.clone() for buffer in pl_module.buffers()]
        self._tokens += getattr(batch, "tokens", [])

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Notes the loss; it is looked at once per optimizer step, because a GPU has to be waited for."""
        self._losses.append(loss.detach())

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Takes the gradients away where something is not finite.

        Raises:
            TrainingError: too many steps in a row; names the samples.
        """
        # A variance can overflow where the loss does not. One norm over all costs less than a look at each.
        looked_at = [buffer for buffer in pl_module.buffers() if buffer.is_floating_point()]
        # A gradient scaler finds overflows by itself, and they are part of its work.
        if not getattr(trainer.precision_plugin, "scaler", None):
            looked_at += [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(looked_at) if looked_at else torch.zeros(())
        (bad,) = largest(trainer, int(not all_finite([torch.stack(self._losses), norm])))
        tokens, self._tokens, self._losses = self._tokens, [], []
        self._in_a_row = self._in_a_row + 1 if bad else 0
        if not bad:
            return
        optimizer.zero_grad(set_to_none=True)
        for buffer, before in zip(pl_module.buffers(), self._buffers, strict=True):
            buffer.copy_(before)
        names = " ".join(token for part in gather(trainer, tokens) for token in part)
        message = f"loss or gradients of step {trainer.global_step + 1} are not finite; samples: {names}"
        if self._in_a_row > self.max_in_a_row:
            hint = f"{self._in_a_row} steps in a row; lower optimizer.lr, or look at these samples"
            raise leave_together(trainer, TrainingError(f"{message}. {hint}"))
        if trainer.is_global_zero:
            log.warning("%s. The step is left out (%d in a row)", message, self._in_a_row)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Looks at the weights before they are written.

        Raises:
            TrainingError: names a weight that is not finite.
        """
        for name, value in checkpoint["state_dict"].items():
            if not all_finite([value]):
                raise TrainingError(
                    f"weight {name} is not finite after step {trainer.global_step}; nothing was saved. "
                    "Lower optimizer.lr and go on from the checkpoint before"
                )
