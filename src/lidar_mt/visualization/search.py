"""A search as a picture: the value of each trial in order, and against each parameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

_COLOURS = {"complete": "tab:blue", "pruned": "tab:orange"}


def draw_search(rows: Sequence[Mapping[str, Any]], monitor: str, log_scaled: Sequence[str] = ()) -> Figure:
    """Draws a study.

    Args:
        rows: trials with number, state, value and parameters; those without a value are left out.
        monitor: name of the value.
        log_scaled: parameters whose axis is logarithmic.
    """
    scored = [row for row in rows if row["value"] is not None]
    names = list(dict.fromkeys(name for row in scored for name in row["parameters"]))
    figure = Figure(figsize=(4.0 * (1 + len(names)), 3.6), layout="constrained")
    axes = figure.subplots(1, 1 + len(names), squeeze=False, sharey=True)[0]
    for axis, name in zip(axes, ["trial", *names], strict=True):
        for state, colour in _COLOURS.items():
            chosen = [row for row in scored if row["state"] == state]
            x = [row["number"] if name == "trial" else row["parameters"].get(name) for row in chosen]
            axis.scatter(x, [row["value"] for row in chosen], color=colour, label=state)
        axis.set_xlabel(name)
        axis.grid(alpha=0.3)
        if name in log_scaled:
            axis.set_xscale("log")
    axes[0].set_ylabel(monitor)
    axes[0].legend()
    return figure
