"""What an inference run leaves: boxes as JSON and a picture per frame, and one page with all of it in 3D."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lidar_mt.data.frames import Frame
from lidar_mt.data.sensor import Sensor
from lidar_mt.engine.earlier_results import MADE_WITH, PICTURE
from lidar_mt.metrics.json_files import write_json
from lidar_mt.structures.boxes import BOX_SIZE, YAW, W, X, transform_boxes
from lidar_mt.structures.classes import Classes
from lidar_mt.structures.grid import Grid
from lidar_mt.structures.outputs import Detections
from lidar_mt.visualization.bev import draw_bev, save_figure
from lidar_mt.visualization.rerun_recording import RerunRecording
from lidar_mt.visualization.viewer_page import ViewerPage

#: Name of the page in the folder of results.
PAGE = "index.html"
#: And that of the recording.
RECORDING = "frames.rrd"


class FrameWriter:
    """Writes the results of frames.

    Args:
        out: folder of the results; made where it is missing.
        grid: the range that is shown.
        classes: class names.
        sensor: JSON boxes are in its frame, pictures and page in the network's.
        score_threshold: boxes below it are neither written nor drawn.
        pictures: draw a bird's-eye picture of each frame.
        page: collects the frames of the page; None for no page.
        recording: takes every frame for the Rerun viewer, or None.
    """

    def __init__(
        self,
        out: Path,
        grid: Grid,
        classes: Classes,
        sensor: Sensor,
        score_threshold: float,
        pictures: bool = True,
        page: ViewerPage | None = None,
        recording: RerunRecording | None = None,
    ) -> None:
        self._out = out
        self._grid, self._classes, self._sensor = grid, classes, sensor
        self._score_threshold = score_threshold
        self._pictures = pictures
        self._page = page
        self._recording = recording

    def write(
        self,
        name: str,
        frame: Frame,
        predictions: dict[str, Any],
        on_page: bool = True,
        made_with: Mapping[str, Any] | None = None,
        page_key: str = "",
    ) -> int:
        """Adds a frame to the page, and writes `<name>.png` and, when all else is there, `<name>.json`.

        Args:
            name: path below the folder, without an ending.
            frame: the points.
            predictions: of the network by task name, for a batch of this frame alone.
            on_page: add it to the page.
            made_with: goes into the JSON file, see `EarlierResults`.
            page_key: and what goes onto the page.

        Returns:
            Number of boxes.
        """
        detections = _keep(predictions["detection"][0], self._score_threshold) if "detection" in predictions else None
        surface: Tensor | None = predictions["segmentation"][0] if "segmentation" in predictions else None
        boxes = [] if detections is None else to_rows(detections, self._classes, self._sensor)
        if self._pictures:
            figure = draw_bev(
                frame.points,
                self._grid,
                detections,
                self._classes,
                truth_boxes=frame.truth_boxes,
                truth_labels=frame.truth_labels,
                segmentation=surface,
                title=name,
                score_threshold=self._score_threshold,
            )
            save_figure(figure, self._out / f"{name}.png")
        if self._page is not None and on_page:
            truth = (frame.truth_boxes, frame.truth_labels)
            self._page.add(name, frame.points, detections, surface, *truth, made=page_key)
        if self._recording is not None:
            self._recording.add(name, frame.points, detections, surface)
        content: dict[str, Any] = {"points": frame.source, "frame": self._sensor.frame, "boxes": boxes}
        if made_with is not None:
            content |= {MADE_WITH: dict(made_with), PICTURE: self._pictures}
        write_json(self._out / f"{name}.json", content, indent=1)
        return len(boxes)

    def keep(self, shown: dict[str, Any]) -> None:
        """Takes over what an earlier page shows of a frame."""
        if self._page is not None and shown:
            self._page.keep(shown)

    def finish(self, order: Sequence[str] = ()) -> Path | None:
        """Writes the page and completes the recording.

        Args:
            order: names of all frames, as the page shall show them.

        Returns:
            Where the page lies, None without one.
        """
        if self._recording is not None:
            self._recording.close()
        return None if self._page is None else self._page.save(self._out / PAGE, order)

    def stop(self, order: Sequence[str] = ()) -> None:
        """Writes the page with the frames so far, and leaves no unfinished recording behind."""
        if self._recording is not None:
            self._recording.discard()
        if self._page is not None and self._page.count:
            self._page.save(self._out / PAGE, order)


def to_rows(detections: Detections, classes: Classes, sensor: Sensor | None = None) -> list[dict[str, Any]]:
    """Boxes as plain values, best score first.

    Args:
        detections: decoded boxes of one sample, in the network's frame.
        classes: class names.
        sensor: whose frame the boxes are wanted in; None keeps the network's.

    Returns:
        One mapping per box: class, score, center [m], size_wlh [m], yaw [rad] from +x, velocity [m/s].
    """
    boxes = detections.boxes.detach().cpu().double().numpy().reshape(-1, BOX_SIZE)
    if sensor is not None:
        boxes = transform_boxes(boxes, sensor.sensor_from_network)
    rows = []
    for index in torch.argsort(detections.scores, descending=True, stable=True).tolist():
        box = [round(value, 4) for value in boxes[index].tolist()]
        rows.append(
            {
                "class": classes.detection[int(detections.labels[index])],
                "score": round(float(detections.scores[index]), 4),
                "center": box[X : X + 3],
                "size_wlh": box[W : W + 3],
                "yaw": box[YAW],
                "velocity": box[YAW + 1 :],
            }
        )
    return rows


def _keep(detections: Detections, score_threshold: float) -> Detections:
    keep = detections.scores >= score_threshold
    return Detections(*(value[keep] for value in detections))
