"""Heatmap pictures: one pair per class, forward up, honest scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lidar_mt.structures.grid import Grid
from lidar_mt.visualization.figure import to_image_tensor
from lidar_mt.visualization.heatmap import draw_heatmaps

# 16 x 16 head cells of 2 m.
GRID = Grid((-16.0, -16.0, -5.0, 16.0, 16.0, 3.0), (0.5, 0.5, 8.0))


def maps(figure):
    return [axes for axes in figure.axes if axes.images][:-1]  # the last one is the colour scale


def test_pairs_in_order_with_forward_up():
    target, prediction = np.zeros((2, 2, 16, 16), dtype=np.float32)
    target[0, 12, 3] = 1
    target[1, 4, 5] = 0.99  # not a centre
    prediction[0, 12, 3], prediction[1, 2, 2] = 0.75, 0.25
    figure = draw_heatmaps(target, torch.from_numpy(prediction), ["car", "traffic_cone"], GRID, "a sample")
    drawn = maps(figure)
    assert len(drawn) == 4
    for axes, values in zip(drawn, [target[0], prediction[0], target[1], prediction[1]], strict=True):
        (image,) = axes.images
        np.testing.assert_array_equal(image.get_array(), values)
        assert image.origin == "lower"
        assert image.get_extent() == [-16, 16, -16, 16]
        assert image.get_clim() == (0, 1)
    assert [axes.get_title(loc="left") for axes in drawn] == ["car", "", "traffic cone", ""]
    notes = [axes.texts[0].get_text() for axes in drawn]
    assert notes == ["1 object", "max 0.75", "0 objects", "max 0.25"]
    (ring,) = drawn[1].lines
    assert ring.get_xydata().tolist() == [[-9, 9]]  # centre of column 3, row 12 [m]
    assert drawn[3].lines[0].get_xydata().tolist() == []


@pytest.mark.parametrize(("classes", "lines"), [(1, 1), (2, 1), (5, 1), (6, 2), (10, 2)])
def test_classes_wrap_into_lines_without_overlap(classes, lines):
    values = torch.rand(classes, 8, 16, dtype=torch.float64).to(torch.bfloat16)
    figure = draw_heatmaps(values, values, [f"class {i}" for i in range(classes)], GRID)
    to_image_tensor(figure)
    places = [axes.get_position() for axes in figure.axes]
    assert len({round(place.y0, 4) for place in places[:-1]}) == 2 * lines
    for i, a in enumerate(places):
        for b in places[i + 1 :]:
            apart = a.x1 <= b.x0 + 1e-9 or b.x1 <= a.x0 + 1e-9 or a.y1 <= b.y0 + 1e-9 or b.y1 <= a.y0 + 1e-9
            assert apart


def test_a_diverged_prediction_is_still_drawn():
    image = to_image_tensor(draw_heatmaps(np.zeros((1, 8, 8)), np.full((1, 8, 8), np.nan), ["car"], GRID))
    assert image.shape[0] == 3
    assert image.float().std() > 0


@pytest.mark.parametrize(
    ("target", "prediction", "names"),
    [((2, 8, 8), (2, 8, 9), 2), ((2, 8, 8), (2, 8, 8), 3), ((8, 8), (8, 8), 8)],
)
def test_shapes_must_agree(target, prediction, names):
    with pytest.raises(ValueError, match="class names"):
        draw_heatmaps(np.zeros(target), np.zeros(prediction), ["x"] * names, GRID)
