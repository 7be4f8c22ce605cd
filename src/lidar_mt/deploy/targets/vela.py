"""Arm's Ethos-U processors through their compiler, Vela."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lidar_mt.deploy.artefact import BOARD_TFLITE, Artefact
from lidar_mt.deploy.board_report import BoardReport, CpuOperator, Layer
from lidar_mt.deploy.devices import Device
from lidar_mt.deploy.graph_cost import GraphCost, graph_cost, step_of
from lidar_mt.deploy.targets.base import Target, bounds
from lidar_mt.deploy.targets.ethos_u import (
    CONFIG_FILE,
    Accelerator,
    check_section,
    compiled_device,
    describe_hardware,
    is_installed,
)
from lidar_mt.structures.errors import ArtefactError, ConfigError

#: One layer's operators of a network of hundreds take seconds.
_TIMEOUT_S = 1800
_REASON = re.compile(r"operator: (\S+), ofm: '([^']*)'\s*\n\s*(?:Reason|-)\s*:?\s*(.*)")
_MEGABYTE = 1e6
#: How Vela names a mistake in what it was told, and not in the network.
_OPTION_ERRORS = ("CliOptionError", "ConfigOptionError", "error: argument")


class VelaTarget(Target):
    """Compiles the board's TFLite file with Vela, and reads its estimate.

    Vela models the processor and its memories cycle by cycle of a schedule; nothing runs on hardware.

    Args:
        name: of the target.
        accelerator: as Vela names it; the number behind it is the multiply-accumulates per cycle.
        system_config: clock and memories, a section of Vela's own configuration file.
        memory_mode: where weights and maps live, another section.
        arena_cache_size: bytes of memory on the chip; None for the memory mode's own.
    """

    def __init__(
        self,
        name: str,
        accelerator: Accelerator,
        system_config: str,
        memory_mode: str,
        arena_cache_size: int | None = None,
    ) -> None:
        super().__init__(name)
        self.options: dict[str, str] = {
            "--accelerator-config": accelerator,
            "--system-config": system_config,
            "--memory-mode": memory_mode,
        }
        if arena_cache_size is not None:
            self.options["--arena-cache-size"] = str(arena_cache_size)

    def compile(self, artefact: Artefact, folder: Path) -> BoardReport:
        """See `Target.compile`."""
        if not is_installed():
            raise ConfigError(f"target={self.name} needs ethos-u-vela; run `pip install 'lidar_mt[deploy]'`")
        check_section("target.system_config", "System_Config", self.options["--system-config"])
        check_section("target.memory_mode", "Memory_Mode", self.options["--memory-mode"])
        if not artefact.tflite_for_board:
            raise ArtefactError(
                "the artefact has no TFLite files; `report.txt` in it says why; export the network again"
            )
        with tempfile.TemporaryDirectory() as scratch:
            source = Path(scratch, BOARD_TFLITE)
            source.write_bytes(artefact.tflite_for_board)
            output = self._run(source, Path(scratch))
            (compiled,) = Path(scratch).glob("*_vela.tflite")
            (folder / compiled.name).write_bytes(compiled.read_bytes())
            (summary,) = _rows(next(Path(scratch).glob("*_summary_*.csv")))
            rows = _rows(next(Path(scratch).glob("*_per-layer.csv")))
        cost = graph_cost(artefact.graph, artefact.signature)
        border = dict(zip((spec.name for spec in artefact.signature.outputs), artefact.graph.outputs, strict=True))
        device = compiled_device(summary)
        layers = tuple(_layers(rows, cost, border, float(summary["core_clock"]), device))
        npu_macs = sum(layer.macs for layer in layers if layer.place == "npu")
        return BoardReport(
            target=self.name,
            nature="estimate",
            hardware=describe_hardware(summary, device),
            latency_ms=float(summary["inference_time"]) * 1e3,
            macs=cost.total_macs,
            totals=_totals(summary, npu_macs, device),
            layers=layers,
            cpu_operators=tuple(_left_over(rows, output)),
            bounds=bounds(cost, device),
            files=(compiled.name,),
        )

    def _run(self, source: Path, folder: Path) -> str:
        options = [word for option in self.options.items() for word in option]
        command = [sys.executable, "-m", "ethosu.vela", str(source), "--config", CONFIG_FILE, *options]
        command += ["--output-dir", str(folder), "--show-cpu-operations", "--verbose-performance"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
            reason = re.split("[Ee]rror: ", said[-1])[-1].rstrip("'\"")
            if any(word in said[-1] for word in _OPTION_ERRORS):
                raise ConfigError(f"target={self.name}: Vela refuses its options ({' '.join(options)}): {reason}")
            raise ArtefactError(f"Vela refuses the network ({' '.join(options)}): {reason}")
        return done.stdout


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _totals(summary: dict[str, str], npu_macs: int, device: Device) -> dict[str, float]:
    seconds = float(summary["inference_time"])
    traffic = {name: float(summary[f"{name}_total_bytes"]) for name in ("sram", "dram", "off_chip_flash")}
    return {
        "cycles": float(summary["cycles_total"]),
        "MAC_use_percent": 100 * npu_macs / seconds / device.tera_macs / 1e12,
        "SRAM_traffic_MB": traffic["sram"] / _MEGABYTE,
        "DRAM_traffic_MB": traffic["dram"] / _MEGABYTE,
        "flash_traffic_MB": traffic["off_chip_flash"] / _MEGABYTE,
        "SRAM_used_KiB": float(summary["sram_memory_used"]),
        "DRAM_used_KiB": float(summary["dram_memory_used"]),
        "encoded_weights_KiB": float(summary["total_npu_encoded_weights"]) / 1024,
    }


def _layers(
    rows: list[dict[str, str]], cost: GraphCost, border: dict[str, str], clock: float, device: Device
) -> Iterator[Layer]:
    """The rows of a step joined: Vela cuts a step into several operators, and one that it fused costs nothing."""
    parts: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        parts.setdefault(step_of(row["Name"], list(cost.macs), border) or row["Name"], []).append(row)
    for name, own in parts.items():
        cycles, sram, dram, macs = (
            sum(float(row[key]) for row in own) for key in ("Op Cycles", "SRAM AC", "DRAM AC", "MAC Count")
        )
        kinds = dict.fromkeys(row["NNG Operator"] for row in own if float(row["Op Cycles"]) or len(own) == 1)
        on_cpu = all(row["Target"] == "CPU" for row in own)
        ideal = None if on_cpu else cost.macs.get(name, 0) / device.tera_macs / 1e9
        yield Layer(
            name=name,
            kinds=", ".join(kinds) + (f" in {len(own)} parts" if len(own) > 2 else ""),
            place="cpu" if on_cpu else "npu",
            ms=cycles / clock * 1e3,
            macs=cost.macs.get(name, 0),
            computed_macs=int(macs),
            mac_use=ideal / (cycles / clock * 1e3) if cycles and ideal is not None else None,
            sram_ms=sram / clock * 1e3,
            dram_ms=dram / clock * 1e3,
            bound_ms=ideal,
        )
    for name in [name for name in cost.macs if name not in parts]:
        # Written straight into a larger tensor, it goes by the name of that.
        yield Layer(name, "counted with what reads it", "npu", 0.0, cost.macs[name])


def _left_over(rows: list[dict[str, str]], output: str) -> Iterator[CpuOperator]:
    reasons = {(kind, name): reason for kind, name, reason in _REASON.findall(output)}
    by_name = {name: reason for (_, name), reason in reasons.items()}
    for row in rows:
        if row["Target"] == "CPU":
            yield CpuOperator(row["Original Operator"], row["Name"], by_name.get(row["Name"], "Vela gives no reason"))
