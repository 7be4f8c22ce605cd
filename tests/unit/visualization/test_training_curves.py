from __future__ import annotations

import numpy as np

from lidar_mt.visualization.training_curves import draw_training_curves

RATE = [(step, float(abs(np.sin(step)))) for step in range(200)]


def test_a_schedule_is_drawn_as_it_is_and_a_loss_is_smoothed() -> None:
    figure = draw_training_curves(
        {"loss": {"a": RATE}, "learning rate": {"b": RATE}}, "float", exact=("learning rate",)
    )
    loss, rate = figure.axes
    assert rate.get_title() == "learning rate"
    (line,) = rate.lines
    assert np.array_equal(np.column_stack(line.get_data()), np.array(RATE))
    assert loss.get_title() == "loss, mean of 25 points"
    raw, smoothed = loss.lines
    assert np.array_equal(raw.get_ydata(), line.get_ydata())
    assert np.ptp(smoothed.get_ydata()) < 0.5 * np.ptp(raw.get_ydata())


def test_a_single_validation_is_a_point() -> None:
    figure = draw_training_curves({"validation": {"val/NDS": [(500, 0.4)], "val/mIoU": [(500, 0.9)]}}, "float")
    (axes,) = figure.axes
    for line, value in zip(axes.lines, (0.4, 0.9), strict=True):
        assert (line.get_xdata().tolist(), line.get_ydata().tolist()) == ([500], [value])
        assert line.get_marker() == "o"
        assert line.get_markersize() > 3
    assert axes.get_title() == "validation"
    low, high = axes.get_xlim()
    assert low == 0 < 500 < high
