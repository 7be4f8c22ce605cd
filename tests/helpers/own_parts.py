"""What a user could bring along: a loss, a task, a metric and a callback that tell no names."""

from __future__ import annotations

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
