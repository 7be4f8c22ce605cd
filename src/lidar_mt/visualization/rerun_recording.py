"""Frames as a recording for the Rerun viewer (extra `viz`): `rerun FILE.rrd` opens it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lidar_mt.structures.boxes import BOX_SIZE, VX, YAW, H, L, W
from lidar_mt.structures.classes import Classes
from lidar_mt.structures.errors import ConfigError
from lidar_mt.structures.grid import Grid
from lidar_mt.structures.outputs import Detections
from lidar_mt.visualization import palette
from lidar_mt.visualization.viewer_page import ROAD_M

Array = Tensor | npt.NDArray[Any]

_POINT_RADIUS_M = 0.03
_OPACITY = 90


class RerunRecording:
    """Writes frames into a `.rrd` file, one after the other on the timeline `frame`.

    Args:
        path: the file; complete after `close`.
        grid: range of the surface maps.
        classes: names of boxes and surfaces.

    Raises:
        ConfigError: rerun-sdk is not installed.
    """

    def __init__(self, path: Path, grid: Grid, classes: Classes) -> None:
        try:
            import rerun
        except ImportError as error:
            raise ConfigError(f"rrd=true needs rerun-sdk ({error}); run `pip install lidar_mt[viz]`") from error
        self._rerun: Any = rerun
        self._path, self._grid, self._classes = path, grid, classes
        self._colors = np.stack([palette.rgb(color) for color in palette.class_colors(classes.detection)])
        self._frames = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = path.with_name(f".{path.name}.tmp")
        self._stream: Any = rerun.RecordingStream("lidar_mt")
        self._stream.save(self._temporary)
        self._stream.log("/", rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)

    def add(self, name: str, points: Array, detections: Detections | None, segmentation: Array | None) -> None:
        """Adds a frame; the arguments are those of `ViewerPage.add`."""
        self._stream.set_time("frame", sequence=self._frames)
        self._frames += 1
        self._log("name", self._rerun.TextDocument(name))
        cloud = _numpy(points)
        colors = palette.height_colors(cloud[:, 2])
        self._log("points", self._rerun.Points3D(cloud[:, :3], colors=colors, radii=_POINT_RADIUS_M))
        if detections is not None:
            self._log_boxes(*(_numpy(value) for value in detections))
        if segmentation is not None:
            self._log_surface(_numpy(segmentation))

    def close(self) -> Path:
        """Completes the file; returns its path."""
        self._stream.flush(blocking=True)
        self._stream.disconnect()
        self._temporary.replace(self._path)
        return self._path

    def discard(self) -> None:
        """Leaves nothing behind; an older recording stays as it is."""
        self._stream.disconnect()
        self._temporary.unlink(missing_ok=True)

    def _log(self, entity: str, content: Any) -> None:
        self._stream.log(f"lidar/{entity}", content)

    def _log_boxes(self, boxes: npt.NDArray[Any], scores: npt.NDArray[Any], labels: npt.NDArray[Any]) -> None:
        boxes = boxes.reshape(-1, BOX_SIZE)
        half = boxes[:, YAW, None] / 2
        zero = np.zeros_like(half)
        colors, names = self._colors[labels], self._classes.detection
        self._log(
            "boxes",
            self._rerun.Boxes3D(
                centers=boxes[:, :3],
                half_sizes=boxes[:, [L, W, H]] / 2,  # length lies along the box's own x
                quaternions=np.concatenate([zero, zero, np.sin(half), np.cos(half)], axis=1),
                colors=colors,
                labels=[f"{names[label]} {score:.2f}" for label, score in zip(labels, scores, strict=True)],
                show_labels=False,
            ),
        )
        velocity = np.nan_to_num(np.concatenate([boxes[:, VX:], zero], axis=1))
        self._log("velocity", self._rerun.Arrows3D(origins=boxes[:, :3], vectors=velocity, colors=colors))

    def _log_surface(self, labels: npt.NDArray[Any]) -> None:
        """A flat point of a cell's size for every cell that is drawn."""
        x0, y0, _, x1, y1, _ = self._grid.point_cloud_range
        side = (x1 - x0) / labels.shape[1], (y1 - y0) / labels.shape[0]
        centres, colors = [], []
        for label, color in enumerate(palette.surface_colors(self._classes.segmentation)):
            if color is None:
                continue
            rows, columns = np.nonzero(labels == label)
            x, y = x0 + (columns + 0.5) * side[0], y0 + (rows + 0.5) * side[1]
            centres.append(np.stack([x, y, np.full(len(x), ROAD_M)], axis=1))
            colors.append(np.tile([*palette.rgb(color), _OPACITY], (len(x), 1)))
        if centres:
            places, shades = np.concatenate(centres), np.concatenate(colors).astype(np.uint8)
            self._log("surface", self._rerun.Points3D(places, colors=shades, radii=max(side) / 2))


def _numpy(values: Array) -> npt.NDArray[Any]:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
