"""The detection scores as values, as names for loggers, and as the files of the official evaluator."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lidar_mt.metrics.detection_curves import Curve, Curves, average_precision, mean_error
from lidar_mt.metrics.detection_protocol import (
    DETECTION_NAMES,
    DISTANCES_M,
    MEAN_AP_WEIGHT,
    TP_DISTANCE_M,
    TP_ERRORS,
    UNDEFINED_ERRORS,
    config_record,
)
from lidar_mt.metrics.json_files import write_json
from lidar_mt.structures.errors import DataError

SUMMARY_NAME, DETAILS_NAME = "metrics_summary.json", "metrics_details.json"


@dataclass(frozen=True)
class DetectionScores:
    """Official nuScenes detection scores.

    Attributes:
        nds: nuScenes detection score, 0 to 1.
        mean_ap: mean over all ten classes, 0 to 1; a class without ground truth counts as 0.
        tp_errors: mATE [m], mASE [1-IoU], mAOE [rad], mAVE [m/s], mAAE [1-accuracy]; means over the classes that
            define the error, in which a class without a match counts as 1.
        class_ap: AP of each class, mean over the distances, 0 to 1.
        class_distance_ap: AP of each class at each matching distance [m], 0 to 1.
        class_tp_errors: the five errors of each class, keyed as in `tp_errors`; NaN where the class does not define it.
        num_ground_truth: scored ground-truth boxes of each class (within its range, with at least one point).
        num_samples: scored samples.
        version: nuScenes version of the ground truth.
        eval_set: split name of the evaluator.
        is_partial: whether only a part of the split was scored; such numbers compare with nothing else.
    """

    nds: float
    mean_ap: float
    tp_errors: dict[str, float]
    class_ap: dict[str, float]
    class_distance_ap: dict[str, dict[float, float]]
    class_tp_errors: dict[str, dict[str, float]]
    num_ground_truth: dict[str, int]
    num_samples: int
    version: str
    eval_set: str
    is_partial: bool

    def flat(self) -> dict[str, float]:
        """All scores under one name each, for loggers: NDS, mAP, mATE, AP/car, AP/car@0.5, ATE/car and so on."""
        flat = {"NDS": self.nds, "mAP": self.mean_ap, **self.tp_errors}
        for name, ap in self.class_ap.items():
            flat[f"AP/{name}"] = ap
            flat.update({f"AP/{name}@{distance}": v for distance, v in self.class_distance_ap[name].items()})
            flat.update({f"{error[1:]}/{name}": v for error, v in self.class_tp_errors[name].items()})
        return flat

    def summary(self) -> dict[str, Any]:
        """The scores in the layout of metrics_summary.json, without run time and the method's description."""
        keys = TP_ERRORS.items()
        return {
            "label_aps": self.class_distance_ap,
            "mean_dist_aps": self.class_ap,
            "mean_ap": self.mean_ap,
            "label_tp_errors": {
                name: {key: errors[error] for error, key in keys} for name, errors in self.class_tp_errors.items()
            },
            "tp_errors": {key: self.tp_errors[error] for error, key in keys},
            "tp_scores": {key: _tp_score(self.tp_errors[error]) for error, key in keys},
            "nd_score": self.nds,
        }


def undefined_names() -> set[str]:
    """Those of `DetectionScores.flat` that are NaN whatever was scored: a class does not define the error."""
    return {
        f"{error[1:]}/{name}"
        for name, keys in UNDEFINED_ERRORS.items()
        for error, key in TP_ERRORS.items()
        if key in keys
    }


def _tp_score(error: float) -> float:
    return max(0.0, 1.0 - error)


def scores_of(curves: Curves, num_ground_truth: dict[str, int], **facts: Any) -> DetectionScores:
    """Draws all scores from the curves.

    Args:
        curves: as `detection_curves` returns them.
        num_ground_truth: scored truths of each class.
        **facts: `num_samples`, `version`, `eval_set` and `is_partial` of `DetectionScores`.

    Source: nuscenes-devkit 1.2.0, nuscenes.eval.detection.data_classes.DetectionMetrics.
    """
    distance_ap = {
        name: {distance: average_precision(curves[name, distance]) for distance in DISTANCES_M}
        for name in DETECTION_NAMES
    }
    class_ap = {name: float(np.mean(list(by_distance.values()))) for name, by_distance in distance_ap.items()}
    class_errors = {
        name: {
            error: float("nan")
            if key in UNDEFINED_ERRORS.get(name, ())
            else mean_error(curves[name, TP_DISTANCE_M], key)
            for error, key in TP_ERRORS.items()
        }
        for name in DETECTION_NAMES
    }
    mean_ap = float(np.mean(list(class_ap.values())))
    tp_errors = {error: float(np.nanmean([errors[error] for errors in class_errors.values()])) for error in TP_ERRORS}
    total = MEAN_AP_WEIGHT * mean_ap + float(np.sum([_tp_score(error) for error in tp_errors.values()]))
    return DetectionScores(
        nds=total / (MEAN_AP_WEIGHT + len(tp_errors)),
        mean_ap=mean_ap,
        tp_errors=tp_errors,
        class_ap=class_ap,
        class_distance_ap=distance_ap,
        class_tp_errors=class_errors,
        num_ground_truth=num_ground_truth,
        **facts,
    )


def write_scores(
    folder: str | Path, scores: DetectionScores, curves: Curves, meta: Mapping[str, Any], seconds: float
) -> None:
    """Writes metrics_summary.json and metrics_details.json as the official evaluator does; its classes read them.

    Args:
        folder: where to; made if missing.
        scores: of the evaluation.
        curves: what they were drawn from.
        meta: what the result file says about the method.
        seconds: run time of the evaluation.

    Raises:
        DataError: a file cannot be written.
    """
    end = {"eval_time": seconds, "cfg": config_record(), "meta": dict(meta)}
    write_json(Path(folder) / SUMMARY_NAME, {**scores.summary(), **end}, indent=2)
    details = {
        f"{name}:{distance}": {field: values.tolist() for field, values in curve._asdict().items()}
        for (name, distance), curve in curves.items()
    }
    write_json(Path(folder) / DETAILS_NAME, details, indent=2)


def read_curves(folder: str | Path) -> Curves:
    """The curves of an evaluation, from its metrics_details.json.

    Raises:
        DataError: the file is missing or damaged.
    """
    path = Path(folder) / DETAILS_NAME
    try:
        details = json.loads(path.read_text(encoding="utf-8"))
        curves = {}
        for key, fields in details.items():
            name, _, distance = key.partition(":")
            curves[name, float(distance)] = Curve(*(np.array(fields[field], dtype=float) for field in Curve._fields))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; run the evaluation again") from error
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error!r}); run the evaluation again") from error
    return curves
