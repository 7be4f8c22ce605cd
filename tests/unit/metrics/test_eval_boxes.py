"""What counts, against the devkit's filter."""

import numpy as np
import pytest
from nuscenes.eval.common.loaders import add_center_dist, filter_eval_boxes
from nuscenes.eval.common.utils import quaternion_yaw
from pyquaternion import Quaternion

from lidar_mt.metrics.detection_protocol import CLASS_RANGE_M, DETECTION_NAMES
from lidar_mt.metrics.devkit_tables import load_tables
from lidar_mt.metrics.eval_boxes import EvalBoxes, counted_boxes, heading, no_boxes, rotation_matrix
from lidar_mt.metrics.nuscenes_truth import load_truth
from tests.helpers.devkit_scores import columns, devkit_boxes
from tests.helpers.tiny_nuscenes import write_tiny_nuscenes

VERSION = "v1.0-tiny-mini"


@pytest.mark.parametrize("seed", range(2))
def test_filter_equals_the_devkits(seed, tmp_path):
    root = write_tiny_nuscenes(tmp_path, seed=seed)
    tables, truth = load_tables(root, VERSION), load_truth(root, VERSION, "mini_val")
    rng = np.random.default_rng(seed)
    rows = []
    for sample in np.sort(rng.integers(0, len(truth.tokens), 1500)).tolist():
        kind = rng.integers(3)
        if kind == 0:  # about a rack, most of them inside or near a face of it
            racks = np.flatnonzero(truth.racks.sample == sample)
            rack = int(rng.choice(racks))
            reach = truth.racks.size[rack, [1, 0, 2]] * rng.uniform(-0.6, 0.6, 3)
            center = truth.racks.center[rack] + Quaternion(truth.racks.rotation[rack]).rotate(reach)
        else:  # about the end of a range
            angle = rng.uniform(-np.pi, np.pi)
            reach = rng.choice([30, 40, 50]) + rng.choice([0.0, 1e-9, -1e-9, 0.5, -0.5])
            center = np.append(truth.ego_xy[sample], 1.0) + reach * np.array([np.cos(angle), np.sin(angle), 0])
        rows.append(
            {
                "sample": sample,
                "name": str(rng.choice(["bicycle", "motorcycle", "car"] if kind == 0 else DETECTION_NAMES)),
                "center": tuple(center.tolist()),
                "size": (1.0, 2.0, 1.0),
                "rotation": (1.0, 0.0, 0.0, 0.0),
                "velocity": (0.0, 0.0),
                "attribute": "",
                "score": 0.5,
                "num_points": int(rng.choice([-1, 0, 1, 5])),
            }
        )
    boxes = columns(rows)
    keep = counted_boxes(boxes, truth.ego_xy, truth.racks)
    theirs = add_center_dist(tables, devkit_boxes(rows, truth.tokens))
    for index, box in enumerate(theirs.all):
        box.detection_score = float(index)  # so that the devkit's boxes can be told apart
    kept = filter_eval_boxes(tables, theirs, CLASS_RANGE_M)
    assert np.flatnonzero(keep).tolist() == [int(box.detection_score) for box in kept.all]
    in_racks = keep[[row["name"] != "car" for row in rows]]
    assert 0.1 < in_racks.mean() < 0.9


def test_box_exactly_at_the_end_of_its_range_does_not_count():
    row = {"sample": 0, "size": (1, 1, 1), "rotation": (1, 0, 0, 0), "velocity": (0, 0), "attribute": "", "score": 1}
    boxes = columns([row | {"name": name, "center": (float(r), 0.0, 9.0)} for name, r in CLASS_RANGE_M.items()])
    truth_free = load_nothing()
    assert not counted_boxes(boxes, np.zeros((1, 2)), truth_free).any()
    assert counted_boxes(boxes, np.full((1, 2), 1e-9), truth_free).all()


def load_nothing():
    from lidar_mt.metrics.eval_boxes import Racks

    return Racks(np.zeros(0, dtype=np.int64), np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 4)))


def test_two_wheeler_on_the_face_of_a_rack_is_inside():
    from lidar_mt.metrics.eval_boxes import Racks

    rack = Racks(np.array([0]), np.array([[10.0, 4.0, 1.0]]), np.array([[2.0, 6.0, 2.0]]), np.array([[1.0, 0, 0, 0]]))
    row = {"sample": 0, "name": "bicycle", "size": (1, 1, 1), "rotation": (1, 0, 0, 0), "velocity": (0, 0)}
    row |= {"attribute": "", "score": 1}
    places = [(13.0, 4.0, 1.0), (10.0, 5.0, 2.0), (10.0, 5.0 + 1e-9, 1.0), (13.0 + 1e-9, 4.0, 1.0), (7.0, 3.0, 0.0)]
    boxes = columns([row | {"center": place} for place in places])
    assert counted_boxes(boxes, np.zeros((1, 2)), rack).tolist() == [False, False, True, True, False]


def test_headings_and_rotations_are_pyquaternions():
    quaternions = np.random.default_rng(0).normal(size=(200, 4)) * 3
    theirs = [Quaternion(q) for q in quaternions]
    np.testing.assert_allclose(heading(quaternions), [quaternion_yaw(q) for q in theirs], atol=1e-12)
    for ours, quaternion in zip(quaternions, theirs, strict=True):
        np.testing.assert_allclose(rotation_matrix(ours), quaternion.rotation_matrix, atol=1e-12)


def test_parts_join_in_order_and_nothing_joins_to_nothing():
    assert [len(column) for column in EvalBoxes.concatenate([])] == [0] * 9
    row = {"sample": 0, "name": "car", "size": (1, 1, 1), "rotation": (1, 0, 0, 0), "velocity": (0, 0)}
    parts = [columns([row | {"attribute": "", "score": s, "center": (s, s, s)}]) for s in (0.1, 0.2)]
    joined = EvalBoxes.concatenate([parts[1], no_boxes(), parts[0]])
    assert joined.score.tolist() == [0.2, 0.1]
    assert joined.select(slice(1, 2)).center.tolist() == [[0.1, 0.1, 0.1]]
