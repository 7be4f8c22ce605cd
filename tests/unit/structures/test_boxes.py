import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nuscenes.utils.data_classes import Box
from nuscenes.utils.geometry_utils import points_in_box
from pyquaternion import Quaternion

from lidar_mt.structures.boxes import bev_corners, points_in_boxes, transform_boxes, wrap_angle


def random_boxes(rng, count):
    return np.column_stack(
        [
            rng.uniform(-50, 50, (count, 2)),
            rng.uniform(-3, 1, count),
            rng.uniform(0.3, 12, (count, 3)),
            rng.uniform(-np.pi, np.pi, count),
            rng.uniform(-10, 10, (count, 2)),
        ]
    )


def devkit_box(row):
    return Box(
        list(row[:3]), list(row[3:6]), Quaternion(axis=[0, 0, 1], radians=row[6]), velocity=(row[7], row[8], 0.0)
    )


@given(st.floats(-1e3, 1e3))
def test_wrap_angle_keeps_the_direction(angle):
    wrapped = float(wrap_angle(np.array(angle)))
    assert -np.pi < wrapped <= np.pi + 1e-12
    assert np.cos(wrapped) == pytest.approx(np.cos(angle), abs=1e-9)
    assert np.sin(wrapped) == pytest.approx(np.sin(angle), abs=1e-9)


def test_transform_equals_the_devkit_box():
    rng = np.random.default_rng(0)
    boxes = random_boxes(rng, 20)
    rotation = Quaternion(axis=[0, 0, 1], radians=2.0) * Quaternion(axis=[1, 0, 0], radians=0.02)
    translation = np.array([100.0, -20.0, 1.5])
    matrix = rotation.transformation_matrix
    matrix[:3, 3] = translation
    ours = transform_boxes(boxes, matrix)
    for row, out in zip(boxes, ours, strict=True):
        box = devkit_box(row)
        box.rotate(rotation)
        box.translate(translation)
        np.testing.assert_allclose(out[:3], box.center, atol=1e-9)
        np.testing.assert_allclose(out[3:6], box.wlh)
        heading = box.orientation.rotation_matrix @ np.array([1.0, 0, 0])
        np.testing.assert_allclose(wrap_angle(out[6] - np.arctan2(heading[1], heading[0])), 0, atol=1e-9)
        np.testing.assert_allclose(out[7:], box.velocity[:2], atol=1e-9)


def test_transform_there_and_back_and_unknown_velocity():
    rng = np.random.default_rng(1)
    boxes = random_boxes(rng, 10)
    boxes[3, 7:] = np.nan
    matrix = Quaternion(axis=[0, 0, 1], radians=-1.1).transformation_matrix
    matrix[:3, 3] = [5, 6, 7]
    back = transform_boxes(transform_boxes(boxes, matrix), np.linalg.inv(matrix))
    np.testing.assert_allclose(back, boxes, atol=1e-9)


def test_bev_corners_equal_the_devkit_bottom_corners():
    boxes = random_boxes(np.random.default_rng(2), 20)
    corners = bev_corners(torch.from_numpy(boxes)).numpy()
    for row, ours in zip(boxes, corners, strict=True):
        theirs = devkit_box(row).bottom_corners()[:2].T
        distance = np.linalg.norm(ours[:, None] - theirs[None], axis=-1)
        assert distance.min(axis=1).max() < 1e-9


def test_points_in_boxes_equals_the_devkit():
    rng = np.random.default_rng(3)
    boxes = random_boxes(rng, 30)
    points = rng.uniform(-50, 50, (5000, 3)) * [1, 1, 0.05]
    ours = points_in_boxes(points, boxes)
    theirs = np.stack([points_in_box(devkit_box(row), points.T) for row in boxes])
    np.testing.assert_array_equal(ours, theirs)
    assert ours.any()
