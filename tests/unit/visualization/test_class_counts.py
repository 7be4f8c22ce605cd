from __future__ import annotations

import numpy as np
from PIL import Image

from lidar_mt.visualization import palette
from lidar_mt.visualization.class_counts import draw_class_counts
from lidar_mt.visualization.figure import save_figure


def bars(figure):
    axes = figure.axes[0]
    return [[patch.get_width() for patch in container] for container in axes.containers]


def test_bars_are_as_long_as_the_counts(tmp_path):
    names = ("car", "bus", "zeppelin")
    before, after = np.array([1000, 10, 0]), np.array([900, 300, 0])
    figure = draw_class_counts(names, before, after, "title")
    assert bars(figure) == [[1000, 10, 0], [900, 300, 0]]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(names)
    save_figure(figure, tmp_path / "counts.png")
    pixels = np.asarray(Image.open(tmp_path / "counts.png").convert("RGB"))
    for name in ("car", "bus"):
        assert (pixels == palette.rgb(palette.CLASS_COLORS[name])).all(axis=2).sum() > 300


def test_nothing_to_draw():
    assert bars(draw_class_counts(("car",), np.array([0]), np.array([0]), "none")) == [[0], [0]]
