"""OpenVINO on a CPU."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lidar_mt.deploy.artefact import Artefact
from lidar_mt.deploy.runtimes.base import RunNode, Runtime
from lidar_mt.structures.errors import ArtefactError, ConfigError

#: Layers that compute; all others move, reorder or convert.
_COMPUTE = ("Convolution", "GroupConvolution", "Eltwise", "Interpolate", "Pooling", "FullyConnected", "MatMul", "Add")


class OpenVino(Runtime):
    """Computes the ONNX files in OpenVINO.

    It fuses sums into convolutions and rescales in float, so its codes may differ from the integer reference.

    Raises:
        ConfigError: openvino is not installed.
        ArtefactError: it refuses the file.
    """

    name = "openvino"

    def __init__(self, artefact: Artefact, threads: int = 1) -> None:
        super().__init__(artefact, threads)
        self._requests: dict[bool, Any] = {}
        _import()

    @property
    def exact(self) -> bool:
        """Not to the bit; close on all outputs."""
        return False

    def nodes(self) -> Iterator[RunNode]:
        """The layers that OpenVINO made of the file."""
        compiled = compile_model(self._artefact.from_canvas, self.threads)
        for operation in compiled.get_runtime_model().get_ordered_ops():
            info = operation.get_rt_info()
            kind = info["layerType"].astype(str)
            precision = info["runtimePrecision"].astype(str)
            yield RunNode(operation.get_friendly_name(), kind, _precision(kind, precision))

    def _network(self, features: Tensor, coords: Tensor) -> list[Tensor]:
        inputs = (spec.name for spec in self.signature.inputs)
        return self._run(False, dict(zip(inputs, (features.numpy(), coords.numpy()), strict=True)))

    def _from_canvas(self, canvas: Tensor) -> list[Tensor]:
        return self._run(True, {self.signature.canvas.name: canvas.numpy()})

    def _run(self, from_canvas: bool, inputs: dict[str, Any]) -> list[Tensor]:
        results = self._request(from_canvas=from_canvas).infer(inputs, share_inputs=True, share_outputs=True)
        # One copy: what is shared is the request's own memory, which the next frame overwrites.
        return [torch.from_numpy(np.array(results[spec.name])) for spec in self.signature.outputs]

    def _request(self, *, from_canvas: bool) -> Any:
        if from_canvas not in self._requests:
            data = self._artefact.from_canvas if from_canvas else self._artefact.network
            self._requests[from_canvas] = compile_model(data, self.threads).create_infer_request()
        return self._requests[from_canvas]


def compile_model(data: bytes, threads: int, *, counters: bool = False) -> Any:
    """A model compiled for the CPU, float parts in float32.

    Args:
        data: content of an ONNX file.
        threads: processor threads.
        counters: measure each layer, which costs some time itself.

    Raises:
        ArtefactError: OpenVINO refuses the file.
    """
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",  # some processors would take bfloat16
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "PERF_COUNT": counters,
    }
    try:
        return _core().compile_model(_core().read_model(model=data), "CPU", settings)
    except RuntimeError as error:
        raise ArtefactError(f"OpenVINO refuses the network: {error}; export it again") from error


@functools.cache
def _core() -> Any:
    """The process's only core, never given back.

    The CPU plugin moves the thread's signal stack into memory of its own and unmaps that when its core ends. After
    cores that overlapped, the stack in use is gone, and the next signal with a Python handler (a loader process that
    ends is one) kills the process.
    """
    return _import().Core()


def _precision(kind: str, precision: str) -> str:
    if kind not in _COMPUTE:
        return "move"
    return "int8" if precision in ("u8", "i8", "U8", "I8") else "float"


def _import() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise ConfigError("runtime=openvino needs openvino; run `pip install 'lidar_mt[deploy]'`") from error
    return openvino
