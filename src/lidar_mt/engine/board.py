"""TensorBoard: how a run's charts are arranged, and how much its pictures may take."""

from __future__ import annotations

import json
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import TensorBoardLogger
from torch.utils.tensorboard import SummaryWriter

from lidar_mt.engine.lit_module import LidarMultiTaskModule
from lidar_mt.visualization.figure import to_image_tensor

_ALL_PICTURED = 16


def boards(trainer: pl.Trainer) -> list[SummaryWriter]:
    """The TensorBoard writers of a run; none on ranks that do not log and where logging is off."""
    if not trainer.is_global_zero:
        return []
    return [logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]


def show_figure(trainer: pl.Trainer, tag: str, figure: Any) -> None:
    """Adds a figure of `visualization` to TensorBoard at the present step."""
    for board in boards(trainer):
        board.add_image(tag, to_image_tensor(figure), trainer.global_step)


def is_pictured(validation: int) -> bool:
    """Whether the pictures of a validation go into TensorBoard: all of the first, then ever fewer.

    The first 16 do, then every second up to 32, every fourth up to 64: eight more each time a run grows twice as long,
    so that no run fills the disk.

    Args:
        validation: its number in the run, from 0.

    Example:
        >>> [n for n in range(70) if is_pictured(n)][-12:]
        [26, 28, 30, 32, 36, 40, 44, 48, 52, 56, 60, 64]
    """
    spacing = 1
    while validation >= _ALL_PICTURED * spacing:
        spacing *= 2
    return validation % spacing == 0


class BoardLayout(Callback):
    """Puts charts that belong together side by side on the Custom Scalars page, and the configuration under Text."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes both once, before the first step."""
        if not isinstance(pl_module, LidarMultiTaskModule):
            return
        config = json.dumps(pl_module.config, indent=2, default=str)
        for board in boards(trainer):
            board.add_custom_scalars(chart_layout(list(pl_module.tasks)))
            board.add_text("config", f"```\n{config}\n```", trainer.global_step)


def chart_layout(tasks: list[str]) -> dict[str, dict[str, list[Any]]]:
    """Pages of charts, each with the tags (regular expressions) of its lines.

    Args:
        tasks: names of the tasks that are trained.
    """

    def lines(*tags: str) -> list[Any]:
        return ["Multiline", list(tags)]

    losses = {"total": lines("train/loss", "val/loss")}
    scores = {}
    if "detection" in tasks:
        losses["heatmap"] = lines("train/detection/.*/heatmap")
        losses["heatmap, validation"] = lines("val/detection/.*/heatmap")
        losses["box"] = lines("train/detection/.*/box")
        losses["box, validation"] = lines("val/detection/.*/box")
        scores["NDS and mAP"] = lines("val/NDS", "val/mAP$")
        scores["AP of each class"] = lines("val/AP/[a-z_]+$")
        scores["true-positive errors"] = lines("val/m[A-Z]{2}E$")
    if "segmentation" in tasks:
        losses["segmentation"] = lines("train/segmentation/.*", "val/segmentation/.*")
        scores["IoU"] = lines("val/mIoU", "val/IoU/.*")
    for task in tasks:
        if task not in ("detection", "segmentation"):
            losses[task] = lines(f"train/{task}/.*", f"val/{task}/.*")
    speed = {
        "samples per second": lines("speed/samples_per_second"),
        "share of the time spent waiting for data": lines("speed/data_share"),
        "memory [GiB]": lines("memory/.*"),
        "gradient norm before clipping": lines("optimizer/gradient_norm"),
        "learning rate": lines("optimizer/learning_rate.*"),
    }
    return {"losses": losses, "scores": scores, "speed and optimizer": speed}
