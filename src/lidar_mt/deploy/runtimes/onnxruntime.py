"""onnxruntime on a CPU."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lidar_mt.deploy.artefact import Artefact
from lidar_mt.deploy.cpu import adds_exactly
from lidar_mt.deploy.onnx_writer import import_onnx
from lidar_mt.deploy.runtimes.base import RunNode, Runtime
from lidar_mt.structures.errors import ArtefactError, ConfigError

log = logging.getLogger("lidar_mt.deploy")

_INTEGER = ("QLinear", "QAttention", "QGemm", "ConvInteger", "MatMulInteger")
_FLOAT = ("Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "Add", "Mul", "Sum", "Resize", "Relu", "Concat")


class OnnxRuntime(Runtime):
    """Computes the ONNX files in onnxruntime, with all its optimizations.

    Raises:
        ConfigError: onnxruntime is not installed.
        ArtefactError: it refuses the file.
    """

    name = "onnxruntime"

    def __init__(self, artefact: Artefact, threads: int = 1) -> None:
        super().__init__(artefact, threads)
        self._sessions: dict[bool, Any] = {}
        _import()
        if not self.exact:
            log.warning(
                "this processor has no VNNI instructions: onnxruntime saturates sums of products, so its codes may "
                "differ from the integer reference"
            )

    @property
    def exact(self) -> bool | None:
        """On x86 only with VNNI instructions."""
        return adds_exactly()

    def nodes(self) -> Iterator[RunNode]:
        """The graph that onnxruntime made of the file; needs onnx."""
        onnx = import_onnx()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "optimized.onnx")
            open_session(self._artefact.from_canvas_onnxruntime, self.threads, optimized=path)
            optimized = onnx.load(path)
        for node in optimized.graph.node:
            yield RunNode(node.name, node.op_type, _precision(node.op_type))

    def _network(self, features: Tensor, coords: Tensor) -> list[Tensor]:
        inputs = (spec.name for spec in self.signature.inputs)
        return self._run(False, dict(zip(inputs, (features.numpy(), coords.numpy()), strict=True)))

    def _from_canvas(self, canvas: Tensor) -> list[Tensor]:
        return self._run(True, {self.signature.canvas.name: canvas.numpy()})

    def _run(self, from_canvas: bool, inputs: dict[str, Any]) -> list[Tensor]:
        if from_canvas not in self._sessions:
            data = self._artefact.from_canvas_onnxruntime if from_canvas else self._artefact.network
            self._sessions[from_canvas] = open_session(data, self.threads)
        names = [spec.name for spec in self.signature.outputs]
        return [torch.from_numpy(value) for value in self._sessions[from_canvas].run(names, inputs)]


def open_session(data: bytes, threads: int, *, optimize: bool = True, optimized: Path | None = None) -> Any:
    """A session of an ONNX file.

    Args:
        data: content of the file; nothing outside it is read.
        threads: processor threads.
        optimize: with all optimizations or none.
        optimized: where to write the optimized graph.

    Raises:
        ArtefactError: onnxruntime refuses the file.
    """
    ort = _import()
    options = ort.SessionOptions()
    # Its threads would wait for the next run in a busy loop, at the cost of whatever runs between two frames: a
    # quarter of the whole frame on two cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    levels = ort.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
    options.log_severity_level = 3
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    errors = ort.capi.onnxruntime_pybind11_state
    refusals = (errors.InvalidProtobuf, errors.InvalidGraph, errors.Fail, errors.InvalidArgument)
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except (*refusals, errors.NotImplemented, errors.RuntimeException, errors.NoSuchFile) as error:
        raise ArtefactError(f"onnxruntime refuses the network: {error}; export it again") from error


def _precision(kind: str) -> str:
    if kind.startswith(_INTEGER):
        return "int8"
    return "float" if kind in _FLOAT else "move"


def _import() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError("runtime=onnxruntime needs onnxruntime; run `pip install 'lidar_mt[deploy]'`") from error
    return onnxruntime
