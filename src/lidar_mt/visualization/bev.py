"""Bird's-eye-view pictures: points, boxes with heading, surfaces; forward is up.

Everything dense (points, surfaces) is painted by numpy into one image that matplotlib shows pixel by pixel; only
boxes and text are vector graphics. That keeps a picture of ten sweeps well under a second.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from torch import Tensor

from lidar_mt.structures.classes import Classes
from lidar_mt.structures.grid import Grid
from lidar_mt.structures.outputs import Detections
from lidar_mt.visualization import bev_axes, bev_raster, palette
from lidar_mt.visualization.bev_axes import BoxLayer, visible_boxes
from lidar_mt.visualization.figure import save_figure, to_image_tensor
from lidar_mt.visualization.legend import Legend
from lidar_mt.visualization.panels import map_panels

__all__ = ["draw_bev", "draw_comparison", "save_figure", "to_image_tensor"]

#: Callers hold tensors (on any device) or numpy arrays; both are read.
Array = Tensor | npt.NDArray[Any]

_SINGLE_PX = 1000
_PAIR_PX = 780


def draw_bev(
    points: Array,
    grid: Grid,
    detections: Detections | None,
    classes: Classes,
    truth_boxes: Array | None = None,
    truth_labels: Array | None = None,
    segmentation: Array | None = None,
    segmentation_truth: Array | None = None,
    title: str = "",
    score_threshold: float = 0.3,
) -> Figure:
    """Draws one sample: the prediction in class colours over the truth in thin white; alone, the truth is coloured.

    Args:
        points: (P, >=4) x y z [m] in the LiDAR frame, intensity; a fifth column is the time lag [s].
        grid: the range that is shown.
        detections: decoded boxes, or None.
        classes: names of labels.
        truth_boxes: (N, 9) annotated boxes in the LiDAR frame, or None.
        truth_labels: (N,) index into `classes.detection`; negative ones are not drawn. Needed with `truth_boxes`.
        segmentation: (H, W) predicted BEV labels at any resolution over the grid's range, row 0 at the smallest y.
        segmentation_truth: (H, W) true BEV labels, -1 where unknown. With `segmentation` its mistakes are marked;
            alone it is drawn itself.
        title: text above the picture.
        score_threshold: detections with a lower score are left out.

    Returns:
        A figure for `save_figure` or `to_image_tensor`.
    """
    predicted = None if detections is None else _predicted(detections, score_threshold, grid)
    truth = None if truth_boxes is None else _annotated(truth_boxes, truth_labels, grid)
    surface, surface_truth = _labels(segmentation), _labels(segmentation_truth)
    colors = palette.surface_colors(classes.segmentation)

    image = bev_raster.background(bev_raster.image_shape(grid, _SINGLE_PX))
    cloud = _numpy(points)
    bev_raster.paint_points(image, cloud, grid)
    if surface is not None:
        bev_raster.paint_surfaces(image, surface, colors, bev_raster.SURFACE_OPACITY)
    # True labels exist only in cells with points: what they show goes on top of the points.
    if surface is not None and surface_truth is not None:
        bev_raster.paint_surface_errors(image, surface, surface_truth, colors)
    elif surface_truth is not None:
        bev_raster.paint_surfaces(image, surface_truth, colors, bev_raster.VOTED_OPACITY)

    figure, (axes,), legend = map_panels(image.shape[:2], 1, title)
    bev_axes.draw_map(axes, image, grid)
    if truth is not None and predicted is not None:
        bev_axes.draw_truth(axes, truth)
    colored = truth if predicted is None else predicted
    if colored is not None:
        bev_axes.draw_boxes(axes, colored, palette.class_colors(classes.detection))
    _write_boxes(legend, classes, predicted, truth, score_threshold)
    if truth is not None and predicted is not None:
        legend.row("truth", palette.TRUTH, outline=True)
    if surface is not None or surface_truth is not None:
        _write_surfaces(legend, classes, errors=surface is not None and surface_truth is not None)
    _write_points(legend, cloud)
    return figure


def draw_comparison(
    points: Array,
    grid: Grid,
    detections: Detections | None,
    classes: Classes,
    truth_boxes: Array | None = None,
    truth_labels: Array | None = None,
    segmentation: Array | None = None,
    segmentation_truth: Array | None = None,
    title: str = "",
    score_threshold: float = 0.3,
) -> Figure:
    """Draws the truth at the left and the prediction at the right, both in class colours.

    Args:
        points: as in `draw_bev`; so are all other arguments.
        grid: the range that is shown.
        detections: decoded boxes, or None.
        classes: names of labels.
        truth_boxes: (N, 9) annotated boxes, or None.
        truth_labels: (N,) index into `classes.detection`.
        segmentation: (H, W) predicted BEV labels, or None.
        segmentation_truth: (H, W) true BEV labels, -1 where unknown, or None.
        title: text above the picture.
        score_threshold: detections with a lower score are left out.

    Returns:
        A figure for `save_figure` or `to_image_tensor`.
    """
    predicted = None if detections is None else _predicted(detections, score_threshold, grid)
    truth = None if truth_boxes is None else _annotated(truth_boxes, truth_labels, grid)
    cloud = _numpy(points)
    shape = bev_raster.image_shape(grid, _PAIR_PX)
    colors = palette.surface_colors(classes.segmentation)
    images = [bev_raster.background(shape) for _ in range(2)]
    surface, surface_truth = _labels(segmentation), _labels(segmentation_truth)
    for image in images:
        bev_raster.paint_points(image, cloud, grid)
    if surface is not None:
        bev_raster.paint_surfaces(images[1], surface, colors, bev_raster.SURFACE_OPACITY)
    if surface_truth is not None:
        bev_raster.paint_surfaces(images[0], surface_truth, colors, bev_raster.VOTED_OPACITY)

    figure, panels, legend = map_panels(shape, 2, title)
    for axes, image, boxes, name in zip(panels, images, (truth, predicted), ("Truth", "Prediction"), strict=True):
        bev_axes.draw_map(axes, image, grid)
        bev_axes.name_panel(axes, name)
        if boxes is not None:
            bev_axes.draw_boxes(axes, boxes, palette.class_colors(classes.detection))
    panels[1].set(ylabel="", yticklabels=[])
    _write_boxes(legend, classes, predicted, truth, score_threshold)
    if surface is not None or surface_truth is not None:
        _write_surfaces(legend, classes, errors=False)
    _write_points(legend, cloud)
    return figure


def _numpy(values: Array) -> npt.NDArray[Any]:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _labels(label_map: Array | None) -> npt.NDArray[Any] | None:
    return None if label_map is None else _numpy(label_map)


def _predicted(detections: Detections, score_threshold: float, grid: Grid) -> BoxLayer:
    kept = _numpy(detections.scores) >= score_threshold
    return visible_boxes(_numpy(detections.boxes)[kept], _numpy(detections.labels)[kept], grid)


def _annotated(boxes: Array, labels: Array | None, grid: Grid) -> BoxLayer:
    if labels is None:
        raise ValueError("truth_boxes were given without truth_labels")
    numbers = _numpy(labels)
    return visible_boxes(_numpy(boxes)[numbers >= 0], numbers[numbers >= 0], grid)


def _write_boxes(
    legend: Legend, classes: Classes, predicted: BoxLayer | None, truth: BoxLayer | None, score_threshold: float
) -> None:
    """Classes that occur, with how many boxes of each are drawn."""
    layers = [(name, boxes) for name, boxes in (("truth", truth), ("pred.", predicted)) if boxes is not None]
    if not layers:
        return
    legend.heading("Boxes", [name for name, _ in layers])
    for label, (name, color) in enumerate(zip(classes.detection, palette.class_colors(classes.detection), strict=True)):
        counts = [boxes.count(label) for _, boxes in layers]
        if any(counts):
            legend.row(_spell(name), color, [str(count) for count in counts])
    legend.note("all" if predicted is None else f"all, score ≥ {score_threshold:g}", [str(len(b)) for _, b in layers])


def _write_surfaces(legend: Legend, classes: Classes, errors: bool) -> None:
    legend.heading("Surface")
    for name, color in zip(classes.segmentation, palette.surface_colors(classes.segmentation), strict=True):
        if color is not None:
            legend.row(_spell(name), color)
    if errors:
        legend.row("missed", palette.MISSED)
        legend.row("false", palette.FALSE_ALARM)


def _write_points(legend: Legend, points: npt.NDArray[Any]) -> None:
    legend.heading(f"{len(points):,} points, height")
    legend.height_scale()


def _spell(name: str) -> str:
    return name.replace("_", " ")
