from __future__ import annotations

import math
from dataclasses import replace

import pytest

from lidar_mt.quantization.compare import Difference
from lidar_mt.visualization.figure import to_image_tensor
from lidar_mt.visualization.parity_layers import draw_layers, part_of

EQUAL = Difference(8, 0.0, 0.0, math.inf, 1.0, (0.0, 1.0), (0.0, 1.0), lsb=0.1, differing_codes=0, max_code=0)
CODES = replace(EQUAL, max_abs=0.2, sqnr_db=21.5, differing_codes=2, max_code=3)
SPLIT = replace(CODES, sqnr_db=-4.0, differing_codes=None, max_code=None, clipped=0.5, rounding_rms=0.25)
SPLIT = replace(SPLIT, clipping_rms=0.0, inherited_rms=2.0)
REAL = replace(EQUAL, max_abs=0.1, sqnr_db=30.0, lsb=None, differing_codes=None, max_code=None)


def heights(axes):
    return [(round(bar.get_y() + bar.get_height(), 3), bar.get_facecolor()[3]) for bar in axes.patches]


def texts(figure):
    return [text.get_text() for text in figure.texts]


def test_bars_are_the_values_and_what_is_equal_is_pale():
    layers = {"scatter": EQUAL, "backbone.stem.conv": CODES, "backbone.levels.level1.0.conv": EQUAL}
    figure = draw_layers(layers, {"segmentation": REAL}, ("one", "other"))
    sqnr, codes = figure.axes
    assert heights(sqnr) == [(60, 0.35), (21.5, 1), (60, 0.35), (30, 1)]
    assert [bar.get_height() for bar in codes.patches[:3]] == [0, 25, 0]
    (largest,) = (line for line in codes.lines if line.get_label().startswith("largest"))
    assert list(largest.get_ydata())[:3] == [0, 3, 0]
    assert {"encoder", "stem", "level1", "outputs"} <= {text.get_text() for text in codes.texts}
    assert texts(figure)[-1] == "one against other: 3 layers, 1 outputs"
    assert texts(figure)[:5] == ["lowest SQNR", "backbone.stem.conv", "21.5 dB", "outputs.segmentation", "30.0 dB"]
    assert "equal to the bit, 2 of 4" in sqnr.texts[0].get_text()
    assert to_image_tensor(figure).shape[0] == 3


def test_a_split_error_takes_the_place_of_codes_and_the_scale_reaches_down():
    figure = draw_layers({"neck.a": SPLIT, "neck.b": SPLIT}, {}, ("a", "b"))
    sqnr, split = figure.axes
    assert sqnr.get_ylim()[0] < -4
    lines = {line.get_label(): list(line.get_ydata()) for line in split.lines if not line.get_label().startswith("_")}
    assert lines["rounding"] == [0.25, 0.25]
    assert lines["inherited"] == [2, 2]
    assert all(math.isnan(value) for value in lines["clipping"])
    to_image_tensor(figure)


@pytest.mark.parametrize("sqnr_db", [math.nan, -math.inf])
def test_undefined_values_are_marked_and_outputs_alone_have_one_panel(sqnr_db):
    figure = draw_layers({}, {"x": replace(REAL, max_abs=math.nan, sqnr_db=sqnr_db), "y": REAL}, ("a", "b"))
    (axes,) = figure.axes
    assert [line.get_marker() for line in axes.lines if len(line.get_xdata()) == 1 and line.get_marker() == "x"] == [
        "x"
    ]
    to_image_tensor(figure)


def test_nothing_differs_is_said():
    assert "nothing differs" in texts(draw_layers({"scatter": EQUAL}, {}, ("a", "b")))


def test_parts_of_any_network():
    assert [part_of(name) for name in ("backbone.stem.0", "backbone.block.1", "heads.x.y", "outputs.reg")] == [
        "stem",
        "backbone",
        "x",
        "outputs",
    ]
