"""Whole pictures: what is drawn where, with which colour, and what the legend says."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_hex

from lidar_mt.data.point_file import read_point_file
from lidar_mt.structures.classes import DETECTION_CLASSES, Classes
from lidar_mt.structures.grid import Grid
from lidar_mt.structures.outputs import Detections
from lidar_mt.visualization import palette
from lidar_mt.visualization.bev import draw_bev, draw_comparison, to_image_tensor

GRID = Grid((-51.2, -51.2, -5.0, 51.2, 51.2, 3.0), (0.2, 0.2, 8.0))
CLASSES = Classes(DETECTION_CLASSES, tuple((name,) for name in DETECTION_CLASSES), ("others", "driveable_surface"))
NO_POINTS = np.zeros((0, 5), dtype=np.float32)
CAR, PEDESTRIAN = 0, 8


def boxes(*rows):
    return np.array([[x, y, 0, w, length, 1.5, yaw, 0, 0] for x, y, w, length, yaw in rows], dtype=np.float32)


def detections(rows, scores, labels):
    return Detections(torch.from_numpy(rows), torch.tensor(scores), torch.tensor(labels))


def polygons(axes):
    """(vertices, edge colour, filled) of each drawn box."""
    found = []
    for collection in axes.collections:
        if isinstance(collection, PolyCollection):
            edges = collection.get_edgecolor()
            for i, path in enumerate(collection.get_paths()):
                color = to_hex(edges[i % len(edges)])
                found.append((path.vertices[:4], color, len(collection.get_facecolor()) > 0))
    return found


def noses(axes):
    lines = [c for c in axes.collections if isinstance(c, LineCollection)]
    return [segment for collection in lines for segment in collection.get_segments()]


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def legend_rows(figure):
    """Texts of the legend line by line, left to right."""
    lines = {}
    for text in figure.axes[-1].texts:
        x, y = text.get_position()
        lines.setdefault(y, []).append((x, text.get_text()))
    return [[text for _, text in sorted(line)] for line in lines.values()]


def same_corners(found, expected):
    return sorted(map(tuple, np.round(found, 3).tolist())) == sorted(map(tuple, expected))


def test_box_corners_and_heading():
    # A car 4 m long and 2 m wide at (10, 20), heading forward (+y).
    figure = draw_bev(NO_POINTS, GRID, detections(boxes((10, 20, 2, 4, math.pi / 2)), [0.9], [CAR]), CLASSES)
    ((corners, color, filled),) = polygons(figure.axes[0])
    assert same_corners(corners, [(9, 18), (9, 22), (11, 18), (11, 22)])
    assert color == palette.CLASS_COLORS["car"]
    assert filled
    (nose,) = noses(figure.axes[0])
    np.testing.assert_allclose(nose, [[10, 20], [10, 22]], atol=1e-5)


def test_low_scores_are_left_out():
    found = detections(boxes((0, 5, 2, 4, 0), (0, 15, 2, 4, 0), (0, 25, 2, 4, 0)), [0.29, 0.3, 0.9], [0, 0, 8])
    figure = draw_bev(NO_POINTS, GRID, found, CLASSES, score_threshold=0.3)
    assert len(polygons(figure.axes[0])) == 2
    assert "all, score ≥ 0.3" in texts(figure)


def test_truth_alone_is_coloured_and_beside_a_prediction_white():
    truth, labels = boxes((10, 20, 2, 4, 0)), np.array([CAR])
    ((_, alone, _),) = polygons(draw_bev(NO_POINTS, GRID, None, CLASSES, truth, labels).axes[0])
    assert alone == palette.CLASS_COLORS["car"]
    found = detections(boxes((-10, 20, 2, 4, 0)), [0.9], [CAR])
    drawn = polygons(draw_bev(NO_POINTS, GRID, found, CLASSES, truth, labels).axes[0])
    assert {(corners[:, 0].mean() > 0, color, filled) for corners, color, filled in drawn} == {
        (True, palette.TRUTH, False),
        (False, palette.CLASS_COLORS["car"], True),
    }


def test_legend_counts_what_is_drawn():
    truth = boxes((0, 5, 2, 4, 0), (0, 15, 2, 4, 0), (5, 5, 1, 1, 0), (500, 0, 2, 4, 0), (9, 9, 1, 1, 0))
    found = detections(boxes((0, 5, 2, 4, 0)), [0.9], [CAR])
    figure = draw_bev(NO_POINTS, GRID, found, CLASSES, truth, np.array([CAR, CAR, PEDESTRIAN, CAR, -1]))
    # The far car and the box without a detection class are not in the picture, so they are not counted.
    rows = legend_rows(figure)
    assert ["Boxes", "truth", "pred."] in rows
    assert ["car", "2", "1"] in rows
    assert ["pedestrian", "1", "0"] in rows
    assert ["all, score ≥ 0.3", "3", "1"] in rows
    assert "truck" not in texts(figure)


def test_a_box_that_reaches_into_the_range_is_drawn():
    inside = boxes((52, 0, 2, 4, 0), (54, 0, 2, 4, 0))  # front or rear 2 m from the centre: 50..54 and 52..56
    figure = draw_bev(NO_POINTS, GRID, None, CLASSES, inside, np.array([CAR, CAR]))
    assert len(polygons(figure.axes[0])) == 1


def test_boxes_that_are_not_finite_are_left_out_but_unknown_velocity_is_fine():
    rows = boxes((0, 5, 2, 4, 0), (0, 15, 2, 4, np.nan), (np.inf, 0, 2, 4, 0))
    rows[0, 7:] = np.nan
    figure = draw_bev(NO_POINTS, GRID, None, CLASSES, rows, np.zeros(3, dtype=np.int64))
    assert len(polygons(figure.axes[0])) == 1
    to_image_tensor(figure)


@pytest.mark.parametrize("draw", [draw_bev, draw_comparison])
def test_empty_inputs_give_a_picture(draw):
    empty = detections(np.zeros((0, 9), dtype=np.float32), [], [])
    nothing = draw(np.zeros((0, 4), dtype=np.float32), GRID, None, CLASSES)
    no_boxes = draw(NO_POINTS, GRID, empty, CLASSES, np.zeros((0, 9)), np.zeros(0, dtype=np.int64), title="empty")
    for figure in (nothing, no_boxes):
        assert to_image_tensor(figure).ndim == 3


def test_labels_are_required_with_boxes():
    with pytest.raises(ValueError, match="truth_labels"):
        draw_bev(NO_POINTS, GRID, None, CLASSES, boxes((0, 0, 2, 4, 0)))


def test_the_picture_shows_the_map_pixel_by_pixel():
    # One point 30 m right, 40 m forward; the map is 1000 pixels for 102.4 m.
    image = to_image_tensor(draw_bev(np.array([[30.0, 40.0, 3.0, 0.0]]), GRID, None, CLASSES)).numpy()
    bright = np.argwhere((image == palette.height_colors(np.array([3.0]))[0][:, None, None]).all(axis=0))
    left, top = 60, 56  # the margins of the layout
    expected = np.array([top + math.floor((51.2 - 40) / 0.1024), left + math.floor((30 + 51.2) / 0.1024)])
    on_map = bright[bright[:, 1] < left + 1000]  # the legend's scale ends in the same colour
    np.testing.assert_array_equal(on_map - expected, [[0, 0], [0, 1], [1, 0], [1, 1]])


def test_segmentation_is_flipped_with_the_points():
    labels = torch.zeros(128, 128, dtype=torch.int64)
    labels[96:] = 1  # the quarter farthest forward
    image = draw_bev(NO_POINTS, GRID, None, CLASSES, segmentation=labels).axes[0].images[0].get_array()
    ground = palette.rgb(palette.PANEL)
    assert (image[:250] != ground).any(axis=2).all()
    assert (image[250:] == ground).all()


def test_segmentation_errors_are_explained_only_with_truth():
    labels = np.ones((512, 512), dtype=np.int64)
    assert "missed" not in texts(draw_bev(NO_POINTS, GRID, None, CLASSES, segmentation=labels))
    figure = draw_bev(NO_POINTS, GRID, None, CLASSES, segmentation=labels, segmentation_truth=0 * labels)
    assert {"missed", "false", "driveable surface"} <= set(texts(figure))


def test_comparison_shows_truth_left_and_prediction_right():
    truth, labels = boxes((10, 20, 2, 4, 0)), torch.tensor([CAR])
    found = detections(boxes((-10, 20, 1, 1, 0)), [0.9], [PEDESTRIAN])
    surface = np.ones((512, 512), dtype=np.int64)
    figure = draw_comparison(
        NO_POINTS, GRID, found, CLASSES, torch.from_numpy(truth), labels, segmentation=surface, title="both"
    )
    left, right = figure.axes[:2]
    assert [color for _, color, _ in polygons(left)] == [palette.CLASS_COLORS["car"]]
    assert [color for _, color, _ in polygons(right)] == [palette.CLASS_COLORS["pedestrian"]]
    assert left.get_position().x0 < right.get_position().x0
    assert (left.images[0].get_array() == palette.rgb(palette.PANEL)).all()
    assert (right.images[0].get_array() != palette.rgb(palette.PANEL)).any()


@pytest.mark.parametrize("size", [(51.2, 51.2), (51.2, 12.8), (6.4, 51.2)])
def test_other_ranges_fit_and_the_legend_stays_inside(size):
    x, y = size
    grid = Grid((-x, -y, -5.0, x, y, 3.0), (0.2, 0.2, 8.0))
    truth = np.concatenate([boxes((0, 0, 1, 1, 0))] * 10)
    surface = np.ones((8, 8), dtype=np.int64)
    figure = draw_bev(
        NO_POINTS, grid, detections(truth, [0.9] * 10, list(range(10))), CLASSES, truth, np.arange(10), surface, surface
    )
    image = to_image_tensor(figure)
    position = figure.axes[0].get_position()
    aspect = position.height * image.shape[1] / (position.width * image.shape[2])
    assert aspect == pytest.approx(y / x, rel=0.02)
    renderer = figure.canvas.get_renderer()
    for text in figure.axes[-1].texts:
        box = text.get_window_extent(renderer)
        assert box.y0 >= 0, text
        assert box.y1 <= image.shape[1], text
        assert box.x1 <= image.shape[2], text


def test_ten_sweeps_are_drawn_in_time():
    rng = np.random.default_rng(0)
    points = rng.normal(0, 25, (300_000, 5)).astype(np.float32)
    points[:, 4] = rng.choice([0.0, 0.05, 0.45], len(points))
    surface = rng.integers(0, 2, (512, 512))
    start = time.process_time()
    to_image_tensor(draw_bev(points, GRID, None, CLASSES, segmentation=surface, segmentation_truth=surface))
    assert time.process_time() - start < 1.5


@pytest.mark.nuscenes
@pytest.mark.skipif("LIDAR_MT_NUSCENES" not in os.environ, reason="needs real frames under $LIDAR_MT_NUSCENES")
def test_a_real_frame_lights_up_most_near_the_sensor():
    path = sorted((Path(os.environ["LIDAR_MT_NUSCENES"]) / "samples" / "LIDAR_TOP").glob("*.pcd.bin"))[0]
    image = draw_bev(read_point_file(path), GRID, None, CLASSES).axes[0].images[0].get_array()
    lit = (image != palette.rgb(palette.PANEL)).any(axis=2)
    assert lit[400:600, 400:600].mean() > 3 * lit.mean() > 0.03
