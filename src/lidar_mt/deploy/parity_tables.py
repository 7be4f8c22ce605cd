"""A comparison for people (a short table, a long text) and for programs (JSON)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from lidar_mt.deploy.agreement import MATCH_M, Agreement, BoxAgreement
from lidar_mt.deploy.parity import OBJECT_SCORE, OutputRow, Report
from lidar_mt.quantization.compare import Difference

_WORST = 8
_ABSENT = "-"
_NO_LAYERS = "; a and b show no layer in common, so none was compared"
_OUTPUT_HEADS = (
    "output", "classes", "unit", "max abs", "mean abs", "SQNR dB", "cosine", "objects: max", "mean", "SQNR dB", "min a",
    "max a", "min b", "max b",
)  # fmt: skip
_LAYER_HEADS = (
    "layer", "codes", "differ", "max LSB", "SQNR dB", "cosine", "LSB", "min a", "max a", "min b", "max b", "clipped %",
    "rounding", "clipping", "inherited",
)  # fmt: skip


def summary(report: Report) -> RenderableType:
    """The worst output of each kind, the worst layers, and how far the predictions agree."""
    frames = f"{report.frames} frame{'s' if report.frames != 1 else ''}"
    parts: list[RenderableType] = [f"a = {report.a}, b = {report.b}, {frames}; errors are those of b against a"]
    parts.append(_output_table(report.outputs))
    if report.layers:
        parts.append(_layer_table(report))
    parts += [*_decoded_lines(report), *_missing_lines(report), verdict(report)]
    return Group(*parts)


def verdict(report: Report) -> str:
    """One line: equal, or how much differs."""
    layers, outputs = len(report.layers), len(report.outputs)
    if report.equal:
        compared = f"{layers} layers and {outputs} outputs" if layers else f"{outputs} outputs{_NO_LAYERS}"
        return f"equal: no value differs in {compared}"
    different = f"{len(report.unequal_outputs)} of {outputs} outputs"
    if not layers:
        return f"different: {different}{_NO_LAYERS}"
    counted = [each.differing_codes for each in report.layers.values() if each.differing_codes is not None]
    codes = f"; {sum(counted):,} codes differ" if counted else ""
    return f"different: {len(report.unequal_layers)} of {layers} layers and {different}{codes}"


def full_text(report: Report) -> str:
    """Every output and every layer, one line each, and what the columns mean."""
    notes = (
        "SQNR: energy of a over energy of b - a; 'equal' without any error.",
        f"objects: cells where a's score is above {OBJECT_SCORE}; elsewhere boxes are neither trained nor read.",
        "codes: elements of layers whose codes can be compared, and how many differ, by how many steps (LSB) at most.",
        "LSB: value of one step of b's codes, or of a's where b has none.",
        "clipped: where one side is real, share of its values beyond the range that the codes cover.",
        "rounding, clipping, inherited: error [LSB, root mean square] of rounding the real values, of cutting them at",
        "the range, and what is left: that of the layers before and of the weights.",
    )
    outputs = [_OUTPUT_HEADS, *(_output_cells(row) for row in report.outputs)]
    layers = [_LAYER_HEADS, *(_layer_cells(name, each) for name, each in report.layers.items())]
    lines = [f"a = {report.a}", f"b = {report.b}", f"frames = {report.frames}", verdict(report), ""]
    lines += [*_decoded_lines(report), *_missing_lines(report), "", *notes, "", *_align(outputs, left=3), ""]
    return "\n".join([*lines, *_align(layers, left=1)]) + "\n"


def content(report: Report) -> dict[str, Any]:
    """Everything as plain values; numbers that are not finite stay so, see `metrics.json_files.nan_to_none`."""
    return {
        "a": report.a,
        "b": report.b,
        "frames": report.frames,
        "equal": report.equal,
        "outputs": [
            {
                "name": row.name,
                "group": row.group,
                "unit": row.unit,
                **_values(row.difference),
                "at_objects": None if row.at_objects is None else _values(row.at_objects),
            }
            for row in report.outputs
        ],
        "layers": [{"name": name, **_values(each)} for name, each in report.layers.items()],
        "only_a": list(report.only_a),
        "only_b": list(report.only_b),
        "decoded": {name: _agreement_values(found) for name, found in report.decoded.items()},
    }


def _values(difference: Difference) -> dict[str, Any]:
    return {**asdict(difference), "max_lsb": difference.max_lsb, "equal": difference.equal}


def _agreement_values(found: Agreement) -> dict[str, Any]:
    if isinstance(found, BoxAgreement):
        values = asdict(found)
        del values["sum_score"]
        return {**values, "mean_score": found.mean_score, "match_m": MATCH_M}
    return {**asdict(found), "share": found.share}


def _output_table(rows: Sequence[OutputRow]) -> Table:
    table = _table(f"Outputs: the worst of each kind (objects: cells where a scores above {OBJECT_SCORE})")
    table.add_column("\noutput", no_wrap=True)
    for head in ("\nunit", "max\nabs", "mean\nabs", "SQNR\ndB", "objects:\nmean abs", "SQNR\ndB"):
        table.add_column(head, justify="right", no_wrap=True)
    for kind in dict.fromkeys(row.kind for row in rows):
        same = [row for row in rows if row.kind == kind]
        worst = min(same, key=_badness)
        found, there = worst.difference, worst.at_objects
        table.add_row(
            worst.name, worst.unit or _ABSENT, f"{found.max_abs:.3g}", f"{found.mean_abs:.3g}",
            _decibels(found), _there(there)[1], _decibels(there),
        )  # fmt: skip
    return table


def _badness(row: OutputRow) -> float:
    return -math.inf if math.isnan(row.difference.sqnr_db) else row.difference.sqnr_db


def _layer_table(report: Report) -> RenderableType:
    # Stable: of equally bad ones the first in the network, where it begins.
    layers = sorted(
        (item for item in report.layers.items() if not item[1].equal),
        key=lambda item: -math.inf if math.isnan(item[1].sqnr_db) else item[1].sqnr_db,
    )
    if not layers:
        return f"Layers: all {len(report.layers)} equal"
    table = _table(f"Layers: the worst {min(_WORST, len(layers))} of {len(report.layers)}, {len(layers)} differ")
    table.add_column("layer", overflow="fold")
    heads = ["differ"] if any(each.differing_codes is not None for _, each in layers) else ["clipped %"]
    heads += ["max LSB", "SQNR dB", "cosine"]
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for name, found in layers[:_WORST]:
        cells = dict(zip(_LAYER_HEADS, _layer_cells(name, found), strict=True))
        table.add_row(name, *(cells[head] for head in heads))
    return table


def _output_cells(row: OutputRow) -> tuple[str, ...]:
    found = row.difference
    return (
        row.name, row.group or _ABSENT, row.unit or _ABSENT, _number(found.max_abs), _number(found.mean_abs),
        _decibels(found), _cosine(found), *_there(row.at_objects), *_ranges(found),
    )  # fmt: skip


def _there(found: Difference | None) -> tuple[str, str, str]:
    if found is None or not found.count:
        return _ABSENT, _ABSENT, _ABSENT
    return _number(found.max_abs), _number(found.mean_abs), _decibels(found)


def _layer_cells(name: str, found: Difference) -> tuple[str, ...]:
    counted = found.differing_codes is not None
    largest = found.max_code if counted else found.max_lsb
    return (
        name, str(found.count) if counted else _ABSENT, str(found.differing_codes) if counted else _ABSENT,
        _number(largest), _decibels(found), _cosine(found), _number(found.lsb), *_ranges(found),
        _ABSENT if found.clipped is None else f"{100 * found.clipped:.4g}", _number(found.rounding_rms),
        _number(found.clipping_rms), _number(found.inherited_rms),
    )  # fmt: skip


def _ranges(found: Difference) -> Iterable[str]:
    return (_number(value) for value in (*found.range_a, *found.range_b))


def _decoded_lines(report: Report) -> list[str]:
    lines = []
    for name, found in report.decoded.items():
        if isinstance(found, BoxAgreement):
            lonely = found.boxes_a - found.matched, found.boxes_b - found.matched
            lines.append(
                f"{name}: {found.boxes_a} boxes in a, {found.boxes_b} in b; {found.matched} agree within {MATCH_M} m, "
                f"{lonely[0]} only in a, {lonely[1]} only in b; scores of those that agree differ by "
                f"{found.mean_score:.2g} on average, {found.max_score:.2g} at most"
            )
        else:
            lines.append(
                f"{name}: {found.differing:,} of {found.cells:,} cells have another label, {100 * found.share:.3g} %"
            )
    return lines


def _missing_lines(report: Report) -> list[str]:
    return [
        f"{len(only)} layers are shown by {form} alone, among them {', '.join(only[:3])}"
        for form, only in (("a", report.only_a), ("b", report.only_b))
        if only
    ]


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)


def _align(lines: Sequence[Sequence[str]], left: int) -> list[str]:
    """Columns of one width; the first ones flush left, the others right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def _decibels(found: Difference | None) -> str:
    if found is None or not found.count:
        return _ABSENT
    return "equal" if found.equal else f"{found.sqnr_db:.1f}"


def _cosine(found: Difference) -> str:
    return f"{found.cosine:.6f}"


def _number(value: float | None) -> str:
    return _ABSENT if value is None else f"{value:.4g}"
