"""The painted image against slow loops over points and cells."""

from __future__ import annotations

import numpy as np
import pytest

from lidar_mt.structures.grid import Grid
from lidar_mt.visualization import bev_raster, palette

GRID = Grid((0.0, -6.4, -5.0, 12.8, 6.4, 3.0), (0.2, 0.2, 8.0))
GROUND = tuple(palette.rgb(palette.PANEL))


def slow_points(shape, points, grid, dot):
    """One point after the other, lowest first; sweeps at half strength below the keyframe."""
    x0, y0, _, x1, y1, _ = grid.point_cloud_range
    image = bev_raster.background(shape).astype(float)
    for keyframe, opacity in ((False, 0.5), (True, 1.0)):
        below = image.copy()
        chosen = [p for p in points if (p[4] == 0) == keyframe]
        # A dot's later pixels cover earlier ones of every other point, as long as all dots are 1 pixel.
        for p in sorted(chosen, key=lambda p: p[2]):
            if not (x0 <= p[0] < x1 and y0 < p[1] <= y1):
                continue
            row, column = int((y1 - p[1]) / (y1 - y0) * shape[0]), int((p[0] - x0) / (x1 - x0) * shape[1])
            color = palette.height_colors(np.array([p[2]]))[0]
            image[row, column] = np.round(below[row, column] + (color - below[row, column]) * opacity)
    assert dot == 1
    return image.astype(np.uint8)


def painted(image):
    return {tuple(int(v) for v in at) for at in np.argwhere((image != GROUND).any(axis=2))}


def test_image_shape_keeps_the_aspect():
    wide = Grid((-51.2, -12.8, -5.0, 51.2, 12.8, 3.0), (0.2, 0.2, 8.0))
    assert bev_raster.image_shape(wide, 1000) == (250, 1000)
    assert bev_raster.image_shape(GRID, 640) == (640, 640)


def test_forward_is_up_and_right_is_right():
    image = bev_raster.background((64, 64))
    # 1.0 m right of the left border and 0.3 m below the front border; pixels of 0.2 m, a dot of 2 x 2.
    bev_raster.paint_points(image, np.array([[1.1, 6.1, 0.0, 9.0]]), GRID)
    assert painted(image) == {(1, 5), (1, 6), (2, 5), (2, 6)}


def test_points_equal_a_slow_loop(monkeypatch):
    monkeypatch.setattr(bev_raster, "_SPARSE_POINTS", 0)
    rng = np.random.default_rng(3)
    points = np.column_stack(
        [rng.uniform(-3, 16, 3000), rng.uniform(-9, 9, 3000), rng.permutation(3000) / 400 - 3, np.zeros(3000)]
    )
    points = np.column_stack([points, rng.choice([0.0, 0.05, 0.45], 3000)])
    image = bev_raster.background((50, 50))
    bev_raster.paint_points(image, points, GRID)
    np.testing.assert_array_equal(image, slow_points((50, 50), points, GRID, dot=1))


def test_points_outside_or_not_finite_leave_no_trace():
    bad = [[-0.01, 0, 0], [12.9, 0, 0], [5, 6.5, 0], [5, -6.5, 0], [np.nan, 0, 0], [5, np.inf, 0], [5, 0, np.nan]]
    image = bev_raster.background((64, 64))
    bev_raster.paint_points(image, np.array([[*p, 1.0] for p in bad]), GRID)
    assert painted(image) == set()
    bev_raster.paint_points(image, np.zeros((0, 5)), GRID)
    assert painted(image) == set()


def test_dots_at_the_border_stay_inside():
    image = bev_raster.background((64, 64))
    bev_raster.paint_points(image, np.array([[12.79, -6.39, 0.0, 0.0]]), GRID)
    assert painted(image) == {(63, 63)}


@pytest.mark.parametrize("shape", [(64, 64), (16, 32)])
def test_surfaces_follow_the_cells_at_any_resolution(shape):
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, 3, shape)
    colors = [None, "#ff0000", "#00ff00"]
    image = bev_raster.background((128, 128))
    bev_raster.paint_surfaces(image, labels, colors, 1.0)
    for row in range(128):
        for column in range(128):
            label = labels[(127 - row) * shape[0] // 128, column * shape[1] // 128]
            expected = {1: (255, 0, 0), 2: (0, 255, 0)}.get(int(label), GROUND)
            assert tuple(image[row, column]) == expected


def test_surface_is_translucent():
    image = np.full((2, 2, 3), 100, dtype=np.uint8)
    bev_raster.paint_surfaces(image, np.ones((2, 2), dtype=int), [None, "#c80000"], 0.25)
    assert image[0, 0].tolist() == [125, 75, 75]


def test_errors_are_judged_only_where_the_truth_is_known():
    #                     right right missed false  unknown unknown
    predicted = np.array([[0, 1, 0, 1, 0, 1]])
    truth = np.array([[0, 1, 1, 0, -1, -1]])
    image = bev_raster.background((1, 6))
    bev_raster.paint_surface_errors(image, predicted, truth, [None, "#00ff00"])
    assert painted(image) == {(0, 2), (0, 3)}
    red, yellow = image[0, 2].astype(int), image[0, 3].astype(int)
    assert abs(red - palette.rgb(palette.MISSED).astype(int)).max() < 64
    assert abs(yellow - palette.rgb(palette.FALSE_ALARM).astype(int)).max() < 64


def test_confusing_two_surfaces_counts_as_missed():
    image = bev_raster.background((1, 1))
    bev_raster.paint_surface_errors(image, np.array([[1]]), np.array([[2]]), [None, "#00ff00", "#0000ff"])
    assert abs(image[0, 0].astype(int) - palette.rgb(palette.MISSED).astype(int)).max() < 64
