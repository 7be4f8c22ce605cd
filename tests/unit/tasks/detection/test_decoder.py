import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lidar_mt.structures.errors import ConfigError
from lidar_mt.structures.outputs import GroupOutput
from lidar_mt.tasks.detection.decoder import CircleSuppression, DetectionDecoder, RotatedSuppression
from lidar_mt.tasks.detection.target import DetectionTarget, group_names
from tests.helpers import slow_boxes, slow_detection
from tests.helpers.slow_detection import GROUPS, NAMES
from tests.helpers.task_cases import (
    CHANNELS,
    CLASSES,
    REFERENCE_GRID,
    SMALL_GRID,
    make_batch,
    output_from_targets,
    random_boxes,
    random_output,
)

SQUARED_RADII = dict(zip(group_names(CLASSES), (4, 12, 10, 1, 0.85, 0.175), strict=True))


def _decoder(grid=REFERENCE_GRID, **options):
    suppressions = {
        "rotated": RotatedSuppression(0.2, 1000, 83),
        "circle": CircleSuppression(CLASSES, SQUARED_RADII, 83),
    }
    return DetectionDecoder(grid, CLASSES, suppressions, **options)


def _distinct_output(seed, batch_size, cells):
    """Random maps whose heatmap values all differ, so that there is one right order, and sizes of 1.6 to 4 m."""
    generator = torch.Generator().manual_seed(seed)
    groups = []
    for maps in random_output(seed, batch_size, cells):
        count = maps.heatmap[0].numel()
        ranks = torch.stack([torch.randperm(count, generator=generator) for _ in range(batch_size)])
        heatmap = (ranks.view_as(maps.heatmap) / count * 9 - 5).float()
        groups.append(maps._replace(heatmap=heatmap, dim=maps.dim.clamp(-0.5, 0.4) + 1, reg=maps.reg.sigmoid()))
    return tuple(groups)


@pytest.mark.parametrize("nms", ["rotated", "circle"])
def test_random_output_like_loops(nms):
    output = _distinct_output(0, 2, 32)
    found = _decoder(SMALL_GRID, nms=nms)(output)
    circle = [math.sqrt(v) for v in SQUARED_RADII.values()] if nms == "circle" else None
    assert len(found) == 2
    for b, detections in enumerate(found):
        groups = [{name: m[b].numpy() for name, m in maps._asdict().items()} for maps in output]
        wanted = slow_detection.decode_sample(groups, -12.8, 0.8, circle)
        assert 100 < len(wanted) < 498
        assert detections.labels.tolist() == [label for _, _, label in wanted]
        np.testing.assert_allclose(detections.scores, [score for _, score, _ in wanted], rtol=1e-5)
        np.testing.assert_allclose(detections.boxes, [box for box, _, _ in wanted], atol=1e-4)
        assert detections.boxes.dtype == detections.scores.dtype == torch.float32


def test_nothing_above_the_threshold():
    output = tuple(g._replace(heatmap=torch.full_like(g.heatmap, -5)) for g in random_output(0, 2, 32))
    for detections in _decoder(SMALL_GRID)(output):
        assert detections.boxes.shape == (0, 9)
        assert detections.scores.shape == detections.labels.shape == (0,)


def _single(column, row, score=0.9, **values):
    """An output of the reference size that says one car."""
    output = []
    for group in GROUPS:
        maps = {name: torch.zeros(1, c, 128, 128) for name, c in CHANNELS.items()}
        output.append(GroupOutput(**maps, heatmap=torch.full((1, len(group), 128, 128), -8.0)))
    output[0].heatmap[0, 0, row, column] = math.log(score / (1 - score))
    for name, value in values.items():
        getattr(output[0], name)[0, :, row, column] = torch.tensor(value)
    return tuple(output)


def test_one_box_by_hand():
    output = _single(
        70, 20, reg=[0.25, 0.5], height=[-1.0], dim=[0.0, math.log(4), 0.5], rot=[3.0, 0.0], vel=[1.0, 2.0]
    )
    (found,) = _decoder()(output)
    wanted = [(70.25 * 0.8) - 51.2, 20.5 * 0.8 - 51.2, -1, 1, 4, math.exp(0.5), math.pi / 2, 1, 2]
    np.testing.assert_allclose(found.boxes, [wanted], atol=1e-5)
    assert found.scores.item() == pytest.approx(0.9)
    assert found.labels.tolist() == [0]


@pytest.mark.parametrize(
    ("column", "values", "kept"),
    [
        (127, {"reg": [12.0, 0.0]}, True),  # x = 60.0
        (127, {"reg": [14.0, 0.0]}, False),  # x = 61.6
        (0, {"reg": [-12.0, 0.0]}, True),
        (0, {"reg": [-13.0, 0.0]}, False),
        (64, {"height": [9.9]}, True),
        (64, {"height": [10.1]}, False),
        (64, {"height": [-10.1]}, False),
    ],
)
def test_centres_beyond_the_limit_are_dropped(column, values, kept):
    assert len(_decoder()(_single(column, 64, **values))[0].boxes) == kept


def test_scores_must_exceed_the_threshold():
    assert len(_decoder()(_single(5, 5, score=0.101))[0].scores) == 1
    assert len(_decoder()(_single(5, 5, score=0.099))[0].scores) == 0
    assert len(_decoder(score_threshold=0.5)(_single(5, 5, score=0.4))[0].scores) == 0


def test_suppression_crosses_classes_but_not_groups():
    output = _single(64, 64, dim=[1.0, 1.5, 0.5])
    truck, bus = output[1], output[2]
    for maps, channel, logit in ((truck, 0, 1.0), (truck, 1, 2.0), (bus, 0, 0.5)):
        maps.heatmap[0, channel, 64, 64] = logit
        maps.dim[0, :, 64, 64] = torch.tensor([1.0, 1.5, 0.5])
    (found,) = _decoder()(output)
    assert [NAMES[i] for i in found.labels] == ["car", "construction_vehicle", "bus"]


def test_extreme_output_stays_finite():
    output = tuple(GroupOutput(*(torch.full_like(m, 1e4) for m in g)) for g in random_output(0, 1, 32))
    boxes = _decoder(SMALL_GRID, centre_limit_m=(1e6, 1e6, 1e6))(output)[0].boxes
    assert len(boxes) >= 6
    assert torch.isfinite(boxes).all()


def test_low_precision_and_channels_last_output():
    output = _distinct_output(3, 1, 32)
    stored = tuple(GroupOutput(*(m.bfloat16().to(memory_format=torch.channels_last) for m in g)) for g in output)
    plain = tuple(GroupOutput(*(m.float().contiguous() for m in g)) for g in stored)
    found, wanted = _decoder(SMALL_GRID)(stored)[0], _decoder(SMALL_GRID)(plain)[0]
    assert found.boxes.dtype == torch.float32
    torch.testing.assert_close(found.scores.sort().values, wanted.scores.sort().values)


def test_bad_options_are_named():
    with pytest.raises(ConfigError, match="nms=cirle"):
        _decoder(nms="cirle")
    with pytest.raises(ConfigError, match="bus-trailer"):
        CircleSuppression(CLASSES, {"car": 4.0}, 83)


def _separate(boxes, labels, low, size):
    """Boxes that share neither a cell nor more than a sliver of area with another of their group."""
    group_of = [next(g for g, names in enumerate(GROUPS) if NAMES[label] in names) for label in labels]
    cells = [tuple(np.trunc((row[:2].astype(float) - low) / size)) for row in boxes]
    rows = boxes.tolist()

    def clash(i, j):
        return group_of[i] == group_of[j] and (cells[i] == cells[j] or slow_boxes.iou(rows[i], rows[j]) > 0.15)

    keep = [i for i in range(len(boxes)) if not any(clash(i, j) for j in range(len(boxes)) if j != i)]
    return boxes[keep], labels[keep]


def _assert_round_trip(boxes, labels, grid):
    """Targets decoded as if a head had learned them give the boxes back, each once, with its class."""
    targets = DetectionTarget(grid, CLASSES)(make_batch([boxes], [labels]))
    # Cells beside a peak carry no box; only the peaks themselves come this close to 1.
    decoder = _decoder(grid, score_threshold=0.999)
    clean = tuple(t._replace(regression={k: v.nan_to_num() for k, v in t.regression.items()}) for t in targets)
    (found,) = decoder(output_from_targets(clean))
    assert sorted(found.labels.tolist()) == sorted(labels.tolist())
    for box, label in zip(boxes, labels, strict=True):
        same = found.boxes[found.labels == int(label)].numpy()
        nearest = same[np.argmin(np.linalg.norm(same[:, :3] - box[:3], axis=1))]
        assert np.abs(nearest[:3] - box[:3]).max() < 0.01
        np.testing.assert_allclose(nearest[3:6], box[3:6], rtol=1e-5)
        assert abs((nearest[6] - box[6] + math.pi) % (2 * math.pi) - math.pi) < 1e-3
        np.testing.assert_allclose(nearest[7:], np.nan_to_num(box[7:]), atol=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_decoded_targets_of_random_boxes_are_the_boxes(seed):
    rng = np.random.default_rng(seed)
    boxes = random_boxes(rng, 150, 46.0)
    boxes[:, 3:5] = np.minimum(boxes[:, 3:5], 6)
    boxes, labels = _separate(boxes, rng.integers(0, 10, len(boxes)), -51.2, 0.8)
    assert len(boxes) > 60
    _assert_round_trip(boxes, labels, REFERENCE_GRID)


@settings(max_examples=60, deadline=None)
@given(
    st.floats(-13.5, 12.75, width=32), st.floats(-13.5, 12.75, width=32), st.floats(-5, 3, width=32),
    st.tuples(*[st.floats(0.125, 30, width=32)] * 3), st.floats(-3.140625, 3.140625, width=32), st.integers(0, 9),
)  # fmt: skip
def test_any_single_box_round_trips(x, y, z, size, yaw, label):
    boxes = np.array([[x, y, z, *size, yaw, 1.5, -0.5]], dtype=np.float32)
    _assert_round_trip(boxes, np.array([label]), SMALL_GRID)


ROOT = os.environ.get("LIDAR_MT_NUSCENES")


@pytest.mark.nuscenes
@pytest.mark.skipif(not ROOT, reason="LIDAR_MT_NUSCENES is not set")
def test_decoded_targets_of_real_frames_are_their_boxes():
    frames = sorted((Path(ROOT) / "extra_frames").glob("*.json"))
    assert frames
    for path in frames:
        entries = json.loads(path.read_text())["boxes"]
        entries = [e for e in entries if e["name"] in NAMES]
        rows = [[*e["center"], *e["size_wlh"], e["yaw"], *e["velocity"]] for e in entries]
        boxes = np.array(rows, dtype=np.float32)
        inside = (np.abs(boxes[:, :2]) < 51.2).all(axis=1)
        labels = np.array([NAMES.index(e["name"]) for e in entries])
        boxes, labels = _separate(boxes[inside], labels[inside], -51.2, 0.8)
        assert len(boxes) >= 0.5 * inside.sum()
        _assert_round_trip(boxes, labels, REFERENCE_GRID)
