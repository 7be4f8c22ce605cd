"""Scores for people (tables with units) and for programs (metrics.json)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table

from lidar_mt.metrics.detection_protocol import TP_ERRORS
from lidar_mt.metrics.detection_scores import DetectionScores
from lidar_mt.metrics.json_files import nan_to_none, write_json

_UNITS = {"mATE": "m", "mASE": "1-IoU", "mAOE": "rad", "mAVE": "m/s", "mAAE": "1-acc"}
_ABSENT = "-"


def detection_tables(scores: DetectionScores) -> RenderableType:
    """The official detection scores: a summary, a row per class, and what a dash means.

    Args:
        scores: as the evaluation returns them.

    Returns:
        Something that `rich` prints.
    """
    part = ", a PART of the split: these numbers compare with nothing else" if scores.is_partial else ""
    summary = _table(f"nuScenes detection, {scores.version} {scores.eval_set}, {scores.num_samples} samples{part}")
    for header in ("NDS\n%", "mAP\n%", *(f"{error}\n{_UNITS[error]}" for error in TP_ERRORS)):
        summary.add_column(header, justify="right", no_wrap=True)
    errors = [_number(scores.tp_errors[error]) for error in TP_ERRORS]
    summary.add_row(_percent(scores.nds), _percent(scores.mean_ap), *errors)
    note = "- : not defined for this class; a class without boxes counts as AP 0 and error 1 in the means."
    return Group(summary, _ap_table(scores), _error_table(scores), note)


def _ap_table(scores: DetectionScores) -> Table:
    table = _table("AP in %, mean and at each matching distance")
    table.add_column("class", no_wrap=True)
    distances = next(iter(scores.class_distance_ap.values()))
    for header in ("boxes", "AP", *(f"{distance:g} m" for distance in distances)):
        table.add_column(header, justify="right", no_wrap=True)
    for name, ap in scores.class_ap.items():
        count, aps = scores.num_ground_truth[name], [ap, *scores.class_distance_ap[name].values()]
        table.add_row(name, str(count), *(_percent(value) if count else _ABSENT for value in aps))
    return table


def _error_table(scores: DetectionScores) -> Table:
    table = _table("Errors of the true positives, matched within 2 m")
    table.add_column("class", no_wrap=True)
    for error, unit in _UNITS.items():
        table.add_column(f"{error[1:]}\n{unit}", justify="right", no_wrap=True)
    for name, errors in scores.class_tp_errors.items():
        has_boxes = scores.num_ground_truth[name] > 0
        table.add_row(name, *(_number(errors[error]) if has_boxes else _ABSENT for error in TP_ERRORS))
    return table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE)


def segmentation_table(scores: Mapping[str, float]) -> Table:
    """The segmentation scores that `BevIoU.compute` returns, in percent.

    Args:
        scores: value 0 to 1 of each name.

    Returns:
        A table with one row.
    """
    table = _table("BEV segmentation, %")
    for name in scores:
        is_class = name.startswith("IoU/")
        table.add_column(f"IoU {name[4:]}" if is_class else name.replace("_", " "), justify="right", no_wrap=True)
    table.add_row(*(_percent(value) for value in scores.values()))
    return table


def plain_table(task: str, scores: Mapping[str, float]) -> Table:
    """The scores of a task that has no table of its own, as they are: nothing is known of their units.

    Args:
        task: name of the task.
        scores: value of each name, in the order of the columns.

    Returns:
        A table with one row.
    """
    table = _table(task)
    for name in scores:
        table.add_column(name.replace("_", " "), justify="right", no_wrap=True)
    table.add_row(*(_ABSENT if math.isnan(value) else f"{value:.4g}" for value in scores.values()))
    return table


def print_scores(
    detection: DetectionScores | None,
    segmentation: Mapping[str, float] | None,
    console: Console | None = None,
    others: Mapping[str, Mapping[str, float]] | None = None,
) -> None:
    """Prints the tables of whatever was scored.

    Args:
        detection: official detection scores, or None.
        segmentation: what `BevIoU.compute` returned, or None.
        console: where to print, standard output by default.
        others: scores by name of every other task.
    """
    console = console or Console()
    if detection is not None:
        console.print(detection_tables(detection))
    if segmentation is not None:
        console.print(segmentation_table(segmentation))
    for task, scores in (others or {}).items():
        console.print(plain_table(task, scores))


def write_metrics(
    path: str | Path,
    detection: DetectionScores | None,
    segmentation: Mapping[str, float] | None,
    others: Mapping[str, Mapping[str, float]] | None = None,
) -> Path:
    """Writes all scores as plain JSON, undefined ones as null.

    Args:
        path: file to write.
        detection: official detection scores, or None.
        segmentation: what `BevIoU.compute` returned, or None.
        others: scores by name of every other task.

    Returns:
        The path written.

    Raises:
        DataError: the file cannot be written.
    """
    content: dict[str, Any] = {}
    if detection is not None:
        content["detection"] = nan_to_none(dataclasses.asdict(detection))
    if segmentation is not None:
        content["segmentation"] = nan_to_none(segmentation)
    for task, scores in (others or {}).items():
        content[task] = nan_to_none(scores)
    return write_json(path, content, indent=2)


def _percent(value: float) -> str:
    return _ABSENT if math.isnan(value) else f"{100 * value:.1f}"


def _number(value: float) -> str:
    return _ABSENT if math.isnan(value) else f"{value:.3f}"
