"""Detections in the nuScenes result format: what the official evaluator and the benchmark server read.

A result file is `{"meta": {...}, "results": {sample token: [box, ...]}}`; a box holds, in the global frame,
translation x y z [m], size w l h [m], rotation (quaternion w x y z), velocity vx vy [m/s], detection_name,
detection_score and attribute_name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from lidar_mt.metrics.detection_protocol import ATTRIBUTE_NAMES, DETECTION_NAMES, MAX_BOXES_PER_SAMPLE
from lidar_mt.metrics.eval_boxes import EvalBoxes, Floats, Integers
from lidar_mt.metrics.json_files import write_json, write_parts
from lidar_mt.structures.boxes import BOX_SIZE, VX, YAW, H, W, Z
from lidar_mt.structures.classes import DETECTION_CLASSES
from lidar_mt.structures.outputs import Detections

ResultBox = dict[str, Any]

#: An object faster than this is called moving [m/s].
MOVING_SPEED = 0.2

#: What a submission must declare about itself.
LIDAR_ONLY_META: dict[str, bool] = {
    "use_camera": False,
    "use_lidar": True,
    "use_radar": False,
    "use_map": False,
    "use_external": False,
}

# Attribute of a moving and of a resting object of each class; classes without attributes have ''.
_VEHICLE = ("vehicle.moving", "vehicle.parked")
_CYCLE = ("cycle.with_rider", "cycle.without_rider")
_ATTRIBUTES: dict[str, tuple[str, str]] = {
    "car": _VEHICLE,
    "truck": _VEHICLE,
    "construction_vehicle": _VEHICLE,
    "bus": ("vehicle.moving", "vehicle.stopped"),
    "trailer": _VEHICLE,
    "barrier": ("", ""),
    "motorcycle": _CYCLE,
    "bicycle": _CYCLE,
    "pedestrian": ("pedestrian.moving", "pedestrian.standing"),
    "traffic_cone": ("", ""),
}


def attribute_name(detection_name: str, speed_m_s: float) -> str:
    """Guesses the attribute of an object from its class and speed; the network does not predict it.

    Args:
        detection_name: nuScenes detection class.
        speed_m_s: horizontal speed over ground [m/s].

    Returns:
        nuScenes attribute name, '' for classes without attributes.

    Source: the rule of the reference network's evaluation, after CBGS (Zhu et al. 2019).

    Example:
        >>> attribute_name("bus", 0.1), attribute_name("bicycle", 0.3)
        ('vehicle.stopped', 'cycle.with_rider')
    """
    moving, resting = _ATTRIBUTES[detection_name]
    return moving if speed_m_s > MOVING_SPEED else resting


def detections_to_boxes(
    detections: Sequence[Detections], poses: Floats, class_names: Sequence[str] = DETECTION_CLASSES
) -> EvalBoxes:
    """Detections of S samples as result boxes, sample by sample, best score first, at most 500 of each sample.

    Args:
        detections: S decoded samples, boxes in the keyframes' LiDAR frames; an unknown (NaN) velocity becomes 0, 0
            because the result format has no word for it.
        poses: (S, 4, 4) float64 rigid transform of each keyframe, `global_from_ego @ ego_from_lidar`.
        class_names: name of each label.

    Returns:
        Boxes in the global frame; `sample` counts the samples given.

    Source: nuScenes detection task, results format. Boxes keep their yaw only: the evaluator looks at no other angle.
    """
    parts = [_best(sample) for sample in detections]
    sample = np.repeat(np.arange(len(parts)), [len(scores) for _, scores, _ in parts])
    local = np.concatenate([np.zeros((0, BOX_SIZE)), *(boxes for boxes, _, _ in parts)])
    labels = np.concatenate([np.zeros(0, dtype=np.int64), *(labels for _, _, labels in parts)])
    # Columns side by side and all at once: a call per box would take longer than the whole evaluation.
    yaw = np.ascontiguousarray(local[:, YAW])
    flat = np.zeros((2, len(local), 3))
    flat[0, :, 0], flat[0, :, 1] = np.cos(yaw), np.sin(yaw)
    flat[1, :, :2] = np.nan_to_num(local[:, VX:], nan=0.0)
    center = np.empty((len(local), 3))
    edges = np.searchsorted(sample, np.arange(len(parts) + 1))
    for pose, start, end in zip(poses, edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        center[start:end] = local[start:end, : Z + 1] @ pose[:3, :3].T + pose[:3, 3]
        flat[:, start:end] = flat[:, start:end] @ pose[:3, :3].T
    half_yaw = np.arctan2(flat[0, :, 1], flat[0, :, 0]) / 2
    rotation = np.zeros((len(local), 4))
    rotation[:, 0], rotation[:, 3] = np.cos(half_yaw), np.sin(half_yaw)
    velocity = np.ascontiguousarray(flat[1, :, :2])
    names = np.array([DETECTION_NAMES.index(name) for name in class_names], dtype=np.int64)
    label = names[labels]
    moving = np.hypot(velocity[:, 0], velocity[:, 1]) > MOVING_SPEED
    return EvalBoxes(
        sample=sample,
        label=label,
        center=center,
        size=local[:, W : H + 1],
        rotation=rotation,
        velocity=velocity,
        attribute=_attribute_indices()[label, moving.astype(np.int64)],
        score=np.concatenate([np.zeros(0), *(scores for _, scores, _ in parts)]),
        num_points=np.full(len(local), -1),
    )


def _best(detections: Detections) -> tuple[Floats, Floats, Integers]:
    scores = detections.scores.detach().cpu().double().numpy()
    best = np.argsort(-scores, kind="stable")[:MAX_BOXES_PER_SAMPLE]
    boxes, labels = (part.detach().cpu().numpy()[best] for part in (detections.boxes, detections.labels))
    return boxes.astype(np.float64), scores[best], labels


def _attribute_indices() -> Integers:
    """(classes, 2): index of the attribute at rest and when moving, -1 for none."""
    pairs = [_ATTRIBUTES[name][::-1] for name in DETECTION_NAMES]
    return np.array([[ATTRIBUTE_NAMES.index(name) if name else -1 for name in pair] for pair in pairs])


def boxes_to_results(
    token: str,
    detections: Detections,
    global_from_lidar: Floats,
    class_names: Sequence[str] = DETECTION_CLASSES,
) -> list[ResultBox]:
    """Detections of one sample as nuScenes result boxes, best score first, at most 500 of them.

    Args:
        token: nuScenes sample token.
        detections: boxes in the keyframe's LiDAR frame; see `detections_to_boxes`.
        global_from_lidar: (4, 4) float64 rigid transform of the keyframe, `global_from_ego @ ego_from_lidar`.
        class_names: name of each label.

    Returns:
        Result boxes in the global frame.
    """
    boxes = detections_to_boxes([detections], global_from_lidar[None], class_names)
    return [msgspec.structs.asdict(row) for rows in results_of_samples([token], boxes) for row in rows]


class ResultRow(msgspec.Struct, gc=False):
    """A result box as it is written. Cheaper than a mapping, and millions of them are no work for the collector."""

    sample_token: str
    translation: list[float]
    size: list[float]
    rotation: list[float]
    velocity: list[float]
    detection_name: str
    detection_score: float
    attribute_name: str


def results_of_samples(tokens: Sequence[str], boxes: EvalBoxes) -> Iterator[list[ResultRow]]:
    """The boxes of each sample in the result format.

    Args:
        tokens: S sample tokens.
        boxes: of those samples, in ascending order of `sample`.

    Yields:
        The boxes of one sample after the other.
    """
    attributes = [*ATTRIBUTE_NAMES, ""]  # -1, no attribute, is the last one
    edges = np.searchsorted(boxes.sample, np.arange(len(tokens) + 1)).tolist()
    for token, start, end in zip(tokens, edges[:-1], edges[1:], strict=True):
        part = boxes.select(slice(start, end))
        columns = (part.center, part.size, part.rotation, part.velocity, part.label, part.score, part.attribute)
        yield [
            ResultRow(token, center, size, rotation, velocity, DETECTION_NAMES[label], score, attributes[attribute])
            for center, size, rotation, velocity, label, score, attribute in zip(
                *(column.tolist() for column in columns), strict=True
            )
        ]


def write_result_boxes(
    path: str | Path, tokens: Sequence[str], boxes: EvalBoxes, meta: Mapping[str, bool] | None = None
) -> Path:
    """Writes a nuScenes result file, a sample at a time.

    Args:
        path: file to write; its folder is made.
        tokens: S sample tokens.
        boxes: of those samples, in ascending order of `sample`.
        meta: what the method uses; LiDAR alone by default.

    Returns:
        The path written.

    Raises:
        DataError: the file cannot be written.
    """
    encode = msgspec.json.Encoder().encode

    def parts() -> Iterator[bytes]:
        yield b'{"meta": ' + encode(dict(meta or LIDAR_ONLY_META)) + b', "results": {'
        for index, (token, results) in enumerate(zip(tokens, results_of_samples(tokens, boxes), strict=True)):
            yield (b", " if index else b"") + encode(token) + b": " + encode(results)
        yield b"}}"

    return write_parts(path, parts())


def write_results(
    path: str | Path, results: Mapping[str, Sequence[ResultBox]], meta: Mapping[str, bool] | None = None
) -> Path:
    """Writes a nuScenes result file.

    Args:
        path: file to write; its folder is made.
        results: result boxes of each sample token.
        meta: what the method uses; LiDAR alone by default.

    Returns:
        The path written.

    Raises:
        DataError: the file cannot be written.
    """
    return write_json(path, {"meta": dict(meta or LIDAR_ONLY_META), "results": dict(results)})
