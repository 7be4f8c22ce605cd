"""LiteRT, the runtime of TFLite files, on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lidar_mt.deploy.artefact import Artefact
from lidar_mt.deploy.runtimes.base import RunNode, Runtime
from lidar_mt.deploy.tflite_file import import_tflite
from lidar_mt.structures.errors import ArtefactError, ConfigError

#: Operators that compute; all others move, look up or convert.
_COMPUTE = ("CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MAX_POOL_2D")


class LiteRt(Runtime):
    """Computes the TFLite files in LiteRT, whose XNNPACK kernels round as the integer reference does.

    Raises:
        ConfigError: ai-edge-litert is not installed.
        ArtefactError: the artefact has no TFLite files, or LiteRT refuses them.
    """

    name = "litert"

    def __init__(self, artefact: Artefact, threads: int = 1) -> None:
        super().__init__(artefact, threads)
        self._interpreters: dict[bool, Any] = {}
        _import()
        if not artefact.tflite_network or not artefact.tflite_from_canvas:
            raise ArtefactError(
                "the artefact has no TFLite files: its network has 16-bit codes, or it was exported without the tflite "
                "package; run `pip install 'lidar_mt[deploy]'` and export the network again"
            )

    @property
    def exact(self) -> bool:
        """With powers of two; other scales leave single sums near a tie to its fixed-point arithmetic."""
        return self.signature.scales == "pow2"

    def nodes(self) -> Iterator[RunNode]:
        """The operators of the file behind the canvas; LiteRT keeps them one by one. Needs tflite."""
        schema = import_tflite()
        model = schema.Model.GetRootAs(self._artefact.tflite_from_canvas, 0)
        graph = model.Subgraphs(0)
        names = {code: kind for kind, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
        for index in range(graph.OperatorsLength()):
            operator = graph.Operators(index)
            kind = names[model.OperatorCodes(operator.OpcodeIndex()).BuiltinCode()]
            source, result = graph.Tensors(operator.Inputs(0)), graph.Tensors(operator.Outputs(0))
            integer = source.Type() == schema.TensorType.INT8
            precision = ("int8" if integer else "float") if kind in _COMPUTE else "move"
            yield RunNode(result.Name().decode(), kind, precision)

    def _network(self, features: Tensor, coords: Tensor) -> list[Tensor]:
        inputs = (spec.name for spec in self.signature.inputs)
        return self._run(False, dict(zip(inputs, (features, coords), strict=True)))

    def _from_canvas(self, canvas: Tensor) -> list[Tensor]:
        if canvas.dtype == torch.uint8:
            canvas = (canvas.short() - 128).to(torch.int8)
        return self._run(True, {self.signature.canvas.name: canvas})

    def _run(self, from_canvas: bool, inputs: dict[str, Tensor]) -> list[Tensor]:
        if from_canvas not in self._interpreters:
            data = self._artefact.tflite_from_canvas if from_canvas else self._artefact.tflite_network
            self._interpreters[from_canvas] = open_interpreter(data, self.threads)
        interpreter = self._interpreters[from_canvas]
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], inputs[detail["name"]].contiguous().numpy())
        interpreter.invoke()
        found = {detail["name"]: detail["index"] for detail in interpreter.get_output_details()}
        # A copy of each: the interpreter's own memory is overwritten by the next frame.
        maps = (torch.from_numpy(interpreter.get_tensor(found[spec.name])) for spec in self.signature.outputs)
        return [values.permute(0, 3, 1, 2).contiguous() for values in maps]


def open_interpreter(data: bytes, threads: int) -> Any:
    """An interpreter of a TFLite file, ready to run.

    Args:
        data: content of the file.
        threads: processor threads.

    Raises:
        ArtefactError: LiteRT refuses the file.
    """
    litert = _import()
    try:
        interpreter = litert.Interpreter(model_content=data, num_threads=threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ArtefactError(f"litert refuses the network: {error}; export it again") from error
    return interpreter


def _import() -> Any:
    try:
        from ai_edge_litert import interpreter
    except ImportError as error:
        raise ConfigError("runtime=litert needs ai-edge-litert; run `pip install 'lidar_mt[deploy]'`") from error
    return interpreter
