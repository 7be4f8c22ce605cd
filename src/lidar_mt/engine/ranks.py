"""What the ranks of a run do together."""

from __future__ import annotations

import signal
import subprocess
import time
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor, nn


def is_first_process() -> bool:
    """Whether this is rank 0, known from the environment before there is a trainer."""
    return not getattr(rank_zero_only, "rank", 0)


def largest(trainer: pl.Trainer, *values: int) -> list[int]:
    """The largest of each value over all ranks, the same on all of them."""
    if trainer.world_size == 1:
        return list(values)
    tensor = torch.tensor(values, device=trainer.strategy.root_device)
    dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return [int(value) for value in tensor.tolist()]


def gather(trainer: pl.Trainer, value: Any) -> list[Any]:
    """A value of every rank, in their order."""
    if trainer.world_size == 1:
        return [value]
    values: list[Any] = [None] * trainer.world_size
    dist.all_gather_object(values, value)
    return values


def share_buffers(trainer: pl.Trainer, module: nn.Module) -> None:
    """Gives all ranks the normalisation statistics of rank 0, from which checkpoints are made.

    Ranks gather their own between two synchronisations, and would score the network with different ones.
    """
    if trainer.world_size > 1:
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)


#: Time that ranks get which leave at the same moment as this one.
LEAVING_S = 30.0


def leave_together(trainer: pl.Trainer, reason: BaseException) -> BaseException:
    """What each rank raises when all of them stop for the same reason: rank 0 says why, the others just leave.

    A rank that Lightning started itself must leave with status 0, or its observer kills rank 0 before that one has
    said anything.
    """
    return reason if trainer.is_global_zero else SystemExit(0)


def end_children(trainer: pl.Trainer, grace_s: float = 0.0) -> None:
    """Ends the ranks that Lightning started from this process, which would wait for it for ever, and lives on.

    Lightning watches them, and kills this process too within five seconds where one has ended badly: before it has
    said why it ends, if the seconds are up by then. So they are taken away from it first.

    Args:
        trainer: of rank 0; those of other ranks have no children.
        grace_s: time that all of them together get to leave by themselves.
    """
    launcher = trainer.strategy.launcher
    if isinstance(launcher, _SubprocessScriptLauncher):
        children, launcher.procs[:] = list(launcher.procs), []
        end = time.monotonic() + grace_s
        for child in children:
            try:
                child.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
    elif launcher is not None and not grace_s:
        launcher.kill(signal.SIGKILL)


def all_finite(tensors: list[Tensor]) -> bool:
    """Whether no floating-point value among them is NaN or infinite."""
    floating = [tensor for tensor in tensors if tensor.is_floating_point() and tensor.numel()]
    return all(bool(torch.isfinite(tensor).all()) for tensor in floating)
