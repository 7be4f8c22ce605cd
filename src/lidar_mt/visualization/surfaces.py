"""The BEV segmentation of one sample beside its truth, and where the two differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from torch import Tensor

from lidar_mt.structures.classes import Classes
from lidar_mt.structures.grid import Grid
from lidar_mt.visualization import bev_axes, bev_raster, palette
from lidar_mt.visualization.legend import Legend
from lidar_mt.visualization.panels import map_panels

_MAP_PX = 560
_UNDRAWN, _RIGHT = "#3c475a", "#5d6b80"


def draw_surfaces(
    prediction: Tensor | npt.NDArray[Any],
    truth: Tensor | npt.NDArray[Any],
    grid: Grid,
    classes: Classes,
    title: str = "",
) -> Figure:
    """Draws the true labels, the predicted ones and the mistakes, forward up; cells without truth stay empty.

    Args:
        prediction: (H, W) predicted BEV labels, row 0 at the smallest y.
        truth: (H, W) true BEV labels, -1 where unknown.
        grid: the range that is shown.
        classes: names of labels.
        title: text above the picture.

    Returns:
        A figure for `save_figure` or `to_image_tensor`.

    Raises:
        ValueError: the two maps differ in shape.
    """
    predicted, labels = _numpy(prediction), _numpy(truth)
    if predicted.shape != labels.shape:
        raise ValueError(f"surfaces: prediction {predicted.shape} and truth {labels.shape} differ in shape")
    shape = bev_raster.image_shape(grid, _MAP_PX)
    colors = palette.surface_colors(classes.segmentation)
    known = labels >= 0
    right = np.where(known & (predicted == labels), 0, -1)
    images = [bev_raster.background(shape) for _ in range(3)]
    filled = [color or _UNDRAWN for color in colors]
    bev_raster.paint_surfaces(images[0], labels, filled, 1.0)
    bev_raster.paint_surfaces(images[1], predicted, filled, 1.0)
    bev_raster.paint_surfaces(images[2], right, [_RIGHT], 1.0)
    bev_raster.paint_surface_errors(images[2], predicted, labels, colors, 1.0)

    figure, panels, legend = map_panels(shape, 3, title)
    for axes, image, name in zip(panels, images, ("Truth", "Prediction", "Mistakes"), strict=True):
        bev_axes.draw_map(axes, image, grid)
        bev_axes.name_panel(axes, name)
        if name != "Truth":
            axes.set(ylabel="", yticklabels=[])
    _write(legend, classes, predicted, labels)
    return figure


def _write(legend: Legend, classes: Classes, predicted: npt.NDArray[Any], truth: npt.NDArray[Any]) -> None:
    known = truth >= 0
    total = max(1, int(known.sum()))

    def share(mask: npt.NDArray[np.bool_]) -> str:
        return f"{100 * (mask & known).sum() / total:.1f}"

    legend.heading("Surface, % of known", ["truth", "pred."])
    colors = palette.surface_colors(classes.segmentation)
    for label, (name, color) in enumerate(zip(classes.segmentation, colors, strict=True)):
        legend.row(name.replace("_", " "), color or _UNDRAWN, [share(truth == label), share(predicted == label)])
    legend.row("unknown, not scored", palette.GRID_LINE, outline=True)
    legend.heading("Mistakes, % of known")
    drawn = np.array([color is not None for color in colors] + [False])
    wrong = (predicted != truth) & known
    legend.row("right", _RIGHT, [share(~wrong)])
    legend.row("missed", palette.MISSED, [share(wrong & drawn[truth])])
    legend.row("false", palette.FALSE_ALARM, [share(wrong & drawn[predicted] & ~drawn[truth])])
    legend.heading("IoU in this sample, %")
    for label, (name, color) in enumerate(zip(classes.segmentation, colors, strict=True)):
        both, either = (predicted == label) & (truth == label), ((predicted == label) | (truth == label)) & known
        iou = f"{100 * both.sum() / either.sum():.1f}" if either.any() else "-"
        legend.row(name.replace("_", " "), color or _UNDRAWN, [iou])


def _numpy(values: Tensor | npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
