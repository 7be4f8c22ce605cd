"""The LightningModule: voxelizer, network, tasks and metrics joined into training and evaluation steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import Metric

from lidar_mt.engine.logged_names import LEARNING_RATE, TOTAL
from lidar_mt.models.multitask import LidarMultiTaskNet
from lidar_mt.models.quantized_multitask import QuantizedMultiTaskNet
from lidar_mt.structures.outputs import NetOutput
from lidar_mt.structures.sample import Batch
from lidar_mt.tasks.base import AnyTask

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]
SchedulerFactory = Callable[..., LRScheduler]


class LidarMultiTaskModule(pl.LightningModule):
    """Trains and evaluates a `LidarMultiTaskNet`, in float or quantized.

    Args:
        voxelizer: points -> `Pillars`.
        net: the network; its outputs are keyed by task name.
        tasks: target, loss, decoder and weight by task name.
        metrics: validation metric by task name; `update_batch(predictions, batch)`, `compute() -> dict of floats`.
        optimizer: builds the optimizer from the parameters; None for evaluation alone.
        scheduler: builds the per-step schedule from the optimizer and `total_steps`.
        total_steps: optimizer steps of the whole training.
        config: plain containers that describe the run; stored in the checkpoint as information only.
    """

    def __init__(
        self,
        voxelizer: nn.Module,
        net: LidarMultiTaskNet | QuantizedMultiTaskNet,
        tasks: Mapping[str, AnyTask],
        metrics: Mapping[str, Metric] | None = None,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        total_steps: int = 0,
        config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.voxelizer = voxelizer
        self.net = net
        self.tasks = dict(tasks)
        self.metrics = nn.ModuleDict(dict(metrics or {}))
        self.optimizer_factory = optimizer
        self.scheduler_factory = scheduler
        self.total_steps = total_steps
        self.config = config or {}
        #: Metric values of the last validation or test, by task name.
        self.scores: dict[str, dict[str, float]] = {}

    def forward(self, points: list[Tensor]) -> NetOutput:
        """Runs voxelizer and network.

        Args:
            points: B tensors (P, 5) float32, see `Batch.points`.
        """
        output: NetOutput = self.net.forward_pillars(self.voxelizer(points))
        return output

    @torch.no_grad()
    def predict(self, points: list[Tensor]) -> dict[str, Any]:
        """Decoded predictions by task name; see each task's `decode`."""
        output = self(points)
        return {name: task.decode(output[name]) for name, task in self.tasks.items()}

    def loss_terms(self, output: NetOutput, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted sum over tasks, and every single term by name."""
        terms: dict[str, Tensor] = {}
        total = torch.zeros((), device=self.device)
        for name, task in self.tasks.items():
            task_terms = task.loss(output[name], task.target(batch))
            for value in task_terms.values():
                total = total + task.weight * value
            terms.update(task_terms)
        return total, terms

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One step; logs the total and every term."""
        total, terms = self.loss_terms(self(batch.points), batch)
        self.log(f"train/{TOTAL}", total, prog_bar=True, batch_size=len(batch))
        self.log_dict({f"train/{name}": value for name, value in terms.items()}, batch_size=len(batch))
        return total

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Updates loss and metrics; returns the decoded predictions by task name."""
        output = self(batch.points)
        total, terms = self.loss_terms(output, batch)
        self.log(f"val/{TOTAL}", total, batch_size=len(batch), sync_dist=True)
        self.log_dict({f"val/{name}": value for name, value in terms.items()}, batch_size=len(batch), sync_dist=True)
        return self._evaluation_step(output, batch)

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Updates metrics; returns the decoded predictions by task name."""
        return self._evaluation_step(self(batch.points), batch)

    def on_validation_epoch_end(self) -> None:
        """Logs the metrics of the whole set."""
        self._log_metrics("val")

    def on_test_epoch_end(self) -> None:
        """Logs the metrics of the whole set."""
        self._log_metrics("test")

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Optimizer and per-step schedule from the configured factories."""
        if self.optimizer_factory is None or self.scheduler_factory is None:
            raise RuntimeError("this module was built for evaluation; give it an optimizer and a scheduler to train")
        optimizer = self.optimizer_factory(parameter for parameter in self.net.parameters() if parameter.requires_grad)
        scheduler = self.scheduler_factory(optimizer, total_steps=self.total_steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step", "name": LEARNING_RATE},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what was trained, as plain containers."""
        checkpoint["lidar_mt"] = {"config": self.config}

    def _evaluation_step(self, output: NetOutput, batch: Batch) -> dict[str, Any]:
        predictions = {name: task.decode(output[name]) for name, task in self.tasks.items()}
        for name, predicted in predictions.items():
            if name in self.metrics:
                metric: Any = self.metrics[name]
                metric.update_batch(predicted, batch)
        return predictions

    def _log_metrics(self, prefix: str) -> None:
        self.scores = {}
        metrics: Any = self.metrics.items()
        for name, metric in metrics:
            # On every rank, also one without a sample, or the others would wait for it. A NaN says that there was
            # nothing to score, such as the orientation of a cone.
            values = {key: float(value) for key, value in metric.compute().items()}
            defined = {key: value for key, value in values.items() if not math.isnan(value)}
            if defined:
                self.scores[name] = values
                # Already the same on every rank: the metric reduces by itself.
                self.log_dict({f"{prefix}/{key}": value for key, value in defined.items()})
            metric.reset()
