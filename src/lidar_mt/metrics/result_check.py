"""Reading a nuScenes result file and naming everything in it that the official evaluator would stumble over."""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lidar_mt.metrics.detection_protocol import ATTRIBUTE_NAMES, DETECTION_NAMES, MAX_BOXES_PER_SAMPLE
from lidar_mt.structures.errors import ResultError

_NAMED = 3  # offending tokens named in a message; the rest is counted
_LISTED = 12  # kinds of faults listed
_VECTORS = {"translation": 3, "size": 3, "rotation": 4, "velocity": 2}
_REQUIRED = (*_VECTORS, "sample_token", "detection_name", "detection_score", "attribute_name")


def read_results(path: str | Path) -> dict[str, Any]:
    """Reads a result file and checks its outer form.

    Args:
        path: nuScenes result file.

    Returns:
        The file's content with the keys meta and results, both mappings; the boxes are not looked at.

    Raises:
        ResultError: no such file, not JSON, a key or token given twice, `meta` or `results` missing.
    """
    repeated: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        # json keeps the last of two equal keys in silence, which would lose the boxes of the first.
        content = dict(pairs)
        if len(content) != len(pairs):
            repeated.extend(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        return content

    content = _load(Path(path), unique)
    if repeated:
        raise ResultError(
            f"{path}: {_list(repeated)} given more than once; keep one entry per sample token "
            "(samples that several ranks have seen must be merged)"
        )
    for key in ("meta", "results"):
        if not isinstance(content, dict) or not isinstance(content.get(key), dict):
            raise ResultError(
                f"{path}: no mapping '{key}' at the top; expected "
                '{"meta": {"use_lidar": true, ...}, "results": {sample token: [box, ...]}}, '
                "see https://www.nuscenes.org/object-detection"
            )
    return dict(content)


def _load(path: Path, hook: Callable[[list[tuple[str, Any]]], dict[str, Any]]) -> Any:
    try:
        with path.open(encoding="utf-8") as file:
            return json.load(file, object_pairs_hook=hook)
    except OSError as error:
        raise ResultError(f"cannot read the result file {path}: {error.strerror}; set results=FILE") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ResultError(f"{path} is not JSON ({error}); write it again, for example with json.dump") from error


def check_results(content: Mapping[str, Any], expected_tokens: Iterable[str], name: str = "results") -> None:
    """Checks a result file's content against the samples it is scored on.

    Args:
        content: mapping with the keys meta and results, as `read_results` returns it.
        expected_tokens: tokens of all samples of the split.
        name: what messages call the file.

    Raises:
        ResultError: tokens are missing or foreign, or boxes break the format; every kind of fault is listed with its
            count and the first tokens.
    """
    for key in ("meta", "results"):
        if not isinstance(content.get(key), Mapping):
            raise ResultError(f"{name}: no mapping '{key}'; a result file holds 'meta' and 'results'")
    results, expected = content["results"], list(expected_tokens)
    known = set(expected)
    faults: dict[str, list[str]] = defaultdict(list)
    faults["samples of the split are missing; give each an entry, [] where nothing was found"] = [
        token for token in expected if token not in results
    ]
    faults["samples are not in the split; choose the split they were made for (split=NAME)"] = [
        token for token in results if token not in known
    ]
    for token, boxes in results.items():
        for fault in _sample_faults(token, boxes):
            faults[fault].append(token)
    found = {fault: tokens for fault, tokens in faults.items() if tokens}
    if found:
        lines = [f"  {len(tokens)} {fault}: {_list(tokens)}" for fault, tokens in list(found.items())[:_LISTED]]
        raise ResultError(f"{name} does not fit the {len(expected)} samples it is scored on:\n" + "\n".join(lines))


def _list(tokens: Sequence[str]) -> str:
    named = ", ".join(repr(token) for token in tokens[:_NAMED])
    return named if len(tokens) <= _NAMED else f"{named} and {len(tokens) - _NAMED} more"


def _sample_faults(token: str, boxes: Any) -> set[str]:
    if not isinstance(boxes, Sequence) or isinstance(boxes, str):
        return {f"samples hold no list of boxes but a {type(boxes).__name__}"}
    faults = {fault for box in boxes for fault in _box_faults(token, box)}
    if len(boxes) > MAX_BOXES_PER_SAMPLE:
        faults.add(f"samples have more than {MAX_BOXES_PER_SAMPLE} boxes; keep those with the best scores")
    return faults


def _box_faults(token: str, box: Any) -> Iterator[str]:
    if not isinstance(box, Mapping):
        yield "samples have a box that is not a mapping"
        return
    missing = [key for key in _REQUIRED if key not in box]
    if missing:
        yield f"samples have a box without {', '.join(missing)}"
        return
    if box["sample_token"] != token:
        yield "samples have a box whose sample_token is another's"
    if box["detection_name"] not in DETECTION_NAMES:
        yield f"samples have a box of unknown class {box['detection_name']!r} (known: {', '.join(DETECTION_NAMES)})"
    if box["attribute_name"] not in ("", *ATTRIBUTE_NAMES):
        yield f"samples have a box with unknown attribute {box['attribute_name']!r} (or '' for none)"
    yield from _number_faults(box)


def _number_faults(box: Mapping[str, Any]) -> Iterator[str]:
    sound = True
    for key, length in _VECTORS.items():
        fault = _vector_fault(box[key], length)
        if fault:
            yield f"samples have a box whose {key} {fault}"
        sound = sound and not fault
    if not _is_finite(box["detection_score"]):
        yield "samples have a box whose detection_score is not a finite number"
    if "num_pts" in box and not isinstance(box["num_pts"], int):
        yield "samples have a box whose num_pts is not a whole number; leave it out"
    if sound and min(box["size"]) <= 0:
        yield "samples have a box with a width, length or height that is not positive"
    if sound and not any(box["rotation"]):
        yield "samples have a box with the zero quaternion as its rotation"


def _vector_fault(value: Any, length: int) -> str:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != length:
        return f"is not a list of {length} numbers"
    return "" if all(_is_finite(number) for number in value) else "has NaN, infinity or something not a number"


def _is_finite(number: Any) -> bool:
    # Compared, not converted: a JSON integer may be too large for a float.
    is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
    return is_number and abs(number) <= sys.float_info.max
