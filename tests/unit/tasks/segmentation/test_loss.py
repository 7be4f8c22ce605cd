import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lidar_mt.structures.errors import ConfigError
from lidar_mt.structures.outputs import SegmentationOutput
from lidar_mt.tasks.segmentation.loss import SegmentationLoss
from tests.helpers import slow_segmentation
from tests.helpers.task_cases import CLASSES

WEIGHTS = {"driveable_surface": 10.0, "others": 1.0}


def _loss(logits, labels):
    return SegmentationLoss(CLASSES, WEIGHTS)(SegmentationOutput(logits), labels)["cross_entropy"]


def test_like_loops():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (2, 2, 6, 5)).astype(np.float32)
    labels = rng.integers(-1, 2, (2, 24, 20))
    wanted = slow_segmentation.cross_entropy(
        np.stack([slow_segmentation.upsample(maps, 4) for maps in logits]), labels, (1.0, 10.0)
    )
    assert _loss(torch.tensor(logits), torch.tensor(labels)).item() == pytest.approx(wanted, rel=1e-5)


def test_ignored_cells_count_in_the_denominator():
    labels = torch.full((1, 8, 8), -1)
    labels[0, 0, 0], labels[0, 7, 7] = 1, 0
    assert _loss(torch.zeros(1, 2, 2, 2), labels).item() == pytest.approx(11 * math.log(2) / 64, rel=1e-6)
    as_torch = F.cross_entropy(torch.zeros(1, 2, 8, 8), labels, weight=torch.tensor([1.0, 10.0]), ignore_index=-1)
    assert as_torch.item() == pytest.approx(math.log(2), rel=1e-6)


def test_all_cells_ignored_cost_nothing_and_stay_finite():
    logits = torch.randn(1, 2, 4, 4, requires_grad=True)
    loss = _loss(logits, torch.full((1, 16, 16), -1))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_low_precision_output_is_scored_in_float32():
    logits = (5 * torch.randn(2, 2, 8, 8)).bfloat16()
    labels = torch.randint(-1, 2, (2, 32, 32))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = _loss(logits, labels)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, _loss(logits.float(), labels), rtol=0, atol=0)


def test_weights_must_name_every_class():
    with pytest.raises(ConfigError, match="drivable"):
        SegmentationLoss(CLASSES, {"others": 1.0, "drivable": 10.0})
