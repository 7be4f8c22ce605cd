"""Counts and checks of a GT database before it is published."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lidar_mt.data.gt_database import POINT_COLUMNS
from lidar_mt.data.gt_extraction import FrameObjects
from lidar_mt.structures.errors import DataError

#: Objects with fewer points are not pasted into scenes.
MIN_POINTS = 5


@dataclass
class ClassCount:
    """Numbers of one detection class.

    Attributes:
        name: detection class.
        keyframes: keyframes with at least one stored object.
        annotated: annotations of the class.
        valid: those with any LiDAR or radar point inside, as annotated.
        stored: those with a LiDAR point in the keyframe or its sweeps.
        usable: those with at least `MIN_POINTS` points.
        points: points of all stored objects.
    """

    name: str
    keyframes: int = 0
    annotated: int = 0
    valid: int = 0
    stored: int = 0
    usable: int = 0
    points: int = 0

    def why_empty(self, split: str) -> str:
        """Says why the class has no stored object."""
        if not self.annotated:
            return f"{self.name}, because no keyframe of the split {split!r} has one annotated, as in a small set"
        if not self.valid:
            return f"{self.name}, because none of the {self.annotated} annotated ones has a LiDAR or radar point inside"
        return (
            f"{self.name}, because none of the {self.valid} valid ones holds a LiDAR point of its keyframe or sweeps: "
            "do the point files and poses belong to the tables?"
        )


def count_classes(frames: Iterable[FrameObjects], classes: Sequence[str]) -> list[ClassCount]:
    """Counts objects by class.

    Args:
        frames: what the keyframes gave.
        classes: detection classes, the order of the result.
    """
    counts = {name: ClassCount(name) for name in classes}
    for frame in frames:
        for name, valid in zip(frame.names, frame.valid, strict=True):
            if name in counts:
                counts[name].annotated += 1
                counts[name].valid += valid
        stored = [frame.names[i] for i in frame.gt_idx]
        for name, points in zip(stored, frame.num_points, strict=True):
            counts[name].stored += 1
            counts[name].usable += points >= MIN_POINTS
            counts[name].points += points
        for name in set(stored):
            counts[name].keyframes += 1
    return list(counts.values())


def check_files(folder: Path, counts: Iterable[ClassCount]) -> None:
    """Checks that the folder of points holds one file per object, of the right total size.

    Raises:
        DataError: files are missing, short or too many.
    """
    counts = list(counts)
    wanted = sum(count.stored for count in counts), sum(count.points for count in counts) * 4 * POINT_COLUMNS
    try:
        with os.scandir(folder) as entries:
            sizes = [entry.stat().st_size for entry in entries]
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror or error}") from error
    if (len(sizes), sum(sizes)) != wanted:
        raise DataError(
            f"{folder} holds {len(sizes)} files of {sum(sizes)} bytes, but {wanted[0]} objects of {wanted[1]} bytes "
            f"were stored; remove {folder.parent} and run `make create-data` again"
        )


def format_counts(counts: Sequence[ClassCount]) -> str:
    """A table of the counts, a line per class and a total."""
    heads = ("class", "keyframes", "annotated", "valid", "stored", f">= {MIN_POINTS} points", "points")
    rows = [
        (c.name, *(f"{n:,}" for n in (c.keyframes, c.annotated, c.valid, c.stored, c.usable, c.points))) for c in counts
    ]
    totals = (
        sum(numbers)
        for numbers in zip(*((c.annotated, c.valid, c.stored, c.usable, c.points) for c in counts), strict=True)
    )
    table = [heads, *rows, ("all", "", *(f"{total:,}" for total in totals))]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in table
    )
