"""Segmentation beside its truth: what is painted where, and the figures in the legend."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lidar_mt.structures.classes import DETECTION_CLASSES, Classes
from lidar_mt.structures.grid import Grid
from lidar_mt.visualization import palette
from lidar_mt.visualization.figure import to_image_tensor
from lidar_mt.visualization.surfaces import draw_surfaces

GRID = Grid((-51.2, -51.2, -5.0, 51.2, 51.2, 3.0), (1.6, 1.6, 8.0))
CLASSES = Classes(DETECTION_CLASSES, tuple((name,) for name in DETECTION_CLASSES), ("others", "driveable_surface"))
OTHERS, ROAD, UNKNOWN = 0, 1, -1


def at(axes, x_m, y_m):
    """Colour of the painted image at a place in metres."""
    (image,) = axes.images
    pixels = np.asarray(image.get_array())
    row, column = int((51.2 - y_m) / 102.4 * len(pixels)), int((x_m + 51.2) / 102.4 * pixels.shape[1])
    return pixels[row, column].tolist()


def rows_of(axes):
    lines = {}
    for text in axes.texts:
        x, y = text.get_position()
        lines.setdefault(y, []).append((x, text.get_text()))
    return [[text for _, text in sorted(line)] for line in lines.values()]


def test_quarters_have_the_colours_of_what_they_are():
    truth, predicted = np.full((2, 64, 64), OTHERS)
    truth[32:, :32] = ROAD  # forward left: missed
    predicted[:32, 32:] = ROAD  # behind right: false
    truth[32:, 32:] = UNKNOWN  # forward right: whatever is predicted there is not judged
    predicted[32:, 32:] = ROAD
    figure = draw_surfaces(torch.from_numpy(predicted), truth, GRID, CLASSES, "a sample")
    shown_truth, shown_prediction, mistakes = figure.axes[:3]
    road = palette.rgb(palette.SURFACE_COLORS["driveable_surface"]).tolist()
    nothing = palette.rgb(palette.PANEL).tolist()
    assert at(shown_truth, -30, 30) == road
    assert at(shown_truth, 30, 30) == nothing
    assert at(shown_truth, 30, -30) not in (road, nothing)
    assert at(shown_prediction, 30, -30) == road
    assert at(mistakes, -30, 30) == palette.rgb(palette.MISSED).tolist()
    assert at(mistakes, 30, -30) == palette.rgb(palette.FALSE_ALARM).tolist()
    assert at(mistakes, 30, 30) == nothing
    assert at(mistakes, -30, -30) not in (road, nothing)

    third = "33.3"
    rows = rows_of(figure.axes[3])
    assert ["driveable surface", third, third] in rows
    assert [["right", third], ["missed", third], ["false", third]] == [row for row in rows if row[0] in MISTAKES]
    assert ["driveable surface", "0.0"] in rows  # IoU
    assert ["others", third] in rows
    assert [axes.get_xlabel() for axes in (shown_truth, shown_prediction, mistakes)] == ["x, right [m]"] * 3


MISTAKES = ("right", "missed", "false")


def test_a_sample_without_a_known_cell_is_drawn():
    unknown = np.full((64, 64), UNKNOWN)
    image = to_image_tensor(draw_surfaces(np.full((64, 64), ROAD), unknown, GRID, CLASSES))
    assert image.float().std() > 0


def test_maps_must_agree():
    with pytest.raises(ValueError, match="differ in shape"):
        draw_surfaces(np.zeros((64, 64)), np.zeros((32, 32)), GRID, CLASSES)
