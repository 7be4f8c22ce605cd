from __future__ import annotations

import numpy as np
import torch

from lidar_mt.structures.classes import DETECTION_CLASSES, Classes
from lidar_mt.structures.grid import Grid
from lidar_mt.visualization import palette
from lidar_mt.visualization.figure import to_image_tensor
from lidar_mt.visualization.parity_maps import draw_maps

GRID = Grid((-51.2, -51.2, -5.0, 51.2, 51.2, 3.0), (1.6, 1.6, 8.0))
CLASSES = Classes(DETECTION_CLASSES, tuple((name,) for name in DETECTION_CLASSES), ("others", "driveable_surface"))


def notes(axes):
    return [text.get_text() for text in axes.texts]


def test_both_rows_with_their_differences():
    heatmap = torch.zeros(2, 16, 16)
    heatmap[0, 4, 5], heatmap[1, 4, 5] = 0.75, 0.5
    labels = torch.zeros(2, 64, 64, dtype=torch.int64)
    labels[1, :32] = 1  # behind
    figure = draw_maps(heatmap, labels, GRID, CLASSES, ("qat", "int8:openvino"))
    heat = [axes for axes in figure.axes if any("heatmap" in note or "b - a" in note for note in notes(axes))]
    assert len(heat) == 3
    found = [np.asarray(axes.images[-1].get_array()) for axes in heat]
    assert [values[4, 5] for values in found] == [0.75, 0.5, -0.25]
    assert heat[2].images[-1].get_clim() == (-0.25, 0.25)
    assert "largest 0.25" in notes(heat[2])
    (changed,) = (axes for axes in figure.axes if "cells that differ" in notes(axes))
    picture = np.asarray(changed.images[0].get_array())
    assert picture[-5, 5].tolist() == palette.rgb(palette.MISSED).tolist()
    assert picture[5, 5].tolist() != palette.rgb(palette.MISSED).tolist()
    assert "2,048 of 4,096 cells, 50 %" in notes(changed)
    assert to_image_tensor(figure).shape[0] == 3


def test_one_task_alone_and_equal_forms():
    figure = draw_maps(torch.full((2, 16, 16), 0.25), None, GRID, CLASSES, ("a", "b"))
    assert any("equal" in notes(axes) for axes in figure.axes)
    assert len(figure.axes) == 4  # three maps and a scale
    figure = draw_maps(None, torch.zeros(2, 64, 64, dtype=torch.int64), GRID, CLASSES, ("a", "b"))
    assert len(figure.axes) == 3
    to_image_tensor(figure)
