"""What a user could bring along: a loss, a task, a metric and a callback that tell no names."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import torch
import torch.distributed as dist
from pytorch_lightning.callbacks import Callback
from torchmetrics import Metric

from lidar_mt.metrics.bev_iou import BevIoU
from lidar_mt.tasks.base import Task
from lidar_mt.tasks.segmentation.loss import SegmentationLoss


class OwnLoss(SegmentationLoss):
    """Other terms than the class it is made from."""

    def __call__(self, output, targets):
        return {"mine": output.logits.mean()}


class OwnTask(Task):
    """Other names than the class it is made from."""

    def loss(self, output, targets):
        return {"anything": output.logits.mean()}


class OwnIoU(BevIoU):
    """More scores than the class it is made from."""

    def compute(self):
        return {**super().compute(), "boundary": 0.5}


class OwnMetric(Metric):
    """Tells nothing."""

    def __init__(self, names):
        super().__init__()

    def update(self):
        pass

    def compute(self):
        return {"boundary": 0.5}


class OwnCallback(Callback):
    """May log whatever it likes."""


class NanOnLastRank(SegmentationLoss):
    """NaN on the last rank, which may be the only one."""

    def __call__(self, output, targets):
        terms = super().__call__(output, targets)
        is_last = not dist.is_initialized() or dist.get_rank() == dist.get_world_size() - 1
        return {name: value * float("nan") for name, value in terms.items()} if is_last else terms


class KeepRanks(Callback):
    """Writes every rank's weights and buffers as they are after the last step, before any validation shares them."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.folder.mkdir(parents=True, exist_ok=True)
        torch.save(pl_module.state_dict(), self.folder / f"{trainer.global_rank}.pt")


class SignalAt(Callback):
    """Sends this process a signal at the n-th batch that rank 0 voxelizes, or, for 0, while a checkpoint is saved."""

    def __init__(self, batch: int, signum: int = signal.SIGTERM) -> None:
        self.batch, self.signum = batch, signum

    def setup(self, trainer, pl_module, stage):
        if trainer.is_global_zero:
            pl_module.voxelizer.register_forward_hook(self._count)

    def on_save_checkpoint(self, trainer, pl_module, checkpoint):
        if self.batch == 0:
            os.kill(os.getpid(), self.signum)

    def _count(self, *args):
        self.batch -= 1
        if self.batch == 0:
            os.kill(os.getpid(), self.signum)
