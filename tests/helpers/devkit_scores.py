"""The devkit's evaluator on boxes in memory, and its numbers beside ours."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.common.data_classes import EvalBoxes as DevkitBoxes
from nuscenes.eval.detection.algo import accumulate, calc_ap, calc_tp
from nuscenes.eval.detection.constants import TP_METRICS
from nuscenes.eval.detection.data_classes import DetectionBox, DetectionMetricDataList, DetectionMetrics

from lidar_mt.metrics.detection_protocol import ATTRIBUTE_NAMES, DETECTION_NAMES
from lidar_mt.metrics.eval_boxes import EvalBoxes

TOLERANCE = 1e-9


def columns(rows: list[dict[str, Any]]) -> EvalBoxes:
    """Boxes from mappings with `sample`, `name`, `center`, `size`, `rotation`, `velocity`, `attribute`, `score`."""

    def stack(key: str, width: int) -> np.ndarray:
        return np.array([row[key] for row in rows], dtype=np.float64).reshape(-1, width)

    return EvalBoxes(
        sample=np.array([row["sample"] for row in rows], dtype=np.int64),
        label=np.array([DETECTION_NAMES.index(row["name"]) for row in rows], dtype=np.int64),
        center=stack("center", 3),
        size=stack("size", 3),
        rotation=stack("rotation", 4),
        velocity=stack("velocity", 2),
        attribute=np.array(
            [ATTRIBUTE_NAMES.index(row["attribute"]) if row["attribute"] else -1 for row in rows], dtype=np.int64
        ),
        score=np.array([row["score"] for row in rows], dtype=np.float64),
        num_points=np.array([row.get("num_points", -1) for row in rows], dtype=np.int64),
    )


def devkit_boxes(rows: list[dict[str, Any]], tokens: list[str]) -> DevkitBoxes:
    """The same mappings as the devkit's boxes, in the same order."""
    boxes = DevkitBoxes()
    for token in tokens:
        boxes.add_boxes(token, [])
    for row in rows:
        box = DetectionBox(
            sample_token=tokens[row["sample"]],
            translation=tuple(row["center"]),
            size=tuple(row["size"]),
            rotation=tuple(row["rotation"]),
            velocity=tuple(row["velocity"]),
            num_pts=row.get("num_points", -1),
            detection_name=row["name"],
            detection_score=float(row["score"]),
            attribute_name=row["attribute"],
        )
        boxes.add_boxes(box.sample_token, [box])
    return boxes


def devkit_scores(predictions: DevkitBoxes, truth: DevkitBoxes) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the devkit writes as metrics_summary.json (without meta) and metrics_details.json, as plain JSON values."""
    config = config_factory("detection_cvpr_2019")
    metrics, curves = DetectionMetrics(config), DetectionMetricDataList()
    undefined = {"traffic_cone": ["attr_err", "vel_err", "orient_err"], "barrier": ["attr_err", "vel_err"]}
    for name in config.class_names:
        for distance in config.dist_ths:
            curve = accumulate(truth, predictions, name, config.dist_fcn_callable, distance)
            curves.set(name, distance, curve)
            metrics.add_label_ap(name, distance, calc_ap(curve, config.min_recall, config.min_precision))
        for error in TP_METRICS:
            value = calc_tp(curves[name, config.dist_th_tp], config.min_recall, error)
            metrics.add_label_tp(name, error, math.nan if error in undefined.get(name, []) else value)
    return json.loads(json.dumps(metrics.serialize())), json.loads(json.dumps(curves.serialize()))


def assert_same(ours: Any, theirs: Any, where: str = "") -> None:
    """Equal structure and keys in the same order, numbers within 1e-9, NaN where theirs is."""
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs), where
        for key in theirs:
            assert_same(ours[key], theirs[key], f"{where}/{key}")
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs), where
        numbers = np.array(theirs, dtype=float)
        np.testing.assert_allclose(np.array(ours, dtype=float), numbers, rtol=0, atol=TOLERANCE, err_msg=where)
    elif isinstance(theirs, float):
        assert (math.isnan(ours) and math.isnan(theirs)) or ours == theirs or abs(ours - theirs) <= TOLERANCE, where
    else:
        assert ours == theirs, where


def assert_same_files(ours: Path, theirs: Path) -> None:
    """Every number of both files of two evaluations, but for the run time."""
    for name in ("metrics_summary.json", "metrics_details.json"):
        first, second = (json.loads((folder / name).read_text()) for folder in (ours, theirs))
        first.pop("eval_time", None), second.pop("eval_time", None)
        assert_same(first, second, name)
