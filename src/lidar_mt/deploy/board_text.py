"""A compiled network for people: the text of `report.txt` and of the screen, and rows for a page."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from lidar_mt.deploy.board_report import FLAGGED_SHARE, BoardReport, CpuOperator, Layer

#: Columns of a line; what is longer goes on in the next one.
WIDTH = 160
_NAME_WIDTH = 72
_COVERED = (
    "A frame is counted from the canvas to the raw results. Voxelizer, pillar encoder, scatter and decoding run on the "
    "host and are in no figure here, neither in the times nor in the multiply-accumulates."
)


def headline(report: BoardReport) -> str:
    """Target, time and multiply-accumulates in one line, with what the time leaves out."""
    time, macs = f"{report.latency_ms:.2f} ms a frame behind the canvas", f"{report.macs / 1e9:.2f} GMAC"
    if report.cpu_operators:
        time += f" without {len(report.cpu_operators)} operators left to the processor"
        macs = f"{report.accelerated_macs / 1e9:.2f} of {macs}"
    return f"target {report.target}: {time} ({report.nature}), {macs}"


def notes(report: BoardReport) -> list[str]:
    """What the figures hold, and what they do not."""
    found = [_COVERED]
    if report.nature == "measured" and report.layers:
        found.append(_precisions(report))
    if report.cpu_operators:
        found.append(
            "The time of what is left to the processor is not known and not in the figures; MAC use counts the "
            f"accelerator's own {report.accelerated_macs / 1e9:.2f} GMAC."
        )
    if any(layer.ms == 0 and layer.place != "cpu" for layer in report.layers):
        short = ", or took less than the clock tells" if report.nature == "measured" else ""
        found.append(f"Layers of 0.000 ms were fused by the compiler with another one, whose time holds theirs{short}.")
    return found


def _precisions(report: BoardReport) -> str:
    """How much of a network runs in which precision."""
    total = sum(layer.ms for layer in report.layers) or 1.0
    steps: dict[str, list[float]] = {}
    for layer in report.layers:
        steps.setdefault(layer.place, []).append(layer.ms)
    told = (f"{len(times)} {place} ({sum(times) / total:.0%} of the time)" for place, times in steps.items())
    return f"Steps: {', '.join(told)}."


def roofline_note(report: BoardReport) -> str:
    """What the bounds are."""
    return (
        f"Roofline: all {report.macs / 1e9:.2f} GMAC behind the canvas over published peaks. These are bounds: no "
        "device reaches them, and none of these is a measurement."
    )


def describe_report(report: BoardReport, slowest: int | None = None) -> str:
    """Text, of lines that are at most `WIDTH` wide.

    Args:
        report: what to tell.
        slowest: for a screen, how many layers to list, those that take longest, and no sources of the bounds; None
            tells everything, layers in the order of computation.
    """
    parts = [_head(report), _bounds(report), _left(report), _layers(report, slowest)]
    if slowest is None:
        parts.insert(2, _sources(report))
    return "\n\n".join("\n".join(lines) for lines in map(list, parts) if lines) + "\n"


def total_rows(report: BoardReport) -> list[tuple[str, str]]:
    """What it holds for, and the compiler's figures, by name."""
    figures = {key.replace("_", " "): _number(value) for key, value in report.totals.items()}
    rows = [*report.hardware.items(), *figures.items()]
    if report.cpu_operators is not None:
        rows.append(("operators left to the processor", "; ".join(_grouped(report.cpu_operators)) or "none"))
    return rows


def bound_rows(report: BoardReport) -> list[tuple[str, str, str, str]]:
    """Device, and what computing, memory and both take at least."""
    return [
        (one.device.title, f"{one.compute_ms:.2f} ms", _milliseconds(one.memory_ms), f"{one.least_ms:.2f} ms")
        for one in report.bounds
    ]


def slowest_rows(report: BoardReport, count: int) -> list[tuple[str, ...]]:
    """The layers that take longest: name, operators, ms, share, bound, MMAC, use of the multipliers, SRAM and DRAM."""
    total = sum(layer.ms for layer in report.layers) or 1.0
    return [
        (
            layer.name + " !" * (layer in report.flagged()),
            layer.kinds,
            f"{layer.ms:.3f}",
            f"{layer.ms / total:.1%}",
            _optional(layer.bound_ms),
            f"{layer.macs / 1e6:.1f}",
            "" if layer.mac_use is None else f"{layer.mac_use:.0%}",
            _optional(layer.sram_ms),
            _optional(layer.dram_ms),
        )
        for layer in _slowest(report, count)
    ]


def _slowest(report: BoardReport, count: int) -> list[Layer]:
    return sorted(report.layers, key=lambda layer: -layer.ms)[:count]


def _grouped(operators: Sequence[CpuOperator]) -> list[str]:
    """Those of one kind and reason together."""
    names: dict[tuple[str, str], list[str]] = {}
    for one in operators:
        names.setdefault((one.kind, one.reason), []).append(one.name)
    return [f"{len(found)} {kind} ({reason}): {', '.join(found)}" for (kind, reason), found in names.items()]


def _head(report: BoardReport) -> Iterator[str]:
    yield headline(report)
    for key, value in report.hardware.items():
        yield from _wrapped(f"{key}: {value}")
    yield from (f"  {key.replace('_', ' ')}: {_number(value)}" for key, value in report.totals.items())
    flagged = report.flagged()
    total = sum(layer.ms for layer in report.layers)
    for layer in flagged:
        yield f"  ! {layer.name} alone takes {layer.ms / total:.0%} of the time"
    if report.layers and not flagged:
        yield f"  no layer takes more than {FLAGGED_SHARE:.0%} of the time"
    for note in notes(report):
        yield from textwrap.wrap(note, WIDTH)


def _bounds(report: BoardReport) -> Iterator[str]:
    yield from textwrap.wrap(roofline_note(report), WIDTH)
    wide = max((len(one.device.title) for one in report.bounds), default=0)
    yield f"  {'device':{wide}s} {'compute':>10s} {'memory':>10s} {'at least':>10s}"
    for one in report.bounds:
        memory = _milliseconds(one.memory_ms)
        yield f"  {one.device.title:{wide}s} {one.compute_ms:7.2f} ms {memory:>10s} {one.least_ms:7.2f} ms"


def _sources(report: BoardReport) -> Iterator[str]:
    yield "sources of the bounds"
    for one in report.bounds:
        yield from _wrapped(f"{one.device.title}: {one.device.source}")


def _left(report: BoardReport) -> Iterator[str]:
    if report.cpu_operators is None:
        return
    yield f"operators left to the processor: {len(report.cpu_operators) or 'none'}"
    for group in _grouped(report.cpu_operators):
        yield from _wrapped(group)


def _layers(report: BoardReport, count: int | None) -> Iterator[str]:
    if not report.layers:
        return
    shown = report.layers if count is None else _slowest(report, count)
    if len(shown) < len(report.layers):
        yield f"the {len(shown)} slowest of {len(report.layers)} layers"
    total = sum(layer.ms for layer in report.layers) or 1.0
    wide = min(_NAME_WIDTH, max(len(layer.name) for layer in shown))
    yield (
        f"{'layer':{wide}s} {'place':5s} {'ms':>8s} {'share':>6s} {'bound ms':>8s} {'MMAC':>8s} {'MAC use':>7s} "
        f"{'SRAM ms':>8s} {'DRAM ms':>8s}  operators"
    )
    for layer in shown:
        line = f"{_cut(layer.name, wide):{wide}s} {layer.place:5s} {_columns(layer, total)}  {layer.kinds}"
        mark = "!" if layer in report.flagged() else ""
        yield _cut(line, WIDTH - len(mark)) + mark


def _columns(layer: Layer, total: float) -> str:
    times = (f"{layer.ms:.3f}", f"{layer.ms / total:.1%}") if layer.place != "cpu" else ("-", "-")
    use = "" if layer.mac_use is None else f"{layer.mac_use:.1%}"
    sram, dram, least = (_optional(value) for value in (layer.sram_ms, layer.dram_ms, layer.bound_ms))
    return f"{times[0]:>8s} {times[1]:>6s} {least:>8s} {layer.macs / 1e6:8.1f} {use:>7s} {sram:>8s} {dram:>8s}"


def _wrapped(text: str) -> list[str]:
    # Names and addresses stay in one piece.
    wrapper = textwrap.TextWrapper(
        WIDTH, initial_indent="  ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    return wrapper.wrap(text)


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 3] + "..."


def _milliseconds(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f} ms"


def _optional(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.3g}"
