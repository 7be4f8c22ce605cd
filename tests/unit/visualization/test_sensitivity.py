from __future__ import annotations

import math

import pytest
from matplotlib.colors import to_hex

from lidar_mt.visualization import palette
from lidar_mt.visualization.figure import save_figure
from lidar_mt.visualization.sensitivity import draw_sensitivity


def test_bars_end_at_the_values_and_grow_with_the_noise(tmp_path):
    values = {"segmentation": [21.0, math.inf, 44.0], "detection": [20.0, 36.0, math.inf]}
    figure = draw_sensitivity(["stem", "encoder", "a.rather.long.name.of.a.layer"], values, 19.0, "title")
    (axes,) = figure.axes
    bars = {(round(bar.get_y()), to_hex(bar.get_facecolor())): bar for bar in axes.patches}
    assert len(bars) == 4, "a layer that does not reach a task has no bar"
    teal, orange = palette.SURFACE_COLORS["driveable_surface"], palette.CLASS_COLORS["car"]
    ends = {key: bar.get_x() + bar.get_width() for key, bar in bars.items()}
    assert sorted(ends.values()) == pytest.approx([20.0, 21.0, 36.0, 44.0])
    assert {colour for _, colour in ends} == {teal, orange}
    lengths = {ends[key]: abs(bar.get_width()) for key, bar in bars.items()}
    assert sorted(lengths, key=lengths.get, reverse=True) == pytest.approx([20.0, 21.0, 36.0, 44.0])
    assert axes.lines[0].get_xdata()[0] == 19.0
    save_figure(figure, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000


def test_nothing_disturbed_at_all():
    figure = draw_sensitivity(["only"], {"map": [math.inf]}, math.inf, "title")
    assert not figure.axes[0].patches
