"""Intersection over union of bird's-eye-view segmentation, summed over the whole set and all ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from lidar_mt.structures.errors import ConfigError
from lidar_mt.structures.sample import Batch

IGNORE = -1


class SegmentationScores(NamedTuple):
    """Segmentation scores of a confusion matrix, all 0 to 1.

    Attributes:
        class_iou: (K,) float64 intersection over union; NaN for a class that is neither labelled nor predicted.
        mean_iou: () float64 mean over the classes that have one.
        accuracy: () float64 share of the labelled cells that are right.
        mean_accuracy: () float64 mean over the labelled classes of the share of their cells that are right.
    """

    class_iou: Tensor
    mean_iou: Tensor
    accuracy: Tensor
    mean_accuracy: Tensor


def confusion_matrix(pred: Tensor, target: Tensor, num_classes: int, ignore_index: int = IGNORE) -> Tensor:
    """Counts cells by label and prediction.

    Args:
        pred: integer class of each cell, any shape, 0 to K - 1.
        target: label of each cell, same shape, 0 to K - 1 or `ignore_index`.
        num_classes: K.
        ignore_index: label of the cells that do not count.

    Returns:
        (K, K) int64, rows are labels, columns are predictions.

    Raises:
        ValueError: the shapes differ or a counted value is not a class.

    Example:
        >>> confusion_matrix(torch.tensor([0, 1, 1]), torch.tensor([0, 0, -1]), 2).tolist()
        [[1, 1], [0, 0]]
    """
    if pred.shape != target.shape:
        raise ValueError(f"prediction {tuple(pred.shape)} and label map {tuple(target.shape)} differ in shape")
    counted = target != ignore_index
    pred, target = pred[counted].long(), target[counted].long()
    if pred.numel() and not (min(pred.min(), target.min()) >= 0 and max(pred.max(), target.max()) < num_classes):
        raise ValueError(f"labels and predictions must be 0 to {num_classes - 1}, or {ignore_index} to be ignored")
    return torch.bincount(target * num_classes + pred, minlength=num_classes**2).view(num_classes, num_classes)


def scores_from_confusion(matrix: Tensor) -> SegmentationScores:
    """IoU and accuracies of a confusion matrix.

    Args:
        matrix: (K, K) int64, rows are labels, columns are predictions.

    Returns:
        The scores; NaN where nothing was counted.

    Example:
        >>> scores_from_confusion(torch.tensor([[3, 1], [0, 4]])).class_iou.tolist()
        [0.75, 0.8]
    """
    counts = matrix.double()
    hits, labelled, predicted = counts.diag(), counts.sum(1), counts.sum(0)
    class_iou = hits / (labelled + predicted - hits)  # 0 / 0 is the NaN of an absent class
    return SegmentationScores(class_iou, class_iou.nanmean(), hits.sum() / counts.sum(), (hits / labelled).nanmean())


class BevIoU(Metric):
    """IoU per class and mean, overall and mean accuracy of BEV label maps.

    Args:
        names: class names, in the order of the labels.
        num_classes: K; checked against `names` where given.
        ignore_index: label of the cells that do not count.

    Raises:
        ConfigError: `num_classes` is not the number of names.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False

    matrix: Tensor

    def __init__(self, names: Sequence[str], num_classes: int | None = None, ignore_index: int = IGNORE) -> None:
        super().__init__()
        if num_classes not in (None, len(names)):
            raise ConfigError(f"metric: {num_classes} segmentation classes but {len(names)} names {list(names)}")
        self.names, self.ignore_index = tuple(names), ignore_index
        zeros = torch.zeros(len(names), len(names), dtype=torch.int64)
        self.add_state("matrix", default=zeros, dist_reduce_fx="sum")

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Adds the label maps of a batch.

        Args:
            pred: (B, H, W) int64 predicted classes.
            target: (B, H, W) int64 labels.

        Raises:
            ValueError: the shapes differ or a counted value is not a class.
        """
        self.matrix += confusion_matrix(pred, target, len(self.names), self.ignore_index)

    def update_batch(self, predictions: Tensor, batch: Batch) -> None:
        """Adds what the segmentation decoder made of a batch; nothing where the data set has no labels."""
        if batch.bev_labels is not None:
            self.update(predictions, batch.bev_labels)

    @property
    def score_names(self) -> tuple[str, ...]:
        """Names of what `compute` returns."""
        return ("mIoU", *(f"IoU/{name}" for name in self.names), "accuracy", "mean_accuracy")

    def compute(self) -> dict[str, float]:
        """Scores all cells since the last reset: mIoU, IoU/<class>, accuracy, mean_accuracy; NaN where undefined."""
        scores = scores_from_confusion(self.matrix)
        values = [scores.mean_iou, *scores.class_iou, scores.accuracy, scores.mean_accuracy]
        return {name: value.item() for name, value in zip(self.score_names, values, strict=True)}
