from __future__ import annotations

import numpy as np
import pytest

from lidar_mt.data.lmdb_store.points import PointColumns
from lidar_mt.data.sweeps import Sweep, choose_sweeps, merge_sweeps, remove_close


def cloud(seed: int, count: int = 50) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.uniform([-4, -4, -3, 0, 0], [4, 4, 3, 255, 31], (count, 5)).astype(np.float32)


def rigid(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    matrix = np.eye(4)
    matrix[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    matrix[:3, 3] = rng.normal(size=3) * 3
    return matrix


def slow_merge(keyframe, sweeps, num_sweeps):
    """Point by point, in float64."""
    rows = [[x, y, z, intensity, 0.0] for x, y, z, intensity, _ in keyframe.tolist()]
    sweeps = sweeps or [Sweep(PointColumns.of(keyframe), np.eye(4), 0.0)] * num_sweeps
    for sweep in sweeps:
        for x, y, z, intensity in np.vstack([sweep.points.xyz, sweep.points.intensity]).T.tolist():
            if abs(x) < 1 and abs(y) < 1:
                continue
            moved = sweep.keyframe_from_sweep @ [x, y, z, 1.0]
            rows.append([*moved[:3], intensity, sweep.time_lag_s])
    return np.array(rows)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_merging_equals_the_slow_version(count):
    keyframe = cloud(0)
    sweeps = [Sweep(PointColumns.of(cloud(i)), rigid(i), 0.05 * i) for i in range(1, count + 1)]
    merged = merge_sweeps(PointColumns.of(keyframe), sweeps, 9)
    assert merged.dtype == np.float32
    np.testing.assert_allclose(merged, slow_merge(keyframe, sweeps, 9), atol=1e-5)


def test_inputs_are_left_alone_and_may_be_read_only():
    keyframe, points = cloud(0), cloud(1)
    kept = keyframe.copy(), points.copy()
    keyframe.flags.writeable = points.flags.writeable = False
    merge_sweeps(PointColumns.of(keyframe), [Sweep(PointColumns.of(points), rigid(1), 0.05)], 9)
    np.testing.assert_array_equal(keyframe, kept[0])
    np.testing.assert_array_equal(points, kept[1])


def test_the_keyframe_keeps_its_close_points_and_a_repeated_one_does_not():
    keyframe = np.array([[0.5, 0.5, 0, 9, 3], [5, 5, 0, 8, 4]], dtype=np.float32)
    merged = merge_sweeps(PointColumns.of(keyframe), [], 2)
    assert merged.tolist() == [[0.5, 0.5, 0, 9, 0], [5, 5, 0, 8, 0], [5, 5, 0, 8, 0], [5, 5, 0, 8, 0]]


def test_without_any_sweep_wanted_the_keyframe_stands_alone():
    assert len(merge_sweeps(PointColumns.of(cloud(0)), [], 0)) == 50


def test_closeness_is_judged_in_the_sweeps_own_frame():
    shift = np.eye(4)
    shift[0, 3] = 30.0
    points = np.array([[0.5, 0.5, 0, 0, 0], [-30.0, 0.5, 0, 0, 0]], dtype=np.float32)
    nothing = PointColumns.of(np.zeros((0, 5), dtype=np.float32))
    merged = merge_sweeps(nothing, [Sweep(PointColumns.of(points), shift, 0.1)], 9)
    # The first is the own roof though it would come to rest at 30.5 m; the second lands on the sensor and stays.
    np.testing.assert_allclose(merged, [[0.0, 0.5, 0.0, 0.0, 0.1]], atol=1e-6)


@pytest.mark.parametrize(
    ("x", "y", "kept"),
    [(0.99, 0.99, False), (1.0, 0.0, True), (0.0, -1.0, True), (-0.99, 0.0, False), (0.5, 3.0, True), (3.0, 0.5, True)],
)
def test_close_means_both_coordinates(x, y, kept):
    assert len(remove_close(np.array([[x, y, 0, 0, 0]], dtype=np.float32))) == kept


def test_evaluation_takes_the_nearest():
    assert choose_sweeps(10, 9, None) == list(range(9))
    assert choose_sweeps(10, 1, None) == [0]
    assert choose_sweeps(10, 0, None) == []


@pytest.mark.parametrize("available", [0, 3, 9])
@pytest.mark.parametrize("seed", [None, 0])
def test_fewer_sweeps_are_all_taken(available, seed):
    rng = None if seed is None else np.random.default_rng(seed)
    assert choose_sweeps(available, 9, rng) == list(range(available))


def test_training_leaves_each_sweep_out_equally_often():
    rng = np.random.default_rng(0)
    draws = [choose_sweeps(10, 9, rng) for _ in range(4000)]
    assert all(draw == sorted(set(draw)) and len(draw) == 9 for draw in draws)
    left_out = np.bincount([(set(range(10)) - set(draw)).pop() for draw in draws], minlength=10)
    assert left_out.min() > 320
    assert left_out.max() < 480
