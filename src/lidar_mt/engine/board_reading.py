"""The curves of a run, read back from its TensorBoard files."""

from __future__ import annotations

import logging
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

#: Points per curve that are kept, evenly drawn from all.
_POINTS = 2000

Curve = list[tuple[int, float]]


def read_curves(folders: list[Path]) -> dict[str, Curve]:
    """Scalars by name as (step, value), of several runs that went on from one another.

    Args:
        folders: with event files, oldest first; where steps overlap, the later run counts.
    """
    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it tells of every file that it has read to the end
    merged: dict[str, dict[int, float]] = {}
    for folder in folders:
        events = EventAccumulator(str(folder), size_guidance={"scalars": _POINTS, "images": 1, "tensors": 1})
        events.Reload()
        for name in events.Tags()["scalars"]:
            points = {event.step: float(event.value) for event in events.Scalars(name)}
            before = {step: value for step, value in merged.get(name, {}).items() if step < min(points, default=0)}
            merged[name] = before | points
    return {name: sorted(points.items()) for name, points in merged.items()}
