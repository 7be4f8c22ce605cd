"""What a compiler says about a network on a board, per layer and in total: as JSON and as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from lidar_mt.deploy.devices import Bound

#: A layer above this share of the time is flagged.
FLAGGED_SHARE = 0.3


class Layer(msgspec.Struct, frozen=True):
    """A step of the network as it runs.

    Attributes:
        name: of the step.
        kinds: operators it became.
        place: `int8`, `float` or `move`, see `RunNode.precision`; on an NPU `npu` or `cpu`.
        ms: time.
        macs: multiply-accumulates of the network's own definition.
        computed_macs: those that are really computed, zeros of joined groups included; None where it is not known.
        mac_use: share of the device's multipliers that work on `macs`; None where the peak is unknown.
        sram_ms: time that its traffic takes on the chip's memory; None where it is not known.
        dram_ms: on external memory.
        bound_ms: least time of its `macs` on the target's device; None where the peak is unknown.
    """

    name: str
    kinds: str
    place: str
    ms: float
    macs: int
    computed_macs: int | None = None
    mac_use: float | None = None
    sram_ms: float | None = None
    dram_ms: float | None = None
    bound_ms: float | None = None


class CpuOperator(msgspec.Struct, frozen=True):
    """An operator that the accelerator leaves to the processor, and why."""

    kind: str
    name: str
    reason: str


class BoardReport(msgspec.Struct, frozen=True):
    """A compiled network.

    Attributes:
        target: name of the target.
        nature: whether times are estimates of a compiler or were measured.
        hardware: what they hold for: clock, memory and so on.
        latency_ms: of one frame, from the canvas to the results.
        macs: multiply-accumulates of the network's own definition.
        totals: figures of the compiler, with their units in their names.
        layers: in the order of computation.
        cpu_operators: empty where everything runs on the accelerator.
        bounds: roofline of known devices, that of the target first.
        files: what was written.
    """

    target: str
    nature: Literal["estimate", "measured"]
    hardware: dict[str, str]
    latency_ms: float
    macs: int
    totals: dict[str, float]
    layers: tuple[Layer, ...]
    cpu_operators: tuple[CpuOperator, ...]
    bounds: tuple[Bound, ...]
    files: tuple[str, ...]

    def flagged(self) -> list[Layer]:
        """Layers that take more than their share of the time."""
        total = sum(layer.ms for layer in self.layers)
        return [layer for layer in self.layers if total and layer.ms > FLAGGED_SHARE * total]


def encode_report(report: BoardReport) -> bytes:
    """JSON text."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"


def decode_report(data: bytes) -> BoardReport:
    """Reads what `encode_report` wrote; raises msgspec.DecodeError where it is damaged."""
    return msgspec.json.decode(data, type=BoardReport)


def describe_report(report: BoardReport) -> str:
    """Text for people."""
    return "\n".join((*_head(report), "", *_bounds(report.bounds), "", *_cpu(report), "", *_layers(report))) + "\n"


def total_rows(report: BoardReport) -> list[tuple[str, str]]:
    """What it holds for, and the compiler's figures, by name."""
    figures = {key.replace("_", " "): _number(value) for key, value in report.totals.items()}
    processor = ", ".join(f"{one.kind} {one.name}: {one.reason}" for one in report.cpu_operators) or "none"
    return [*report.hardware.items(), *figures.items(), ("operators left to the processor", processor)]


def bound_rows(report: BoardReport) -> list[tuple[str, str, str, str]]:
    """Device, and what computing, memory and both take at least."""
    return [
        (one.device.title, f"{one.compute_ms:.2f} ms", _milliseconds(one.memory_ms), f"{one.least_ms:.2f} ms")
        for one in report.bounds
    ]


def slowest_rows(report: BoardReport, count: int) -> list[tuple[str, ...]]:
    """The layers that take longest: name, operators, ms, share, bound, MMAC, use of the multipliers, SRAM and DRAM."""
    total = sum(layer.ms for layer in report.layers) or 1.0
    slowest = sorted(report.layers, key=lambda layer: -layer.ms)[:count]
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
        for layer in slowest
    ]


def _head(report: BoardReport) -> Iterator[str]:
    yield f"target {report.target}: {report.latency_ms:.2f} ms a frame ({report.nature}), {report.macs / 1e9:.2f} GMAC"
    yield from (f"  {key}: {value}" for key, value in report.hardware.items())
    yield from (f"  {key.replace('_', ' ')}: {_number(value)}" for key, value in report.totals.items())
    flagged = report.flagged()
    total = sum(layer.ms for layer in report.layers)
    for layer in flagged:
        yield f"  ! {layer.name} alone takes {layer.ms / total:.0%} of the time"
    if not flagged:
        yield f"  no layer takes more than {FLAGGED_SHARE:.0%} of the time"


def _bounds(bounds: Sequence[Bound]) -> Iterator[str]:
    yield "roofline: bounds from published peaks, no device reaches them, and none of these is a measurement"
    wide = max((len(one.device.title) for one in bounds), default=0)
    yield f"  {'device':{wide}s} {'compute':>10s} {'memory':>10s} {'at least':>10s}"
    for one in bounds:
        memory = _milliseconds(one.memory_ms)
        yield f"  {one.device.title:{wide}s} {one.compute_ms:7.2f} ms {memory:>10s} {one.least_ms:7.2f} ms"
    yield from (f"  {one.device.name}: {one.device.source}" for one in bounds)


def _cpu(report: BoardReport) -> Iterator[str]:
    if not report.cpu_operators:
        yield "operators left to the processor: none"
        return
    yield f"operators left to the processor: {len(report.cpu_operators)}"
    yield from (f"  {one.kind} {one.name}: {one.reason}" for one in report.cpu_operators)


def _layers(report: BoardReport) -> Iterator[str]:
    total = sum(layer.ms for layer in report.layers) or 1.0
    yield (
        f"{'layer':64s} {'place':5s} {'ms':>8s} {'share':>6s} {'bound ms':>8s} {'MMAC':>8s} {'MAC use':>7s} "
        f"{'SRAM ms':>8s} {'DRAM ms':>8s}  operators"
    )
    for layer in report.layers:
        mark = "!" if layer in report.flagged() else ""
        use = "" if layer.mac_use is None else f"{layer.mac_use:.1%}"
        sram, dram, least = (_optional(value) for value in (layer.sram_ms, layer.dram_ms, layer.bound_ms))
        yield (
            f"{layer.name:64s} {layer.place:5s} {layer.ms:8.3f} {layer.ms / total:6.1%} {least:>8s} "
            f"{layer.macs / 1e6:8.1f} {use:>7s} {sram:>8s} {dram:>8s}  {layer.kinds}{mark}"
        )


def _milliseconds(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f} ms"


def _optional(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.3g}"
