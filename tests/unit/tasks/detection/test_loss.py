import numpy as np
import pytest
import torch

from lidar_mt.structures.errors import ConfigError
from lidar_mt.structures.outputs import GroupOutput
from lidar_mt.tasks.detection.loss import DetectionLoss, gaussian_focal_loss
from lidar_mt.tasks.detection.target import DetectionTarget
from tests.helpers import slow_detection
from tests.helpers.task_cases import (
    CHANNELS,
    CLASSES,
    SMALL_GRID,
    make_batch,
    output_from_targets,
    random_boxes,
    random_output,
)

WEIGHTS = {"vel": 0.2}


def _case(seed, counts):
    rng = np.random.default_rng(seed)
    boxes = [random_boxes(rng, count, 12.8) for count in counts]
    labels = [rng.integers(-1, 10, count) for count in counts]
    return boxes, labels, DetectionTarget(SMALL_GRID, CLASSES)(make_batch(boxes, labels))


@pytest.mark.parametrize("counts", [(50, 9), (1, 0), (0, 0)])
def test_terms_like_loops(counts):
    boxes, labels, targets = _case(3, counts)
    output = random_output(4, 2, 32, scale=3.0)
    terms = DetectionLoss(CLASSES, WEIGHTS)(output, targets)
    assert len(terms) == 12
    assert list(terms)[:2] == ["car/heatmap", "car/box"]
    for group, maps in zip(slow_detection.GROUPS, output, strict=True):
        slow = [
            slow_detection.target_of_group(rows, names, group, -12.8, 0.8, 32)
            for rows, names in zip(boxes, labels, strict=True)
        ]
        name = "-".join(group)
        heatmap = slow_detection.heatmap_loss(maps.heatmap.numpy(), np.stack([s["heatmap"] for s in slow]))
        assert terms[f"{name}/heatmap"].item() == pytest.approx(heatmap, rel=2e-5)
        arrays = {channel: getattr(maps, channel).numpy() for channel in CHANNELS}
        box = slow_detection.box_loss(arrays, [s["slots"] for s in slow])
        assert terms[f"{name}/box"].item() == pytest.approx(box, rel=2e-5)


def test_heatmap_term_by_hand():
    # One peak and one empty cell at probability 1/2: 0.25 ln 2 each, over one peak.
    loss = gaussian_focal_loss(torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 0.0]]]]), 2, 4, 1e-4)
    assert loss.item() == pytest.approx(0.5 * np.log(2), rel=1e-6)
    # Without a peak the sum is not divided.
    loss = gaussian_focal_loss(torch.zeros(1, 1, 3, 5), torch.zeros(1, 1, 3, 5), 2, 4, 1e-4)
    assert loss.item() == pytest.approx(15 * 0.25 * np.log(2), rel=1e-6)


def test_normalisation_is_over_the_batch_and_per_group():
    _, _, targets = _case(5, (40, 3))
    output = random_output(6, 2, 32)
    terms = DetectionLoss(CLASSES, WEIGHTS)(output, targets)
    for g, name in enumerate(["car", "truck-construction_vehicle"]):
        peaks = [int((targets[g].heatmap[b] == 1).sum()) for b in range(2)]
        single = [
            gaussian_focal_loss(output[g].heatmap[b : b + 1], targets[g].heatmap[b : b + 1], 2, 4, 1e-4).item()
            * max(peaks[b], 1)
            for b in range(2)
        ]
        assert terms[f"{name}/heatmap"].item() == pytest.approx(sum(single) / sum(peaks), rel=1e-5)


def test_a_learned_output_has_no_box_error():
    # One box per group, so that no two share a cell.
    labels = np.array([0, 2, 4, 5, 7, 9])
    boxes = random_boxes(np.random.default_rng(7), 6, 11.0)
    targets = DetectionTarget(SMALL_GRID, CLASSES)(make_batch([boxes], [labels]))
    assert all(target.mask.sum() == 1 for target in targets)
    terms = DetectionLoss(CLASSES, WEIGHTS)(output_from_targets(_without_unknown(targets)), targets)
    for group in CLASSES.groups:
        assert terms[f"{'-'.join(group)}/box"].item() == pytest.approx(0, abs=1e-6)


def _without_unknown(targets):
    return tuple(t._replace(regression={k: v.nan_to_num() for k, v in t.regression.items()}) for t in targets)


def test_unknown_velocity_has_no_weight_and_no_gradient():
    box = np.array([[0.1, 0.1, -1, 2, 4, 1.5, 0.3, np.nan, np.nan]], dtype=np.float32)
    targets = DetectionTarget(SMALL_GRID, CLASSES)(make_batch([box], [np.array([0])]))
    output = tuple(GroupOutput(*(m.requires_grad_() for m in group)) for group in random_output(8, 1, 32))
    sum(DetectionLoss(CLASSES, WEIGHTS)(output, targets).values()).backward()
    assert not output[0].vel.grad.any()
    assert all(torch.isfinite(m.grad).all() for group in output for m in group)
    assert output[0].dim.grad.any()


def test_weights_go_by_name():
    box = np.array([[0.1, 0.1, -1, 2, 4, 1.5, 0.3, 7.0, -5.0]], dtype=np.float32)
    targets = DetectionTarget(SMALL_GRID, CLASSES)(make_batch([box], [np.array([0])]))
    output = random_output(9, 1, 32)
    base = DetectionLoss(CLASSES, dict.fromkeys(CHANNELS, 0.0))(output, targets)["car/box"].item()
    assert base == 0
    parts = {
        n: DetectionLoss(CLASSES, {**dict.fromkeys(CHANNELS, 0.0), n: 1.0})(output, targets)["car/box"].item()
        for n in CHANNELS
    }
    both = DetectionLoss(CLASSES, WEIGHTS)(output, targets)["car/box"].item()
    weighted = sum(parts.values()) - 0.8 * parts["vel"]
    assert both == pytest.approx(weighted, rel=1e-5)
    with pytest.raises(ConfigError, match="velocity"):
        DetectionLoss(CLASSES, {"velocity": 0.2})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_output_is_scored_in_float32(dtype):
    _, _, targets = _case(10, (30, 20))
    low = tuple(GroupOutput(*(m.to(dtype) for m in group)) for group in random_output(11, 2, 32, scale=4.0))
    high = tuple(GroupOutput(*(m.float() for m in group)) for group in low)
    loss = DetectionLoss(CLASSES, WEIGHTS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(low, targets)
    for name, wanted in loss(high, targets).items():
        assert found[name].dtype == torch.float32
        torch.testing.assert_close(found[name], wanted, rtol=0, atol=0)


@pytest.mark.parametrize("logit", [-1e4, -50.0, 50.0, 1e4])
def test_saturated_logits_stay_finite(logit):
    _, _, targets = _case(12, (30,))
    output = tuple(
        GroupOutput(*(torch.full_like(m, logit).requires_grad_() for m in g)) for g in random_output(1, 1, 32)
    )
    total = sum(DetectionLoss(CLASSES, WEIGHTS)(output, targets).values())
    total.backward()
    assert torch.isfinite(total)
    assert all(torch.isfinite(m.grad).all() for group in output for m in group)
