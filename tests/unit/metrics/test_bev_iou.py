import math

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix as sklearn_confusion
from sklearn.metrics import jaccard_score
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_jaccard_index

from lidar_mt.metrics.bev_iou import BevIoU, confusion_matrix, scores_from_confusion
from lidar_mt.structures.errors import ConfigError
from lidar_mt.structures.sample import Batch
from tests.helpers.ranks import bev_iou_of_rank, run_ranks


def random_maps(classes, samples=5, size=24, seed=0):
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(-1, classes, (samples, size, size), generator=generator)
    wrong = torch.rand(target.shape, generator=generator) < 0.3
    guess = torch.randint(0, classes, target.shape, generator=generator)
    return torch.where(wrong | (target < 0), guess, target), target


@pytest.mark.parametrize("classes", [2, 5])
def test_equals_torchmetrics_and_sklearn(classes):
    pred, target = random_maps(classes)
    metric = BevIoU([f"c{i}" for i in range(classes)])
    for p, t in zip(pred, target, strict=True):
        metric.update(p[None], t[None])
    scores = metric.compute()
    counted = target.flatten() != -1
    p, t = pred.flatten()[counted].numpy(), target.flatten()[counted].numpy()
    assert confusion_matrix(pred, target, classes).tolist() == sklearn_confusion(t, p).tolist()
    assert [scores[f"IoU/c{i}"] for i in range(classes)] == pytest.approx(jaccard_score(t, p, average=None).tolist())
    kwargs = {"num_classes": classes, "ignore_index": -1}
    assert scores["mIoU"] == pytest.approx(multiclass_jaccard_index(pred, target, average="macro", **kwargs).item())
    assert scores["accuracy"] == pytest.approx(multiclass_accuracy(pred, target, average="micro", **kwargs).item())
    assert scores["mean_accuracy"] == pytest.approx(multiclass_accuracy(pred, target, average="macro", **kwargs).item())


def test_sums_cells_before_dividing_and_not_means_of_batches():
    metric = BevIoU(["a", "b"])
    metric.update(torch.tensor([[[1]]]), torch.tensor([[[1]]]))
    metric.update(torch.tensor([[[0, 0, 0]]]), torch.tensor([[[1, 1, 1]]]))
    assert metric.compute()["IoU/b"] == 0.25


def test_absent_class_is_nan_and_not_in_the_means():
    scores = scores_from_confusion(torch.tensor([[6, 2, 0], [0, 0, 0], [0, 0, 0]]))
    # Class 1 is predicted but never labelled: its IoU is 0, its accuracy undefined. Class 2 does not occur at all.
    assert scores.class_iou[:2].tolist() == [0.75, 0.0]
    assert math.isnan(scores.class_iou[2])
    assert scores.mean_iou.item() == 0.375
    assert scores.mean_accuracy.item() == 0.75


def test_all_cells_ignored_gives_nan():
    metric = BevIoU(["a", "b"])
    metric.update(torch.zeros(1, 4, 4, dtype=torch.int64), torch.full((1, 4, 4), -1))
    assert all(math.isnan(value) for value in metric.compute().values())


def test_counts_beyond_float32():
    matrix = torch.tensor([[2**25 + 1, 0], [0, 1]])
    assert scores_from_confusion(matrix + matrix).accuracy.item() == 1.0
    metric = BevIoU(["a", "b"])
    metric.matrix += torch.tensor([[2**53 - 1, 0], [0, 0]])
    metric.update(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1))
    assert metric.matrix[0, 0].item() == 2**53


@pytest.mark.parametrize("bad", [2, -2, 255])
def test_label_or_prediction_that_is_no_class_is_refused(bad):
    good = torch.tensor([[[0, 1]]])
    for pair in ((torch.tensor([[[0, bad]]]), good), (good, torch.tensor([[[0, bad]]]))):
        with pytest.raises(ValueError, match="0 to 1"):
            BevIoU(["a", "b"]).update(*pair)
    with pytest.raises(ValueError, match="differ in shape"):
        BevIoU(["a", "b"]).update(good, good[..., :1])


def test_number_of_classes_must_fit_the_names():
    with pytest.raises(ConfigError, match="3 segmentation classes but 2 names"):
        BevIoU(["a", "b"], num_classes=3)


def test_batch_without_labels_is_not_counted():
    metric = BevIoU(["a", "b"])
    batch = Batch(["t"], [], [], [], None, torch.eye(4)[None], torch.eye(4)[None])
    metric.update_batch(torch.zeros(1, 2, 2), batch)
    assert metric.matrix.sum() == 0
    assert not metric.update_called
    batch.bev_labels = torch.tensor([[[0, 1], [-1, 0]]])
    metric.update_batch(torch.zeros(1, 2, 2), batch)
    assert metric.matrix.tolist() == [[2, 0], [1, 0]]


def test_two_ranks_with_an_odd_number_of_samples_equal_one(tmp_path):
    pred, target = random_maps(3)
    names = ["a", "b", "c"]
    maps = list(zip(pred, target, strict=True))
    alone = BevIoU(names)
    alone.update(pred, target)
    first, second = run_ranks(bev_iou_of_rank, tmp_path, maps, names)
    assert first == second == alone.compute()
    assert np.isfinite(list(first.values())).all()


def test_the_names_of_the_scores_are_told_beforehand():
    metric = BevIoU(["others", "driveable_surface"])
    metric.update(torch.tensor([0, 1]), torch.tensor([0, 0]))
    assert metric.score_names == ("mIoU", "IoU/others", "IoU/driveable_surface", "accuracy", "mean_accuracy")
    assert metric.score_names == tuple(metric.compute())
