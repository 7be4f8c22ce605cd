"""Detections in the nuScenes result format: what the official evaluator and the benchmark server read.

A result file is `{"meta": {...}, "results": {sample token: [box, ...]}}`; a box holds, in the global frame,
translation x y z [m], size w l h [m], rotation (quaternion w x y z), velocity vx vy [m/s], detection_name,
detection_score and attribute_name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lidar_mt.metrics.json_files import write_json
from lidar_mt.structures.boxes import VX, VY, YAW, H, W, X, Z, transform_boxes
from lidar_mt.structures.classes import DETECTION_CLASSES
from lidar_mt.structures.outputs import Detections

ResultBox = dict[str, Any]

#: The evaluator refuses a sample with more boxes.
MAX_BOXES_PER_SAMPLE = 500

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


def boxes_to_results(
    token: str,
    detections: Detections,
    global_from_lidar: npt.NDArray[np.float64],
    class_names: Sequence[str] = DETECTION_CLASSES,
) -> list[ResultBox]:
    """Detections of one sample as nuScenes result boxes, best score first, at most 500 of them.

    Args:
        token: nuScenes sample token.
        detections: boxes in the keyframe's LiDAR frame; an unknown (NaN) velocity is written as 0, 0 because the
            format has no word for it.
        global_from_lidar: (4, 4) float64 rigid transform of the keyframe, `global_from_ego @ ego_from_lidar`.
        class_names: name of each label.

    Returns:
        Result boxes in the global frame.

    Source: nuScenes detection task, results format. Boxes keep their yaw only: the evaluator looks at no other angle.
    """
    scores = detections.scores.detach().cpu().double().numpy()
    best = np.argsort(-scores, kind="stable")[:MAX_BOXES_PER_SAMPLE]
    labels = detections.labels.detach().cpu().numpy()[best]
    boxes = transform_boxes(detections.boxes.detach().cpu().double().numpy()[best], global_from_lidar)
    boxes[:, VX:] = np.nan_to_num(boxes[:, VX:], nan=0.0)
    return [
        _result_box(token, box, class_names[label], float(score))
        for box, label, score in zip(boxes, labels, scores[best], strict=True)
    ]


def _result_box(token: str, box: npt.NDArray[np.float64], name: str, score: float) -> ResultBox:
    half_yaw = box[YAW] / 2
    return {
        "sample_token": token,
        "translation": box[X : Z + 1].tolist(),
        "size": box[W : H + 1].tolist(),
        "rotation": [float(np.cos(half_yaw)), 0.0, 0.0, float(np.sin(half_yaw))],
        "velocity": box[VX : VY + 1].tolist(),
        "detection_name": name,
        "detection_score": score,
        "attribute_name": attribute_name(name, float(np.hypot(box[VX], box[VY]))),
    }


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
