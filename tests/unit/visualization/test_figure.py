"""Saving is atomic, rendering needs no display and no global state."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.image import imread

from lidar_mt.visualization import palette
from lidar_mt.visualization.figure import new_figure, save_figure, to_image_tensor


def test_file_and_tensor_hold_the_same_pixels(tmp_path):
    figure = new_figure(120, 80)
    figure.text(0.1, 0.5, "hello", color="#ffffff")
    save_figure(figure, tmp_path / "a" / "b" / "picture.png")
    from_file = imread(tmp_path / "a" / "b" / "picture.png")[:, :, :3]
    tensor = to_image_tensor(figure)
    assert tensor.shape == (3, 80, 120)
    assert tensor.numpy().dtype == np.uint8
    np.testing.assert_array_equal(tensor.numpy().transpose(1, 2, 0), np.round(from_file * 255).astype(np.uint8))
    assert tensor[:, 0, 0].tolist() == palette.rgb(palette.BACKGROUND).tolist()


def test_saving_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "picture.png"
    path.write_text("old")
    save_figure(new_figure(10, 10), str(path))
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [file.name for file in tmp_path.iterdir()] == ["picture.png"]


def test_a_failed_save_keeps_the_old_file(tmp_path):
    path = tmp_path / "picture.png"
    path.write_text("old")
    broken = new_figure(10, 10)
    broken.text(0.5, 0.5, r"$\unknowncommand{x}$")  # matplotlib refuses it while drawing
    with pytest.raises(ValueError):
        save_figure(broken, path)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["picture.png"]


def test_no_display_and_no_pyplot():
    code = (
        "import sys, lidar_mt.visualization.bev, lidar_mt.visualization.heatmap\n"
        "from lidar_mt.visualization.figure import new_figure, to_image_tensor\n"
        "to_image_tensor(new_figure(10, 10))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "MPLBACKEND")}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)
