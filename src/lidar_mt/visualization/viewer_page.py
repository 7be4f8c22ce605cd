"""One HTML file that shows the frames of a run in 3D, in any browser and without a network.

`viewer.html` beside this module is the page; what a run adds is one JSON text in it. Points are thinned out and packed:
16 bits per coordinate over a fixed range (steps of millimetres) and 8 bits of intensity, as base64.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lidar_mt.metrics.json_files import write_parts
from lidar_mt.structures.classes import Classes
from lidar_mt.structures.grid import Grid
from lidar_mt.structures.outputs import Detections
from lidar_mt.visualization import palette

Array = Tensor | npt.NDArray[Any]

#: The JSON's place in the template.
_MARK = "@DATA@"
#: Points are shown this far beyond the grid, as a multiple of its sides.
_MARGIN = 0.25
_HEIGHT_RANGE_M = (-10.0, 20.0)
_MAX_CODE = 65535
#: Surfaces are thinned out to at most so many cells along a side.
_SURFACE_CELLS = 256
_MAX_RUN = 255
#: The road, which surfaces are drawn on, in the LiDAR frame [m].
ROAD_M = -1.84


class ViewerPage:
    """Collects frames and writes the page.

    Args:
        title: of the page.
        grid: range of the surface maps.
        classes: names of boxes and surfaces.
        max_points: points of a frame; more are thinned out at random, the same ones in every run.
        notes: what is told beside the title, such as stage and runtime, by name.
        score_threshold: where the page's slider begins.
    """

    def __init__(
        self,
        title: str,
        grid: Grid,
        classes: Classes,
        max_points: int = 40_000,
        notes: Mapping[str, str] | None = None,
        score_threshold: float = 0.3,
    ) -> None:
        x0, y0, _, x1, y1, _ = grid.point_cloud_range
        margin = _MARGIN * max(x1 - x0, y1 - y0)
        self._low = np.array([x0 - margin, y0 - margin, _HEIGHT_RANGE_M[0]])
        self._high = np.array([x1 + margin, y1 + margin, _HEIGHT_RANGE_M[1]])
        self._max_points = max_points
        self._frames: list[dict[str, Any]] = []
        self._content: dict[str, Any] = {
            "title": title,
            "notes": dict(notes or {}),
            "low": self._low.tolist(),
            "high": self._high.tolist(),
            "grid": [x0, y0, x1, y1],
            "road": ROAD_M,
            "threshold": score_threshold,
            "classes": _named(classes.detection, palette.class_colors(classes.detection)),
            "surfaces": _named(classes.segmentation, palette.surface_colors(classes.segmentation)),
            "ramp": {"stops": palette.HEIGHT_STOPS_M, "colors": palette.HEIGHT_COLORS},
        }

    def add(
        self,
        name: str,
        points: Array,
        detections: Detections | None,
        segmentation: Array | None,
        truth_boxes: Array | None = None,
        truth_labels: Array | None = None,
        made: str = "",
    ) -> None:
        """Adds a frame.

        Args:
            name: as it is shown.
            points: (P, >=4) float x y z [m] in the LiDAR frame, intensity [0, 255].
            detections: decoded boxes, or None.
            segmentation: (H, W) BEV labels over the grid's range, row 0 at the smallest y, or None.
            truth_boxes: (N, 9) annotated boxes, or None.
            truth_labels: (N,) their classes; negative ones are left out.
            made: kept with the frame, for who reads it again with `read_frames`.
        """
        cloud = _numpy(points)
        frame: dict[str, Any] = {"name": name, "count": len(cloud), **self._pack_points(cloud)}
        if detections is not None:
            frame["boxes"] = _rows(_numpy(detections.boxes), _numpy(detections.labels), _numpy(detections.scores))
        if segmentation is not None:
            frame["surface"] = _pack_surface(_numpy(segmentation))
        if truth_boxes is not None and truth_labels is not None:
            labels = _numpy(truth_labels)
            frame["truth"] = _rows(_numpy(truth_boxes)[labels >= 0], labels[labels >= 0], None)
        self._frames.append(frame | ({"made": made} if made else {}))

    @property
    def count(self) -> int:
        """Number of frames."""
        return len(self._frames)

    def keep(self, frame: dict[str, Any]) -> None:
        """Adds a frame of an earlier page, as `read_frames` gives it."""
        self._frames.append(frame)

    def save(self, path: Path, order: Sequence[str] = ()) -> Path:
        """Writes the page.

        Args:
            path: of the HTML file; the folder is made, an older file is replaced in one step.
            order: names of the frames; those that are not there stay behind them, as they were added.

        Returns:
            The path.

        Raises:
            DataError: it cannot be written.
        """
        places = {name: place for place, name in enumerate(order)}
        frames = sorted(self._frames, key=lambda frame: places.get(frame["name"], len(places)))
        content = json.dumps({**self._content, "frames": frames}, separators=(",", ":"), allow_nan=False)
        # "</script>" in a file name would end the text within the page.
        text = template().replace(_MARK, content.replace("<", "\\u003c"), 1)
        return write_parts(path, [text.encode()])

    def _pack_points(self, cloud: npt.NDArray[Any]) -> dict[str, Any]:
        inside = np.flatnonzero(((cloud[:, :3] >= self._low) & (cloud[:, :3] <= self._high)).all(axis=1))
        if len(inside) > self._max_points:
            inside = np.sort(np.random.default_rng(0).choice(inside, self._max_points, replace=False))
        share = (cloud[inside, :3] - self._low) / (self._high - self._low)
        codes = np.clip(np.rint(share * _MAX_CODE), 0, _MAX_CODE).astype("<u2")
        intensity = np.clip(np.rint(cloud[inside, 3]), 0, 255).astype(np.uint8)
        return {"xyz": _base64(codes), "intensity": _base64(intensity)}


def template() -> str:
    """The page without data."""
    return resources.files("lidar_mt.visualization").joinpath("viewer.html").read_text(encoding="utf-8")


def read_frames(path: Path) -> dict[str, dict[str, Any]]:
    """The frames of a page by name; none where it is missing or was written by another version."""
    before, _, after = template().partition(_MARK)
    try:
        text = path.read_text(encoding="utf-8")
        if not (text.startswith(before) and text.endswith(after)):
            return {}
        return {frame["name"]: frame for frame in json.loads(text[len(before) : len(text) - len(after)])["frames"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _pack_surface(labels: npt.NDArray[Any]) -> dict[str, Any]:
    """Runs of equal labels, row by row: pairs of label and length, a byte each."""
    step = math.ceil(max(labels.shape) / _SURFACE_CELLS)
    thin = labels[step // 2 :: step, step // 2 :: step]
    flat = np.where(thin < 0, _MAX_RUN, thin).astype(np.uint8).ravel()
    starts = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1])
    pairs: list[int] = []
    for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(flat)], strict=True):
        left = stop - start
        while left > 0:
            pairs += [int(flat[start]), min(left, _MAX_RUN)]
            left -= _MAX_RUN
    return {"shape": list(thin.shape), "runs": _base64(np.array(pairs, dtype=np.uint8))}


def _rows(boxes: npt.NDArray[Any], labels: npt.NDArray[Any], scores: npt.NDArray[Any] | None) -> list[list[float]]:
    """Per box: label, score (1 for truth), then the nine numbers of `structures.boxes`; unknown velocities are 0."""
    certain = np.ones(len(boxes)) if scores is None else scores
    return [
        [int(label), round(float(score), 3), *(round(value, 3) for value in np.nan_to_num(box).tolist())]
        for label, score, box in zip(labels, certain, boxes.astype(np.float64), strict=True)
    ]


def _named(names: tuple[str, ...], colors: tuple[str | None, ...]) -> list[dict[str, str | None]]:
    return [{"name": name.replace("_", " "), "color": color} for name, color in zip(names, colors, strict=True)]


def _base64(values: npt.NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")


def _numpy(values: Array) -> npt.NDArray[Any]:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
