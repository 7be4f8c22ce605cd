"""Reading a nuScenes result file of millions of boxes into columns.

The common, sound file is decoded a sample at a time. Whatever is odd about a file sends it to `result_check`, which is
slow and says what is wrong and where.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from lidar_mt.metrics.detection_protocol import ATTRIBUTE_NAMES, DETECTION_NAMES, MAX_BOXES_PER_SAMPLE
from lidar_mt.metrics.eval_boxes import EvalBoxes, Floats, no_boxes
from lidar_mt.metrics.result_check import check_results, read_results
from lidar_mt.structures.errors import ResultError

_LABELS = {name: index for index, name in enumerate(DETECTION_NAMES)}
_ATTRIBUTES = {"": -1, **{name: index for index, name in enumerate(ATTRIBUTE_NAMES)}}
_ATTRIBUTE_CHOICES = tuple(_ATTRIBUTES)
_NUMBERS = attrgetter("translation", "size", "rotation", "velocity")
_WIDTH = 3 + 3 + 4 + 2


class _Box(msgspec.Struct, frozen=True, gc=False):
    sample_token: str
    translation: tuple[float, float, float]
    size: tuple[float, float, float]
    rotation: tuple[float, float, float, float]
    velocity: tuple[float, float]
    detection_score: float
    detection_name: Literal[DETECTION_NAMES]  # type: ignore[valid-type]
    attribute_name: Literal[_ATTRIBUTE_CHOICES]  # type: ignore[valid-type]
    num_pts: int = -1


class _Odd(Exception):  # noqa: N818
    """The file is not of the common form."""


class ResultBoxes:
    """What a result file holds: `meta`, the `tokens` in its order, and all `boxes`; `sample` counts the tokens."""

    def __init__(self, meta: dict[str, Any], tokens: list[str], boxes: EvalBoxes) -> None:
        self.meta, self.tokens, self.boxes = meta, tokens, boxes

    def for_samples(self, tokens: Sequence[str], *, in_their_order: bool) -> EvalBoxes:
        """The boxes, with `sample` counting `tokens`, which hold all of the file's.

        Args:
            tokens: of the samples to score.
            in_their_order: whether the boxes follow the order of `tokens` instead of the file's.
        """
        place = {token: index for index, token in enumerate(tokens)}
        new = np.array([place[token] for token in self.tokens], dtype=np.int64)
        boxes = self.boxes._replace(sample=new[self.boxes.sample])
        return boxes.select(np.argsort(boxes.sample, kind="stable")) if in_their_order else boxes


def check_readable(path: str | Path) -> None:
    """Raises ResultError where there is no such file or it may not be read."""
    try:
        Path(path).open("rb").close()
    except OSError as error:
        raise ResultError(f"cannot read the result file {path}: {error.strerror}; set results=FILE") from error


def read_result_boxes(path: str | Path, split_tokens: Sequence[str], *, is_partial: bool = False) -> ResultBoxes:
    """Reads and checks a result file.

    Args:
        path: nuScenes result file.
        split_tokens: tokens of all samples of the split.
        is_partial: whether samples of the split may be missing from the file.

    Raises:
        ResultError: the file cannot be read, does not fit the split or breaks the format.
    """
    try:
        return _read_sound_file(Path(path), set(split_tokens), is_partial=is_partial)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError, _Odd):
        content = read_results(path)
    expected = [token for token in split_tokens if token in content["results"]] if is_partial else split_tokens
    check_results(content, expected, str(path))
    # Whole after all, only written in an unusual way.
    fields = _Box.__struct_fields__
    samples = [
        [_Box(**{field: box[field] for field in fields if field in box}) for box in boxes]
        for boxes in content["results"].values()
    ]
    return ResultBoxes(content["meta"], list(content["results"]), _columns(samples))


def _read_sound_file(path: Path, split_tokens: set[str], *, is_partial: bool) -> ResultBoxes:
    text = path.read_bytes()
    content = _members(text)
    meta = msgspec.json.decode(content.get("meta", b"null"))
    if not isinstance(meta, dict) or "results" not in content:
        raise _Odd
    results = _members(content["results"])
    if not (results.keys() <= split_tokens and (is_partial or len(results) == len(split_tokens))):
        raise _Odd
    decoder = msgspec.json.Decoder(list[_Box])
    return ResultBoxes(meta, list(results), _columns(_samples(results, decoder)))


def _samples(results: dict[str, msgspec.Raw], decoder: msgspec.json.Decoder[list[_Box]]) -> Iterator[list[_Box]]:
    for token, raw in results.items():
        boxes = decoder.decode(raw)
        if len(boxes) > MAX_BOXES_PER_SAMPLE or any(box.sample_token != token for box in boxes):
            raise _Odd
        yield boxes


def _columns(samples: Iterable[list[_Box]]) -> EvalBoxes:
    parts = [_columns_of(index, boxes) for index, boxes in enumerate(samples)]
    boxes = EvalBoxes.concatenate(parts)
    if (boxes.size <= 0).any() or not boxes.rotation.any(axis=1).all():
        raise _Odd
    return boxes


def _columns_of(index: int, boxes: list[_Box]) -> EvalBoxes:
    if not boxes:
        return no_boxes()
    count = len(boxes)
    flat = chain.from_iterable(chain.from_iterable(map(_NUMBERS, boxes)))
    numbers: Floats = np.fromiter(flat, np.float64, count * _WIDTH).reshape(count, _WIDTH)
    return EvalBoxes(
        sample=np.full(count, index),
        label=np.fromiter((_LABELS[box.detection_name] for box in boxes), np.int64, count),
        center=numbers[:, :3],
        size=numbers[:, 3:6],
        rotation=numbers[:, 6:10],
        velocity=numbers[:, 10:],
        attribute=np.fromiter((_ATTRIBUTES[box.attribute_name] for box in boxes), np.int64, count),
        score=np.fromiter((box.detection_score for box in boxes), np.float64, count),
        # What matters is whether it is 0, and a whole number of JSON may be of any size.
        num_points=np.fromiter((max(-1, min(box.num_pts, 1)) for box in boxes), np.int64, count),
    )


def _members(text: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    """The members of a JSON object as views into its text, when every name is given once.

    Decoders keep the last of two equal names in silence. Here what lies between one member and the next must be
    the next one's name and nothing more, which a member that was dropped would make longer.
    """
    members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    whole = memoryview(text).cast("B")
    base, end = _address(whole), 0
    for name, raw in members.items():
        view = memoryview(raw).cast("B")
        start = _address(view) - base
        between = bytes(whole[end:start]) if start > end else b""
        if msgspec.json.decode(between.strip(b" \t\r\n{,:")) != name:
            raise _Odd
        end = start + len(view)
    return members


def _address(view: memoryview) -> int:
    return int(np.frombuffer(view, dtype=np.uint8).ctypes.data)
