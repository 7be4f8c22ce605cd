"""Scores of a nuScenes result file, from the official evaluator (nuscenes-devkit, detection_cvpr_2019)."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nuscenes import NuScenes
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.common.data_classes import EvalBoxes
from nuscenes.eval.common.loaders import add_center_dist, filter_eval_boxes, load_gt_of_sample_tokens
from nuscenes.eval.detection.data_classes import DetectionBox
from nuscenes.eval.detection.evaluate import DetectionEval

from lidar_mt.metrics.detection_protocol import TP_ERRORS
from lidar_mt.metrics.detection_scores import DetectionScores
from lidar_mt.metrics.devkit_tables import check_ground_truth, has_ground_truth, load_tables, split_tokens
from lidar_mt.metrics.eval_splits import resolve_eval_set
from lidar_mt.metrics.result_check import check_results, read_results
from lidar_mt.structures.errors import DataError, ResultError

_CONFIG = "detection_cvpr_2019"


def evaluate_results(
    results_file: str | Path,
    data_root: str | Path,
    version: str,
    eval_set: str,
    out_dir: str | Path,
    *,
    plots: bool = False,
    tables: NuScenes | None = None,
) -> DetectionScores:
    """Scores a result file on a whole split with the unmodified official evaluator.

    The evaluator's own files (metrics_summary.json, metrics_details.json, with `plots` also plots/*.pdf) stay
    in `out_dir`.

    Args:
        results_file: nuScenes result file.
        data_root: folder of the official layout; tables and map masks are read, no sensor data.
        version: nuScenes version, also a custom one ending in mini.
        eval_set: train, val, mini_train, mini_val or a split of the version's splits.json.
        out_dir: folder of the evaluator's files, made if missing.
        plots: whether the evaluator draws its curves, about a minute.
        tables: already loaded tables of this version, which saves reading them again.

    Returns:
        The scores.

    Raises:
        ConfigError: the split is unknown or does not belong to the version.
        DataError: the tables are missing or damaged, or `out_dir` cannot be written.
        ResultError: the file does not fit the split.

    Source: nuscenes-devkit 1.2.0, nuscenes.eval.detection.evaluate.DetectionEval.
    """
    eval_set = resolve_eval_set(version, eval_set)
    content = read_results(results_file)
    tables = load_tables(data_root, version) if tables is None else tables
    tokens = split_tokens(tables, eval_set)
    check_results(content, tokens, str(results_file))
    check_ground_truth(tables, tokens)
    config = config_factory(_CONFIG)
    with _quiet(out_dir):
        if any(content["results"].values()) and has_ground_truth(tables, tokens):
            evaluator = DetectionEval(tables, config, str(results_file), eval_set, str(out_dir), verbose=False)
        else:
            evaluator = _BoxEval(tables, config, content, tokens, out_dir)
        return _run(evaluator, tables, eval_set, plots=plots, is_partial=False)


def evaluate_part(results_file: str | Path, tables: NuScenes, eval_set: str, out_dir: str | Path) -> DetectionScores:
    """Scores a result file on just the samples it holds, for a validation that was cut short.

    The same as `evaluate_results` but that the split's other samples are left out of the ground truth.

    Args:
        results_file: nuScenes result file.
        tables: loaded tables.
        eval_set: split that the samples must belong to.
        out_dir: folder of the evaluator's files.

    Returns:
        The scores, marked as partial.

    Raises:
        ConfigError: as in `evaluate_results`.
        DataError: as in `evaluate_results`.
        ResultError: the file is empty, breaks the format or holds samples of another split.
    """
    eval_set = resolve_eval_set(tables.version, eval_set)
    content = read_results(results_file)
    seen = [token for token in split_tokens(tables, eval_set) if token in content["results"]]
    check_results(content, seen, str(results_file))
    if not seen:
        raise ResultError(f"{results_file} holds no sample; nothing can be scored")
    check_ground_truth(tables, seen)
    with _quiet(out_dir):
        evaluator = _BoxEval(tables, config_factory(_CONFIG), content, seen, out_dir)
        return _run(evaluator, tables, eval_set, plots=False, is_partial=True)


class _BoxEval(DetectionEval):  # type: ignore[misc]
    """The official evaluator on chosen samples; its own constructor takes whole splits and fails without any box."""

    def __init__(
        self, tables: NuScenes, config: Any, content: Mapping[str, Any], tokens: Sequence[str], out_dir: str | Path
    ) -> None:
        self.nusc, self.cfg, self.meta, self.verbose = tables, config, content["meta"], False
        self.output_dir, self.plot_dir = str(out_dir), str(Path(out_dir) / "plots")
        self.sample_tokens = list(tokens)
        predictions = EvalBoxes.deserialize({token: content["results"][token] for token in tokens}, DetectionBox)
        self.pred_boxes = self._prepare(predictions)
        self.gt_boxes = self._prepare(load_gt_of_sample_tokens(tables, self.sample_tokens, DetectionBox))

    def _prepare(self, boxes: Any) -> Any:
        # The devkit looks for the kind of box in the first one and fails when there is none.
        if not boxes.all:
            return boxes
        return filter_eval_boxes(self.nusc, add_center_dist(self.nusc, boxes), self.cfg.class_range)


@contextlib.contextmanager
def _quiet(out_dir: str | Path) -> Iterator[None]:
    """Makes the output folder and keeps the devkit's tables and progress bars off the terminal."""
    try:
        Path(out_dir).mkdir(parents=True, exist_ok=True)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    except OSError as error:
        raise DataError(
            f"cannot write the evaluation into {out_dir}: {error.strerror}; choose another folder"
        ) from error


def _run(evaluator: Any, tables: NuScenes, eval_set: str, *, plots: bool, is_partial: bool) -> DetectionScores:
    if plots:
        Path(evaluator.plot_dir).mkdir(exist_ok=True)
    summary = evaluator.main(plot_examples=0, render_curves=plots)
    with contextlib.suppress(OSError):
        Path(evaluator.plot_dir).rmdir()  # succeeds on the empty folder that the devkit always makes
    counts = Counter(box.detection_name for box in evaluator.gt_boxes.all)
    names = list(summary["mean_dist_aps"])
    tp_errors = summary["label_tp_errors"]
    return DetectionScores(
        nds=float(summary["nd_score"]),
        mean_ap=float(summary["mean_ap"]),
        tp_errors={name: float(summary["tp_errors"][key]) for name, key in TP_ERRORS.items()},
        class_ap={name: float(summary["mean_dist_aps"][name]) for name in names},
        class_distance_ap={
            name: {float(d): float(ap) for d, ap in summary["label_aps"][name].items()} for name in names
        },
        class_tp_errors={
            name: {error: float(tp_errors[name][key]) for error, key in TP_ERRORS.items()} for name in names
        },
        num_ground_truth={name: counts[name] for name in names},
        num_samples=len(evaluator.sample_tokens),
        version=str(tables.version),
        eval_set=eval_set,
        is_partial=is_partial,
    )
