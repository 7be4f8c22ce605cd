"""The ranking of layers as text and as plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lidar_mt.quantization.sensitivity import Effect, Quality, decibels

NOTES = (
    "SQNR of the outputs in dB, with this alone rounded and all else in float. 10 dB less is ten times the noise.",
    "int16: with its weights alone rounded, which is about what an exception of int16 leaves.",
)


def columns(tasks: Sequence[str], with_losses: bool) -> list[str]:
    """Headers of the table."""
    return ["", "layer", "computes", "SQNR", *tasks, "int16", *(["loss %"] if with_losses else [])]


def cells(number: int, effect: Effect, kinds: Mapping[str, str], tasks: Sequence[str], with_losses: bool) -> list[str]:
    """A line of the table.

    Args:
        number: place in the ranking, from 1.
        effect: what is shown.
        kinds: what each layer computes, see `report.Row.kind`.
        tasks: names of the outputs' tasks, in order.
        with_losses: there is a column of them.
    """
    quality = effect.rounded.tasks
    line = [str(number), effect.name, kind_of(effect, kinds), show(effect.rounded.total)]
    line += [*(show(quality[task]) for task in tasks), show(effect.weights.total)]
    if with_losses:
        line.append(f"{100 * effect.losses['total']:+.3f}" if effect.losses else "")
    return line


def kind_of(effect: Effect, kinds: Mapping[str, str]) -> str:
    """What a layer computes, or how many layers a group has."""
    if effect.members == (effect.name,):
        return kinds.get(effect.name, "")
    return f"{len(effect.members)} layer{'s' if len(effect.members) > 1 else ''}"


def show(ratio: float) -> str:
    """A noise ratio in dB.

    Example:
        >>> show(0.01), show(0.0)
        ('20.0', 'inf')
    """
    return f"{decibels(ratio):.1f}"


def whole_line(quality: Quality) -> str:
    """The network with everything rounded, in one line."""
    tasks = ", ".join(f"{task} {show(ratio)}" for task, ratio in quality.tasks.items())
    return f"everything rounded: SQNR {show(quality.total)} dB ({tasks})"


def text(effects: Sequence[Effect], whole: Quality, kinds: Mapping[str, str], title: str) -> str:
    """All rows as aligned text."""
    tasks, with_losses = list(whole.tasks), any(effect.losses for effect in effects)
    lines = [columns(tasks, with_losses)]
    lines += [cells(number, effect, kinds, tasks, with_losses) for number, effect in enumerate(effects, start=1)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([title, *NOTES, whole_line(whole), "", *rows]) + "\n"


def as_plain(effects: Sequence[Effect], whole: Quality, kinds: Mapping[str, str]) -> dict[str, Any]:
    """The ranking as plain values, decibels in place of ratios; infinite where nothing is disturbed."""
    rows = [
        {
            "name": effect.name,
            "layers": list(effect.members),
            "computes": kind_of(effect, kinds),
            **quality_as_plain(effect.rounded),
            "int16_sqnr_db": _rounded(effect.weights.total),
            "loss_increase": {term: round(share, 7) for term, share in effect.losses.items()},
        }
        for effect in effects
    ]
    return {"everything_rounded": quality_as_plain(whole), "ranking": rows}


def quality_as_plain(quality: Quality) -> dict[str, Any]:
    """SQNR [dB] over all, by task, by quantity and by output."""
    return {
        "sqnr_db": _rounded(quality.total),
        "tasks_db": {task: _rounded(ratio) for task, ratio in quality.tasks.items()},
        "quantities_db": {name: _rounded(ratio) for name, ratio in quality.quantities.items()},
        "outputs_db": {name: _rounded(ratio) for name, ratio in quality.ratios.items()},
    }


def _rounded(ratio: float) -> float:
    value = decibels(ratio)
    return round(value, 3) if math.isfinite(value) else value
