"""The scores of all stages and runtimes of one network side by side, with their distance to float.

Each evaluation leaves a small file beside the checkpoint that it scored, one for each network and data. A file counts
as long as its checkpoint is the one that was scored, and is compared with those of the same data.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from rich import box
from rich.table import Table

from lidar_mt.metrics.detection_scores import DetectionScores
from lidar_mt.metrics.json_files import write_json

#: Folder of these files.
SCORES = "scores"
#: What the others are compared with.
BASELINE = "float"
_ORDER = ("float", "calibrate", "qat", "int8")
_SHARE = 100.0
#: What fits into any terminal.
_MAIN = ("NDS", "mAP", "car AP", "mIoU")
#: Beginning of the names of IoU by class.
_IOU = "IoU/"


class Score(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one evaluation found.

    Attributes:
        name: stage and runtime.
        data: version, split and all else that must be equal for a comparison, see `data_key`.
        source: digest of the checkpoint or artefact.
        source_name: its file or folder name, in the folder above.
        values: score by name; shares from 0 to 1, errors in their units; None where undefined. Those of tasks beyond
            detection and segmentation are named `<task>/<score>`.
        samples: how many were scored.
        pictures: folder of the evaluation's pictures, from the folder of scores; see `told_folder`.
        frames: token by picture name of the frames found best and worst.
    """

    name: str
    data: str
    source: str
    source_name: str
    values: dict[str, float | None]
    samples: int = 0
    pictures: str = ""
    frames: dict[str, str] = {}


def headline(
    detection: DetectionScores | None,
    segmentation: Mapping[str, float] | None,
    others: Mapping[str, Mapping[str, float]] | None = None,
) -> dict[str, float | None]:
    """The numbers that a comparison shows.

    Args:
        detection: official detection scores, or None.
        segmentation: what `BevIoU.compute` returned, or None.
        others: scores by name of every other task.
    """
    values: dict[str, float] = {}
    if detection is not None:
        values |= {"NDS": detection.nds, "mAP": detection.mean_ap, "car AP": detection.class_ap.get("car", math.nan)}
    if segmentation is not None:
        values |= {name: value for name, value in segmentation.items() if name == "mIoU" or name.startswith(_IOU)}
    if detection is not None:
        values |= detection.tp_errors
    for task, scores in (others or {}).items():
        values |= {f"{task}/{name}": value for name, value in scores.items()}
    return {name: None if math.isnan(value) else float(value) for name, value in values.items()}


def digest(source: Path) -> str:
    """SHA-256 of a file, or of a folder's `signature.json`, which holds those of its other files."""
    path = source / "signature.json" if source.is_dir() else source
    return hashlib.sha256(path.read_bytes()).hexdigest()


def is_source(source: Path, found: str) -> bool:
    """Whether a checkpoint or artefact is there and still has the digest that was found."""
    try:
        return bool(found) and digest(source) == found
    except OSError:
        return False


def data_key(
    version: str, split: str, *, limit: object = None, labels: str | None = None, sweeps: int | None = None
) -> str:
    """What scores must share to be compared.

    Args:
        version: of the data set.
        split: train or val.
        limit: batches or share of the split that were scored; nothing for all.
        labels: where the truth of segmentation comes from, if not from lidarseg.
        sweeps: merged into each keyframe, where they are not as many as in training.

    Example:
        >>> data_key("v1.0-mini", "val", sweeps=9)
        'v1.0-mini val, 9 sweeps'
    """
    parts = [f"{version} {split}", *([f"limit {limit}"] if limit else [])]
    parts += [f"labels {labels}"] if labels else []
    return ", ".join([*parts, *([f"{sweeps} sweeps"] if sweeps is not None else [])])


def told_folder(pictures: Path, folder: Path) -> str:
    """The folder of pictures as a `Score` holds it: relative to the folder of scores, so that both may move together.

    Args:
        pictures: where they are.
        folder: of the scores. Where the two share nothing but the root, the path stays absolute.
    """
    here, there = folder.resolve(), pictures.resolve()
    shared = os.path.commonpath([here, there])
    return str(there) if shared == here.anchor else os.path.relpath(there, here)


def picture_folder(folder: Path, score: Score) -> Path:
    """Where a score's pictures are, or were.

    Args:
        folder: of the scores.
        score: one of them.
    """
    return Path(os.path.normpath(folder.resolve() / score.pictures))


def write_score(folder: Path, score: Score) -> Path:
    """Writes `<name>_<data>.json`; an earlier score of this network on these data is replaced, no other one.

    Raises:
        DataError: the file cannot be written.
    """
    name = re.sub(r"[^\w.-]+", "_", f"{score.name} {score.data}")
    return write_json(folder / f"{name}.json", msgspec.to_builtins(score), indent=1)


def read_scores(folder: Path) -> list[Score]:
    """The scores in a folder whose checkpoints are still those that were scored; from float to int8.

    Of one network on the same data the one that was written last.
    """
    found: dict[tuple[str, str], Score] = {}
    for path in sorted(folder.glob("*.json"), key=_written):
        try:
            score = msgspec.json.decode(path.read_bytes(), type=Score)
            fits = digest(folder.parent / score.source_name) == score.source
        except (msgspec.DecodeError, OSError):
            continue
        if fits:
            found[score.name, score.data] = score
    return sorted(found.values(), key=_place_in_table)


def comparison_rows(
    scores: Sequence[Score], data: str, samples: int, *, short: bool = False
) -> tuple[list[str], list[list[str]]]:
    """Column titles, and a row of text for each score on the same data; below each number, its difference to float.

    Args:
        scores: from `read_scores`.
        data: as in the `Score` to compare with.
        samples: as in the `Score` to compare with.
        short: the four most important numbers alone, and the first one of every other task.
    """
    same = [score for score in scores if (score.data, score.samples) == (data, samples)]
    base = next((score.values for score in same if score.name == BASELINE), {})
    names = list(dict.fromkeys(name for score in same for name in score.values))
    names = _most_important(names) if short else names
    header = ["network", *(name.replace("/", " ") + ("\n%" if _is_share(name) else "") for name in names)]
    rows = []
    for score in same:
        reference = base if score.name != BASELINE else {}
        cells = [_cell(name, score.values.get(name), reference.get(name)) for name in names]
        rows.append([score.name.replace("_", " "), *cells])
    return header, rows


def comparison_table(scores: Sequence[Score], data: str, samples: int, *, short: bool = False) -> Table | None:
    """The same as a table for the terminal, or None where there are no two to compare."""
    header, rows = comparison_rows(scores, data, samples, short=short)
    if len(rows) < 2:
        return None
    has_float = any(row[0] == BASELINE for row in rows)
    meaning = "in brackets the difference to float" if has_float else "no float to compare with"
    title = f"{data}, {samples} samples: {meaning}"
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE)
    table.add_column(header[0], no_wrap=True)
    for name in header[1:]:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _is_share(name: str) -> bool:
    """Whether it is a share of one; the others, errors among them, are printed as they are."""
    return name in _MAIN or name.startswith(_IOU)


def _most_important(names: Sequence[str]) -> list[str]:
    first_of_task: dict[str, str] = {}
    for name in names:
        task, slash, _ = name.partition("/")
        if slash and not name.startswith(_IOU):
            first_of_task.setdefault(task, name)
    return [name for name in names if name in _MAIN or name in first_of_task.values()]


def _cell(name: str, value: float | None, reference: float | None) -> str:
    if value is None:
        return "-"
    unit, digits = (_SHARE, 2) if _is_share(name) else (1.0, 3)
    text = f"{value * unit:.{digits}f}"
    return text if reference is None else f"{text}\n({(value - reference) * unit:+.{digits}f})"


def _place_in_table(score: Score) -> tuple[int, str, str]:
    stage = score.name.partition("_")[0]
    return _ORDER.index(stage) if stage in _ORDER else len(_ORDER), score.name, score.data


def _written(path: Path) -> tuple[int, str]:
    try:
        return path.stat().st_mtime_ns, path.name
    except OSError:
        return 0, path.name
