"""What a compiler says about a network on a board, per layer and in total. `deploy.board_text` says it to people."""

from __future__ import annotations

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
        ms: time; 0 for what was fused with a neighbour, whose time holds it, and on a `cpu`, whose time is not known.
        macs: multiply-accumulates of the network's own definition.
        computed_macs: those that are really computed, zeros of joined groups included; None where it is not known.
        mac_use: share of the device's multipliers that work on `macs`; None where the peak is unknown or not used.
        sram_ms: time that its traffic takes on the chip's memory; None where it is not known.
        dram_ms: on external memory.
        bound_ms: least time of its `macs` on the target's device; None where the peak is unknown or not used.
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
        latency_ms: of one frame, from the canvas to the results; without what an accelerator leaves to the processor.
        macs: multiply-accumulates of the network's own definition.
        totals: figures of the compiler, with their units in their names.
        layers: in the order of computation.
        cpu_operators: what the accelerator leaves to the processor; None where the target leaves nothing to anybody.
        bounds: roofline of known devices, that of the target first.
        files: what was written.
        source: digest of the artefact, as `metrics.scoreboard` has it; empty where it was never on a disk.
        source_name: name of its folder.
    """

    target: str
    nature: Literal["estimate", "measured"]
    hardware: dict[str, str]
    latency_ms: float
    macs: int
    totals: dict[str, float]
    layers: tuple[Layer, ...]
    cpu_operators: tuple[CpuOperator, ...] | None
    bounds: tuple[Bound, ...]
    files: tuple[str, ...]
    source: str = ""
    source_name: str = ""

    def flagged(self) -> list[Layer]:
        """Layers that take more than their share of the time."""
        total = sum(layer.ms for layer in self.layers)
        return [layer for layer in self.layers if total and layer.ms > FLAGGED_SHARE * total]

    @property
    def accelerated_macs(self) -> int:
        """Multiply-accumulates of `macs` without those of layers that are left to the processor."""
        return self.macs - sum(layer.macs for layer in self.layers if layer.place == "cpu")


def encode_report(report: BoardReport) -> bytes:
    """JSON text."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"


def decode_report(data: bytes) -> BoardReport:
    """Reads what `encode_report` wrote; raises msgspec.DecodeError where it is damaged."""
    return msgspec.json.decode(data, type=BoardReport)
