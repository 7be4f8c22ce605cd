"""Detections made of annotations by the devkit's own box operations, to compare our conversions with."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from nuscenes import NuScenes
from nuscenes.eval.common.utils import quaternion_yaw
from nuscenes.eval.detection.utils import category_to_detection_name
from nuscenes.utils.geometry_utils import transform_matrix
from pyquaternion import Quaternion

from lidar_mt.structures.classes import DETECTION_CLASSES
from lidar_mt.structures.outputs import Detections


def poses(tables: NuScenes, token: str) -> tuple[np.ndarray, np.ndarray]:
    """ego_from_lidar and global_from_ego, (4, 4) float64."""
    record = tables.get("sample_data", tables.get("sample", token)["data"]["LIDAR_TOP"])
    return tuple(
        transform_matrix(pose["translation"], Quaternion(pose["rotation"]))
        for pose in (
            tables.get("calibrated_sensor", record["calibrated_sensor_token"]),
            tables.get("ego_pose", record["ego_pose_token"]),
        )
    )


def annotations_as_detections(tables: NuScenes, token: str, scores: Any = None) -> Detections:
    """Every annotation of a detection class with at least one point, in the LiDAR frame."""
    record = tables.get("sample", token)["data"]["LIDAR_TOP"]
    lidar_from_global = np.linalg.inv(np.matmul(*poses(tables, token)[::-1]))
    rows, labels = [], []
    for box in tables.get_sample_data(record)[1]:
        name = category_to_detection_name(box.name)
        annotation = tables.get("sample_annotation", box.token)
        if name is None or annotation["num_lidar_pts"] + annotation["num_radar_pts"] == 0:
            continue
        velocity = lidar_from_global[:3, :3] @ tables.box_velocity(box.token)
        rows.append([*box.center, *box.wlh, quaternion_yaw(box.orientation), *velocity[:2]])
        labels.append(DETECTION_CLASSES.index(name))
    scores = torch.full((len(rows),), 0.5) if scores is None else scores(len(rows))
    boxes = torch.tensor(np.array(rows).reshape(-1, 9), dtype=torch.float32)
    return Detections(boxes, scores, torch.tensor(labels, dtype=torch.int64))


def perturb(detections: Detections, generator: torch.Generator) -> Detections:
    """What a middling detector makes of them: noise, misses, doubles, wrong classes, scores of every height."""
    boxes, _, labels = detections
    keep = torch.rand(len(boxes), generator=generator) > 0.2
    double = torch.rand(len(boxes), generator=generator) > 0.8
    boxes, labels = torch.cat([boxes[keep], boxes[double]]), torch.cat([labels[keep], labels[double]])
    noise = torch.randn(boxes.shape, generator=generator)
    spread = torch.tensor([0.5, 0.5, 0.2, 0, 0, 0, 0.3, 0.5, 0.5])
    boxes = boxes.nan_to_num() + noise * spread
    boxes[:, 3:6] *= torch.exp(0.1 * noise[:, 3:6])
    wrong = torch.rand(len(labels), generator=generator) > 0.95
    labels = torch.where(wrong, (labels + 1) % len(DETECTION_CLASSES), labels)
    return Detections(boxes, torch.rand(len(labels), generator=generator), labels)
