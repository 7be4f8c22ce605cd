"""OpenVINO on this machine's processor: compiled once, measured layer by layer."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lidar_mt.deploy.artefact import Artefact
from lidar_mt.deploy.board_report import BoardReport, Layer
from lidar_mt.deploy.cpu import model_name
from lidar_mt.deploy.graph_cost import GraphCost, graph_cost, step_of
from lidar_mt.deploy.runtimes.openvino import OpenVino, compile_model
from lidar_mt.deploy.targets.base import Target, bounds

BLOB = "canvas.blob"
#: First calls prepare kernels and touch memory.
_WARM_UP = 3


class OpenVinoTarget(Target):
    """Compiles the ONNX file for this processor and measures it on an empty canvas; the time does not depend on it.

    Args:
        name: of the target.
        threads: processor threads.
        repeats: measured frames; the median counts.
    """

    def __init__(self, name: str, threads: int = 1, repeats: int = 20) -> None:
        super().__init__(name)
        self.threads, self.repeats = threads, repeats

    def compile(self, artefact: Artefact, folder: Path) -> BoardReport:
        """See `Target.compile`."""
        precisions = {node.name: node.precision for node in OpenVino(artefact, self.threads).nodes()}
        plain = compile_model(artefact.from_canvas, self.threads)
        (folder / BLOB).write_bytes(_exported(plain))
        canvas = artefact.signature.canvas
        feed = {canvas.name: np.zeros(canvas.shape, canvas.dtype)}
        latency = self._latency_ms(plain.create_infer_request(), feed)
        counted = compile_model(artefact.from_canvas, self.threads, counters=True).create_infer_request()
        cost = graph_cost(artefact.graph, artefact.signature)
        border = dict(zip((spec.name for spec in artefact.signature.outputs), artefact.graph.outputs, strict=True))
        return BoardReport(
            target=self.name,
            nature="measured",
            hardware={"processor": model_name(), "threads": str(self.threads), "frames": f"median of {self.repeats}"},
            latency_ms=latency,
            macs=cost.total_macs,
            totals={"GMAC_per_s": cost.total_macs / latency / 1e6, "blob_KiB": (folder / BLOB).stat().st_size / 1024},
            layers=tuple(self._layers(counted, feed, precisions, cost, border)),
            cpu_operators=None,
            bounds=bounds(cost),
            files=(BLOB,),
        )

    def _latency_ms(self, request: Any, feed: dict[str, Any]) -> float:
        times = []
        for _ in range(_WARM_UP + self.repeats):
            begin = time.perf_counter()
            request.infer(feed, share_inputs=True)
            times.append(time.perf_counter() - begin)
        return statistics.median(times[_WARM_UP:]) * 1e3

    def _layers(
        self, request: Any, feed: dict[str, Any], precisions: dict[str, str], cost: GraphCost, border: dict[str, str]
    ) -> Iterator[Layer]:
        """Medians of each operator, those of a step joined; with the counters' own cost."""
        times: dict[str, list[float]] = defaultdict(list)
        kinds: dict[str, str] = {}
        for repeat in range(_WARM_UP + self.repeats):
            request.infer(feed, share_inputs=True)
            for node in request.profiling_info:
                kinds[node.node_name] = node.node_type
                if repeat >= _WARM_UP:
                    times[node.node_name].append(node.real_time.total_seconds() * 1e3)
        steps: dict[str, list[str]] = {}
        for name in times:
            steps.setdefault(step_of(name, list(cost.macs), border) or name, []).append(name)
        for step, names in steps.items():
            ms = sum(statistics.median(times[name]) for name in names)
            places = {precisions.get(name, "move") for name in names}
            if ms or step in cost.macs:
                yield Layer(
                    name=step,
                    kinds=", ".join(dict.fromkeys(kinds[name] for name in names)),
                    place=next(place for place in ("float", "int8", "move") if place in places),
                    ms=ms,
                    macs=cost.macs.get(step, 0),
                )


def _exported(compiled: Any) -> bytes:
    data = compiled.export_model()
    return data if isinstance(data, bytes) else bytes(data.getvalue())
