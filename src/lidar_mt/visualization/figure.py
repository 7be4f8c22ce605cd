"""Figures without a display and without matplotlib's global state."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from lidar_mt.visualization import palette

DPI = 100


def new_figure(width_px: int, height_px: int) -> Figure:
    """An empty dark figure of exactly this many pixels, bound to the Agg canvas."""
    figure = Figure(figsize=(width_px / DPI, height_px / DPI), dpi=DPI, facecolor=palette.BACKGROUND)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Writes a figure as PNG; the file appears complete or not at all.

    Args:
        figure: a figure of this package.
        path: where to; missing folders are created, an existing file is replaced.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Same folder as the target: a rename is atomic only within one file system.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            figure.savefig(file, format="png", dpi=DPI, facecolor=figure.get_facecolor())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def to_image_tensor(figure: Figure) -> Tensor:
    """Renders a figure for TensorBoard's `add_image`.

    Args:
        figure: a figure of this package.

    Returns:
        (3, H, W) uint8, red green blue, row 0 at the top.
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    rgba = np.asarray(canvas.buffer_rgba(), dtype=np.uint8)
    return torch.from_numpy(np.ascontiguousarray(rgba[:, :, :3].transpose(2, 0, 1)))
