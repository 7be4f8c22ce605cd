"""Precision over recall: one panel per class, lines that end where the detector does, dots at the score."""

from __future__ import annotations

import numpy as np
import pytest

from lidar_mt.metrics.curve_file import PrecisionRecall
from lidar_mt.visualization.figure import to_image_tensor
from lidar_mt.visualization.precision_recall import draw_precision_recall

RECALL = np.linspace(0, 1, 101)


def curve(reached):
    """Score and precision fall from 1 to 0.2 until `reached`, the last index with a score."""
    falling = np.where(np.arange(101) <= reached, 1 - 0.8 * np.arange(101) / reached, 0)
    return PrecisionRecall(RECALL, falling, falling)


def test_lines_end_at_the_highest_recall_and_dots_lie_at_the_score():
    curves = {("car", 0.5): curve(40), ("car", 2.0): curve(80), ("bus", 0.5): curve(10)}
    figure = draw_precision_recall(curves, ["car", "bus", "trailer"], {"car": 0.425}, score_threshold=0.6)
    car, bus, trailer, legend = figure.axes
    strict, strict_dot, lenient, lenient_dot = car.lines
    assert strict.get_xdata()[-1] == pytest.approx(0.40)
    assert lenient.get_xdata()[-1] == pytest.approx(0.80)
    assert strict.get_linestyle() != lenient.get_linestyle()
    assert strict_dot.get_xydata().tolist() == [[pytest.approx(0.20), pytest.approx(0.6)]]
    assert lenient_dot.get_xydata().tolist() == [[pytest.approx(0.40), pytest.approx(0.6)]]
    assert len(bus.lines) == 2
    assert not trailer.lines
    assert car.get_title(loc="left") == "car  AP 42.5 %"
    assert trailer.get_title(loc="left") == "trailer"
    assert {"0.5 m", "2 m", "score 0.6"} <= {text.get_text() for text in legend.texts}


def test_a_class_that_is_never_found_has_an_empty_panel():
    nothing = PrecisionRecall(RECALL, np.zeros(101), np.zeros(101))
    figure = draw_precision_recall({("car", 0.5): nothing}, ["car"])
    assert not figure.axes[0].lines
    assert to_image_tensor(figure).float().std() > 0


@pytest.mark.parametrize("count", [0, 1, 5, 6, 10])
def test_panels_do_not_overlap(count):
    figure = draw_precision_recall({}, [f"class {i}" for i in range(count)])
    image = to_image_tensor(figure)
    assert image.shape[0] == 3
    places = [axes.get_position() for axes in figure.axes[:-1]]
    assert len(places) == count
    assert len({(round(place.x0, 4), round(place.y0, 4)) for place in places}) == count
