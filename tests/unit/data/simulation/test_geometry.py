import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nuscenes.utils.data_classes import Box
from nuscenes.utils.geometry_utils import points_in_box
from pyquaternion import Quaternion
from shapely import affinity
from shapely.geometry import box as rectangle

from lidar_mt.data.simulation import geometry

angles = st.floats(-3.1, 3.1)


@given(angles, st.floats(-1.5, 1.5), angles)
def test_euler_quaternion_is_yaw_after_pitch_after_roll(roll, pitch, yaw):
    quaternion = Quaternion(geometry.euler_quaternion(roll, pitch, yaw))
    axes = ([0, 0, 1], yaw), ([0, 1, 0], pitch), ([1, 0, 0], roll)
    product = Quaternion()
    for axis, angle in axes:
        product = product * Quaternion(axis=axis, angle=angle)
    np.testing.assert_allclose(quaternion.rotation_matrix, product.rotation_matrix, atol=1e-9)


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1))
def test_rotation_matrix_equals_pyquaternion(quaternion):
    expected = Quaternion(quaternion).rotation_matrix
    np.testing.assert_allclose(geometry.rotation_matrix(quaternion), expected, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_clearance_counts_as_the_devkit_does(seed):
    rng = np.random.default_rng(seed)
    annotation = {
        "translation": rng.uniform(100, 400, 3).tolist(),
        "size": rng.uniform(0.3, 8, 3).tolist(),
        "rotation": geometry.yaw_quaternion(rng.uniform(-np.pi, np.pi)),
    }
    points = np.array(annotation["translation"]) + rng.normal(0, 2, (5000, 3))
    box = Box(annotation["translation"], annotation["size"], Quaternion(annotation["rotation"]))
    clearance = geometry.box_clearance(points, annotation)
    sure = np.abs(clearance) > 1e-6
    expected = points_in_box(box, points.T)
    assert expected.sum() > 20
    np.testing.assert_array_equal(clearance[sure] >= 0, expected[sure])


rectangles = st.tuples(st.floats(-4, 4), st.floats(-4, 4), st.floats(0.2, 6), st.floats(0.2, 3), angles)


@settings(max_examples=300)
@given(rectangles, rectangles)
def test_overlap_agrees_with_shapely(first, second):
    def polygon(x, y, length, width, yaw):
        shape = rectangle(x - length / 2, y - width / 2, x + length / 2, y + width / 2)
        return affinity.rotate(shape, yaw, use_radians=True)

    one, other = polygon(*first), polygon(*second)
    overlap = bool(geometry.rectangles_overlap(np.array([first]), np.array([second]))[0])
    if one.intersection(other).area > 1e-6:
        assert overlap
    elif one.distance(other) > 1e-6:
        assert not overlap
