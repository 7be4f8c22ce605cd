"""Two forms of a network, layer by layer: signal over error, and what the error is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from lidar_mt.quantization.compare import Difference
from lidar_mt.visualization import palette
from lidar_mt.visualization.figure import new_figure

_WIDTH_PX, _LEFT_PX, _TEXT_PX, _TOP_PX, _PANEL_PX, _GAP_PX, _BOTTOM_PX = 1640, 76, 400, 52, 260, 26, 74
_WORST, _NAME_ROWS, _LETTER_PX = 10, 3, 7
_PARTS = ("#4f8fd0", "#2fb5a5")
_OUTPUTS = "outputs"
_ERRORS = (
    ("rounding", "rounding_rms", "#6fe0ff"),
    ("clipping", "clipping_rms", palette.MISSED),
    ("inherited", "inherited_rms", palette.FALSE_ALARM),
)
#: Best and worst value of the scale [dB] where all are better or worse.
_SCALE_DB = (0.0, 60.0)


def draw_layers(layers: Mapping[str, Difference], outputs: Mapping[str, Difference], names: tuple[str, str]) -> Figure:
    """Draws SQNR in the network's order, and below it the error in steps of the codes, where there are codes.

    Args:
        layers: by name, in the order of computation.
        outputs: by name; they follow the layers.
        names: of the two forms.

    Returns:
        A figure for `save_figure`.
    """
    every = {**layers, **{f"{_OUTPUTS}.{name}": found for name, found in outputs.items()}}
    second = _second_panel(list(layers.values()))
    panels = 1 if second is None else 2
    height = _TOP_PX + panels * _PANEL_PX + (panels - 1) * _GAP_PX + _BOTTOM_PX
    figure = new_figure(_WIDTH_PX, height)
    plot_px = _WIDTH_PX - _LEFT_PX - _TEXT_PX
    axes = []
    for i in range(panels):
        top = _TOP_PX + i * (_PANEL_PX + _GAP_PX)
        place = (_LEFT_PX / _WIDTH_PX, 1 - (top + _PANEL_PX) / height, plot_px / _WIDTH_PX, _PANEL_PX / height)
        axes.append(figure.add_axes(place))
    parts = [part_of(name) for name in every]
    _draw_sqnr(axes[0], list(every.values()), parts)
    if second == "split":
        _draw_split(axes[1], list(every.values()))
    elif second == "codes":
        _draw_codes(axes[1], list(every.values()))
    for each in axes:
        _dress(each, len(every))
    _name_parts(axes, parts)
    _write_worst(figure, every, height)
    title = f"{names[0]} against {names[1]}: {len(layers)} layers, {len(outputs)} outputs"
    y = 1 - _TOP_PX / 2 / height
    figure.text(_LEFT_PX / _WIDTH_PX, y, title, color=palette.INK, fontsize=13, weight="bold", va="center")
    return figure


def part_of(name: str) -> str:
    """The part of the network that a layer belongs to, in a word.

    Example:
        >>> [part_of(name) for name in ("backbone.levels.level2.1.conv", "heads.detection.shared", "neck.a", "scatter")]
        ['level2', 'detection', 'neck', 'encoder']
    """
    first, *rest = name.split(".")
    if first == "scatter":
        return "encoder"
    if len(rest) > 1 and rest[0] == "levels":
        return rest[1]
    if first == "heads" and rest:
        return rest[0]
    return "stem" if first == "backbone" and rest and rest[0] == "stem" else first


def _second_panel(layers: Sequence[Difference]) -> str | None:
    if any(found.rounding_rms is not None for found in layers):
        return "split"
    return "codes" if any(found.differing_codes is not None for found in layers) else None


def _draw_sqnr(axes: Any, found: Sequence[Difference], parts: Sequence[str]) -> None:
    order = list(dict.fromkeys(parts))
    low, high = _SCALE_DB
    decibels = np.array([each.sqnr_db for each in found], dtype=float)
    drawn = decibels[np.isfinite(decibels)]
    low, high = min([low, *(drawn - 3)]), max([high, *(drawn + 5)])
    place = np.arange(len(found))
    equal = np.array([each.equal for each in found], dtype=bool)
    colors = [
        to_rgba(palette.INK if part == _OUTPUTS else _PARTS[order.index(part) % 2], 0.35 if same else 1.0)
        for part, same in zip(parts, equal.tolist(), strict=True)
    ]
    undefined = ~np.isfinite(decibels) & ~equal
    tall = np.where(np.isfinite(decibels), decibels, high)
    axes.bar(place, tall - low, bottom=low, width=0.8, color=colors)
    if equal.any():
        text = f"pale and full height: equal to the bit, {int(equal.sum())} of {len(found)}"
        axes.text(
            0.008, 0.93, text, transform=axes.transAxes, color=palette.INK, fontsize=10, va="top",
            bbox={"facecolor": palette.BACKGROUND, "edgecolor": "none", "alpha": 0.8, "pad": 3},
        )  # fmt: skip
    if undefined.any():
        axes.plot(place[undefined], np.full(undefined.sum(), low), "x", color=palette.MISSED, clip_on=False)
    axes.set_ylim(low, high)
    axes.set_ylabel("SQNR [dB]", color=palette.INK_MUTED, fontsize=10)


def _draw_split(axes: Any, found: Sequence[Difference]) -> None:
    for label, field, color in _ERRORS:
        values = _values(found, field)
        # The scale is logarithmic; nothing is no value on it.
        axes.plot(np.where(values > 0, values, np.nan), ".-", color=color, linewidth=0.8, markersize=4, label=label)
    axes.set_yscale("log")
    axes.set_ylim(1e-3, 4 * axes.get_ylim()[1])  # room for the legend
    axes.set_ylabel("error, rms [LSB]", color=palette.INK_MUTED, fontsize=10)
    _legend(axes)


def _draw_codes(axes: Any, found: Sequence[Difference]) -> None:
    share = [
        np.nan if each.differing_codes is None else 100 * each.differing_codes / max(1, each.count) for each in found
    ]
    axes.bar(np.arange(len(found)), share, width=0.8, color=palette.FALSE_ALARM, label="codes that differ [%]")
    largest = _values(found, "max_code")
    axes.plot(largest, ".", color="#6fe0ff", markersize=5, label="largest difference [LSB]")
    axes.set_ylim(0, max(1.0, 1.15 * float(np.nanmax([*share, *largest, 0]))))
    axes.set_ylabel("codes [% and LSB]", color=palette.INK_MUTED, fontsize=10)
    _legend(axes)


def _values(found: Sequence[Difference], field: str) -> npt.NDArray[np.float64]:
    return np.array([np.nan if getattr(each, field) is None else getattr(each, field) for each in found], dtype=float)


def _legend(axes: Any) -> None:
    axes.legend(
        loc="upper left", fontsize=9, labelcolor=palette.INK, facecolor=palette.BACKGROUND,
        edgecolor=palette.GRID_LINE, ncols=3,
    )  # fmt: skip


def _dress(axes: Any, count: int) -> None:
    axes.set(facecolor=palette.PANEL, xlim=(-1, count), xticks=[])
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=palette.GRID_LINE, linewidth=0.5, alpha=0.5)
    axes.tick_params(colors=palette.INK_MUTED, labelsize=9, length=3, color=palette.GRID_LINE)
    for spine in axes.spines.values():
        spine.set(color=palette.GRID_LINE, linewidth=0.8)


def _name_parts(axes: Sequence[Any], parts: Sequence[str]) -> None:
    """Separates the parts by lines and names them below, in the first row that has room."""
    starts = [i for i, part in enumerate(parts) if i == 0 or part != parts[i - 1]]
    per_letter = _LETTER_PX * (len(parts) + 1) / (_WIDTH_PX - _LEFT_PX - _TEXT_PX)
    ends = [-np.inf] * _NAME_ROWS
    for start, end in zip(starts, [*starts[1:], len(parts)], strict=True):
        for each in axes:
            each.axvline(start - 0.5, color=palette.GRID_LINE, linewidth=0.7)
        middle, half = (start + end - 1) / 2, per_letter * (len(parts[start]) + 1) / 2
        row = next((i for i, taken in enumerate(ends) if middle - half > taken), 0)
        ends[row] = middle + half
        axes[-1].text(
            middle, -0.03 - 0.075 * row, parts[start], color=palette.INK_MUTED, fontsize=9,
            ha="center", va="top", transform=axes[-1].get_xaxis_transform(),
        )  # fmt: skip


def _write_worst(figure: Figure, every: Mapping[str, Difference], height: int) -> None:
    worst = sorted((item for item in every.items() if not item[1].equal), key=_badness)[:_WORST]
    left, y = (_WIDTH_PX - _TEXT_PX + 20) / _WIDTH_PX, 1 - (_TOP_PX + 8) / height
    right = (_WIDTH_PX - 16) / _WIDTH_PX
    figure.text(left, y, "lowest SQNR" if worst else "nothing differs", color=palette.INK_MUTED, fontsize=10, va="top")
    for i, (name, found) in enumerate(worst, start=1):
        line = y - i * 22 / height
        figure.text(left, line, _short(name), color=palette.INK, fontsize=9, va="top")
        figure.text(right, line, f"{found.sqnr_db:.1f} dB", color=palette.INK, fontsize=9, va="top", ha="right")


def _badness(item: tuple[str, Difference]) -> float:
    return -np.inf if np.isnan(item[1].sqnr_db) else item[1].sqnr_db


def _short(name: str, limit: int = 46) -> str:
    """The end of a long name, which tells layers of one part apart."""
    return name if len(name) <= limit else f"...{name[3 - limit :]}"
