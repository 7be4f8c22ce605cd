"""Scores of a nuScenes result file or of boxes in memory, in seconds, equal to the official evaluator's."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lidar_mt.metrics.detection_curves import Curves, detection_curves, labels_counted
from lidar_mt.metrics.detection_scores import DetectionScores, scores_of, write_scores
from lidar_mt.metrics.eval_boxes import EvalBoxes, counted_boxes
from lidar_mt.metrics.eval_splits import resolve_eval_set
from lidar_mt.metrics.nuscenes_truth import GroundTruth, load_truth
from lidar_mt.metrics.result_reading import check_readable, read_result_boxes
from lidar_mt.structures.errors import ResultError
from lidar_mt.structures.nuscenes_splits import official_splits


def evaluate_results(
    results_file: str | Path,
    data_root: str | Path,
    version: str,
    eval_set: str,
    out_dir: str | Path,
    *,
    truth: GroundTruth | None = None,
) -> DetectionScores:
    """Scores a result file on a whole split.

    metrics_summary.json and metrics_details.json are left in `out_dir`, as the official evaluator writes them.

    Args:
        results_file: nuScenes result file.
        data_root: folder of the official layout; only tables are read.
        version: nuScenes version, also a custom one ending in mini.
        eval_set: train, val, mini_train, mini_val or a split of the version's splits.json.
        out_dir: folder for the evaluator's files, made if missing.
        truth: ground truth of this version and split, which saves reading the tables again.

    Returns:
        The scores.

    Raises:
        ConfigError: the split is unknown or does not belong to the version.
        DataError: the tables are missing or damaged, or `out_dir` cannot be written.
        ResultError: the file does not fit the split.

    Source: nuscenes-devkit 1.2.0, nuscenes.eval.detection.evaluate.DetectionEval; tests compare every number.
    """
    eval_set = resolve_eval_set(version, eval_set)
    check_readable(results_file)  # before seconds go into the tables
    truth = truth or load_truth(data_root, version, eval_set)
    results = read_result_boxes(results_file, truth.tokens)
    # Between equal scores the order decides: of the file, but of the split where that is a custom one.
    boxes = results.for_samples(truth.tokens, in_their_order=truth.eval_set not in official_splits())
    return evaluate_and_write(boxes, truth, out_dir, results.meta)


def evaluate_part(results_file: str | Path, truth: GroundTruth, out_dir: str | Path) -> DetectionScores:
    """Scores a result file on just the samples it holds, for a validation that was cut short.

    Args:
        results_file: nuScenes result file.
        truth: ground truth of the whole split.
        out_dir: folder for the evaluator's files.

    Returns:
        The scores, marked as partial.

    Raises:
        DataError: `out_dir` cannot be written.
        ResultError: the file is empty, breaks the format or holds samples of another split.
    """
    results = read_result_boxes(results_file, truth.tokens, is_partial=True)
    if not results.tokens:
        raise ResultError(f"{results_file} holds no sample; nothing can be scored")
    seen = set(results.tokens)
    part = truth.only([token for token in truth.tokens if token in seen])
    boxes = results.for_samples(part.tokens, in_their_order=True)
    return evaluate_and_write(boxes, part, out_dir, results.meta, is_partial=True)


def evaluate_and_write(
    predictions: EvalBoxes,
    truth: GroundTruth,
    out_dir: str | Path,
    meta: Mapping[str, Any],
    *,
    is_partial: bool = False,
) -> DetectionScores:
    """`evaluate_boxes`, with the official evaluator's files written into `out_dir`."""
    begin = time.perf_counter()
    scores, curves = evaluate_boxes(predictions, truth, is_partial=is_partial)
    write_scores(out_dir, scores, curves, meta, time.perf_counter() - begin)
    return scores


def evaluate_boxes(
    predictions: EvalBoxes, truth: GroundTruth, *, is_partial: bool = False
) -> tuple[DetectionScores, Curves]:
    """Scores predictions against the ground truth of their samples.

    Args:
        predictions: boxes whose `sample` counts the tokens of `truth`, in the order of the result file, which decides
            between equal scores.
        truth: ground truth.
        is_partial: whether `truth` is only a part of its split.

    Returns:
        The scores and the curves they were drawn from.
    """
    counted = counted_boxes(predictions, truth.ego_xy, truth.racks)
    targets = truth.boxes.select(counted_boxes(truth.boxes, truth.ego_xy, truth.racks))
    curves = detection_curves(predictions, counted, targets)
    scores = scores_of(
        curves,
        labels_counted(targets.label),
        num_samples=len(truth.tokens),
        version=truth.version,
        eval_set=truth.eval_set,
        is_partial=is_partial,
    )
    return scores, curves
