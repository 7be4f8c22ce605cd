"""NVIDIA's TensorRT, where a GPU and the package are there."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import torch

from lidar_mt.deploy.artefact import Artefact
from lidar_mt.deploy.board_report import BoardReport
from lidar_mt.deploy.graph_cost import graph_cost
from lidar_mt.deploy.targets.base import Target, bounds
from lidar_mt.structures.errors import ArtefactError, ConfigError

ENGINE = "canvas.engine"
_WARM_UP = 10


class TensorRtTarget(Target):
    """Builds an engine from the ONNX file and measures it on this machine's GPU.

    Args:
        name: of the target.
        repeats: measured frames; the median counts.
    """

    def __init__(self, name: str, repeats: int = 100) -> None:
        super().__init__(name)
        self.repeats = repeats

    def compile(self, artefact: Artefact, folder: Path) -> BoardReport:
        """See `Target.compile`."""
        # What no installation mends is told first.
        if not torch.cuda.is_available():
            raise ConfigError("target=tensorrt needs an NVIDIA GPU, and torch finds none; take target=openvino here")
        if artefact.signature.scheme != "s8_symmetric":
            raise ConfigError(
                f"target=tensorrt knows no zero points, but this network has quant.scheme={artefact.signature.scheme}; "
                "calibrate and train it with quant.scheme=s8_symmetric"
            )
        trt = _import()
        logger = trt.Logger(trt.Logger.WARNING)
        engine = _build(trt, logger, artefact.from_canvas)
        (folder / ENGINE).write_bytes(engine)
        latency = self._latency_ms(trt.Runtime(logger).deserialize_cuda_engine(engine), artefact)
        cost = graph_cost(artefact.graph, artefact.signature)
        return BoardReport(
            target=self.name,
            nature="measured",
            hardware={"GPU": torch.cuda.get_device_name(), "frames": f"median of {self.repeats}"},
            latency_ms=latency,
            macs=cost.total_macs,
            totals={"GMAC_per_s": cost.total_macs / latency / 1e6},
            layers=(),
            cpu_operators=None,
            bounds=bounds(cost),
            files=(ENGINE,),
        )

    def _latency_ms(self, engine: Any, artefact: Artefact) -> float:
        context = engine.create_execution_context()
        signature = artefact.signature
        tensors = {
            spec.name: torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype), device="cuda")
            for spec in (signature.canvas, *signature.outputs)
        }
        for name, tensor in tensors.items():
            context.set_tensor_address(name, tensor.data_ptr())
        times: list[float] = []
        stream = torch.cuda.current_stream()
        for _ in range(_WARM_UP + self.repeats):
            stream.synchronize()
            begin = time.perf_counter()
            context.execute_async_v3(stream.cuda_stream)
            stream.synchronize()
            times.append((time.perf_counter() - begin) * 1e3)
        return statistics.median(times[_WARM_UP:])


def _build(trt: Any, logger: Any, data: bytes) -> bytes:
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(data):
        raise ArtefactError(f"TensorRT refuses the network: {parser.get_error(0).desc()}")
    settings = builder.create_builder_config()
    settings.set_flag(trt.BuilderFlag.INT8)
    engine = builder.build_serialized_network(network, settings)
    if engine is None:
        raise ArtefactError("TensorRT built no engine; its messages above say why")
    return bytes(engine)


def _import() -> Any:
    try:
        import tensorrt
    except ImportError as error:
        raise ConfigError("target=tensorrt needs the package tensorrt; run `pip install tensorrt`") from error
    return tensorrt
