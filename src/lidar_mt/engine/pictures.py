"""Callbacks that draw: samples with their truth, heatmaps with their targets, precision over recall."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from lidar_mt.engine.board import is_pictured, show_figure
from lidar_mt.engine.lit_module import LidarMultiTaskModule
from lidar_mt.metrics.detection_scores import read_curves
from lidar_mt.structures.classes import Classes
from lidar_mt.structures.grid import Grid
from lidar_mt.structures.sample import Batch
from lidar_mt.visualization.bev import draw_comparison, save_figure
from lidar_mt.visualization.heatmap import draw_heatmaps
from lidar_mt.visualization.precision_recall import draw_precision_recall
from lidar_mt.visualization.surfaces import draw_surfaces


class SamplePictures(Callback):
    """The first validation samples: truth beside prediction, surfaces with their mistakes, heatmaps with their targets.

    They are PNG files in the run's folder, of the last validation, and pages in TensorBoard, see `is_pictured`.

    Args:
        count: samples per validation.
        grid: the pillar grid.
        classes: class names.
        score_threshold: boxes below it are not drawn.
        heatmaps: of how many of these samples the heatmaps are drawn; each takes one more pass of the network.
    """

    def __init__(
        self, count: int, grid: Grid, classes: Classes, score_threshold: float = 0.3, heatmaps: int = 1
    ) -> None:
        self.count = count
        self.grid = grid
        self.classes = classes
        self.score_threshold = score_threshold
        self.heatmaps = heatmaps
        self._drawn = 0
        self._validations = 0

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts a new set."""
        self._drawn = 0

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draws the samples of the batch until enough are drawn."""
        if not trainer.is_global_zero or not isinstance(pl_module, LidarMultiTaskModule):
            return
        for index in range(min(len(batch), self.count - self._drawn)):
            self._draw(trainer, pl_module, outputs, batch, index)
            self._drawn += 1

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Counts the validations."""
        self._validations += 1

    def on_test_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts a new set."""
        self._drawn = 0

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draws the samples of the batch until enough are drawn."""
        self.on_validation_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)

    def _draw(
        self, trainer: pl.Trainer, module: LidarMultiTaskModule, outputs: dict[str, Any], batch: Batch, index: int
    ) -> None:
        title = batch.tokens[index]
        if trainer.validating or trainer.training:
            title += f"  step {trainer.global_step}"
        self._keep(
            trainer,
            "bev",
            "val",
            draw_sample(outputs, batch, index, self.grid, self.classes, title, self.score_threshold),
        )
        if "segmentation" in outputs and batch.bev_labels is not None:
            surfaces = draw_surfaces(
                outputs["segmentation"][index], batch.bev_labels[index], self.grid, self.classes, title
            )
            self._keep(trainer, "segmentation", "segmentation", surfaces)
        if "detection" in outputs and self._drawn < self.heatmaps:
            target, probability = heatmaps_of(module, batch, index)
            names = [name for group in self.classes.groups for name in group]
            self._keep(trainer, "heatmaps", "heatmaps", draw_heatmaps(target, probability, names, self.grid, title))

    def _keep(self, trainer: pl.Trainer, tag: str, file_name: str, figure: Any) -> None:
        save_figure(figure, Path(trainer.default_root_dir) / "pictures" / f"{file_name}_{self._drawn}.png")
        if is_pictured(self._validations):
            show_figure(trainer, f"{tag}/{self._drawn}", figure)


class CurvePictures(Callback):
    """Precision over recall of each class after a validation, from the curves that the detection metric wrote.

    Args:
        classes: class names.
        score_threshold: where the dots on the lines are, that of the sample pictures.
    """

    def __init__(self, classes: Classes, score_threshold: float = 0.3) -> None:
        self.classes = classes
        self.score_threshold = score_threshold
        self._validations = 0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws what the metric's files say, unless this validation was not scored."""
        self._validations += 1
        if not trainer.is_global_zero or not isinstance(pl_module, LidarMultiTaskModule):
            return
        scores = pl_module.scores.get("detection")
        if scores is None:
            return
        curves = read_curves(Path(str(pl_module.metrics["detection"].out_dir)))
        average = {name: scores[f"AP/{name}"] for name in self.classes.detection if f"AP/{name}" in scores}
        figure = draw_precision_recall(
            curves,
            self.classes.detection,
            average,
            self.score_threshold,
            f"precision over recall  step {trainer.global_step}",
        )
        save_figure(figure, Path(trainer.default_root_dir) / "pictures" / "precision_recall.png")
        if is_pictured(self._validations - 1):
            show_figure(trainer, "precision_recall", figure)


def draw_sample(
    outputs: Mapping[str, Any],
    batch: Batch,
    index: int,
    grid: Grid,
    classes: Classes,
    title: str,
    score_threshold: float,
) -> Any:
    """A sample's truth beside what was predicted of it.

    Args:
        outputs: predictions by task name, each with one entry per sample.
        batch: points and truth.
        index: of the sample.
        grid: the pillar grid.
        classes: class names.
        title: text above the picture.
        score_threshold: boxes below it are not drawn.

    Returns:
        A figure of `visualization`.
    """
    return draw_comparison(
        batch.points[index],
        grid,
        outputs["detection"][index] if "detection" in outputs else None,
        classes,
        truth_boxes=batch.boxes[index],
        truth_labels=batch.labels[index],
        segmentation=outputs["segmentation"][index] if "segmentation" in outputs else None,
        segmentation_truth=None if batch.bev_labels is None else batch.bev_labels[index],
        title=title,
        score_threshold=score_threshold,
    )


@torch.no_grad()
def heatmaps_of(module: LidarMultiTaskModule, batch: Batch, index: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Target and predicted probability (K, H, W) of a sample's heatmaps, classes in the groups' order."""
    sample = batch.one(index)
    output = module(sample.points)["detection"]
    targets = module.tasks["detection"].target(sample)
    assert targets is not None
    target = torch.cat([group.heatmap[0] for group in targets])
    return target, torch.cat([group.heatmap[0].float().sigmoid() for group in output])
