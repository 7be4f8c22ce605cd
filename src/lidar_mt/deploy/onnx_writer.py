"""The integer network as ONNX: standard operators of opset 21, with a Quantize/Dequantize pair on every edge.

Runtimes fuse `DequantizeLinear -> Conv -> QuantizeLinear` into integer kernels; whatever they do not fuse still gives
the same codes, up to ties that float rounding breaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lidar_mt.deploy.joined_groups import join_groups
from lidar_mt.deploy.signature import TensorSpec
from lidar_mt.deploy.unsigned import canvas_and_behind, unsigned_graph
from lidar_mt.quantization.integer_graph import (
    Add,
    Codes,
    Concat,
    Convolution,
    IntegerGraph,
    MaxPool,
    Quantize,
    Scatter,
    Step,
    Upsample,
)
from lidar_mt.structures.errors import ConfigError

OPSET = 21
#: ONNX files of this version are read by all runtimes that know the opset.
_IR_VERSION = 10
#: Input channels of joined groups: a compromise between multiplying zeros and small matrices.
_JOINED_CHANNELS = 32


def write_onnx(
    graph: IntegerGraph,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    *,
    from_canvas: bool = False,
    for_onnxruntime: bool = False,
) -> bytes:
    """An ONNX file of a graph; the same graph gives the same bytes.

    Args:
        graph: the network.
        inputs: features and coords; with `from_canvas` the canvas, stored codes (1, H, W, C).
        outputs: names and shapes of the results, in the order of `IntegerGraph.outputs`.
        from_canvas: leave out everything up to the scatter.
        for_onnxruntime: in the form that is fastest there: convolutions with real results as integer matrix products,
            see `_product`, and small groups of channels joined, see `join_groups`.

    Raises:
        ConfigError: onnx is not installed, or the graph has no scatter to start behind.
    """
    writer = _Writer(graph, inputs, outputs, from_canvas=from_canvas, for_onnxruntime=for_onnxruntime)
    model = writer.model()
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def import_onnx() -> Any:
    """The onnx package; raises ConfigError with the command that installs it."""
    try:
        import onnx
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
        import onnx.shape_inference
    except ImportError as error:
        raise ConfigError("exporting needs onnx; run `pip install 'lidar_mt[deploy]'`") from error
    return onnx


class _Writer:
    def __init__(
        self,
        graph: IntegerGraph,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        *,
        from_canvas: bool,
        for_onnxruntime: bool,
    ) -> None:
        self.onnx = import_onnx()
        self.graph = graph = unsigned_graph(graph)
        self.inputs, self.outputs = inputs, outputs
        self.codes = graph.codes_of()
        self.for_onnxruntime = for_onnxruntime
        #: Results at the border, by the step that gives them.
        self.border = dict(zip(graph.outputs, outputs, strict=True))
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.uses: dict[str, int] = {}
        #: A tensor of codes whose channels come last; its real values have them second, as all others.
        self.last_channels = ""
        steps = self._start_at_canvas() if from_canvas else graph.steps
        for step in steps:
            self._write(step)

    def model(self) -> Any:
        """The checked model."""
        onnx = self.onnx
        made = onnx.helper.make_graph(
            self.nodes,
            "lidar_mt",
            [self._border(spec) for spec in self.inputs],
            [self._border(spec) for spec in self.outputs],
            list(self.constants.values()),
        )
        opset = onnx.helper.make_opsetid("", OPSET)
        model = onnx.helper.make_model(made, opset_imports=[opset], ir_version=_IR_VERSION, producer_name="lidar_mt")
        onnx.checker.check_model(model, full_check=True)
        return model

    def _border(self, spec: TensorSpec) -> Any:
        kind = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
        return self.onnx.helper.make_tensor_value_info(spec.name, kind, list(spec.shape))

    def _start_at_canvas(self) -> tuple[Step, ...]:
        """The steps behind the scatter, whose result a transposed input takes the place of."""
        name, behind = canvas_and_behind(self.graph)
        if self.for_onnxruntime or self.codes[name].form.low < 0:
            self._node("Transpose", [self.inputs[0].name], name, perm=[0, 3, 1, 2])
        else:
            self._requantize_canvas(self.inputs[0].name, name)
            self.last_channels = name
        return behind

    def _requantize_canvas(self, stored: str, name: str) -> None:
        """Does nothing to codes that are never negative, but tells OpenVINO what they are.

        It takes no integer input for quantized: the convolution behind it would run in float, for a third of the whole
        network's time. A plain pair of Dequantize and Quantize it would remove. Real values are transposed, not codes:
        then it sees that its own layout has the channels last, too, and moves nothing.
        """
        real = self._node("DequantizeLinear", [stored, *self._parameters(name, scale=1.0)], f"{name}:stored_real")
        real = self._node("Abs", [real], f"{name}:stored_abs")
        self._node("QuantizeLinear", [real, *self._parameters(name, scale=1.0)], name)

    def _write(self, step: Step) -> None:
        if isinstance(step, Quantize):
            self._quantize(step.source, step.name, step.codes)
        elif isinstance(step, Convolution):
            if self.for_onnxruntime and self._is_product(step):
                self._product(step)
            else:
                self._convolution(step)
        elif isinstance(step, Add):
            real = self._node("Add", [self._dequantize(step.first), self._dequantize(step.second)], f"{step.name}:real")
            self._quantize(real, step.name, step.codes)
        elif isinstance(step, Concat):
            parts = [self._dequantize(source) for source in step.sources]
            self._quantize(self._node("Concat", parts, f"{step.name}:real", axis=step.dim), step.name, step.codes)
        elif isinstance(step, Upsample):
            self._upsample(step)
        elif isinstance(step, MaxPool):
            self._max_pool(step)
        else:
            self._scatter(step)

    def _convolution(self, step: Convolution) -> None:
        name = step.name
        weight_scale = step.weight_scale.astype(np.float32)
        codes, groups = join_groups(step, _JOINED_CHANNELS) if self.for_onnxruntime else (step.weight, step.groups)
        weight = self._dequantized_constant(f"{name}:weight", codes, weight_scale)
        bias_scale = np.float32(self.codes[step.source].scale) * weight_scale
        bias = self._dequantized_constant(f"{name}:bias", step.bias, bias_scale)
        top, left = step.padding
        result = self.border[name].name if name in self.border else f"{name}:real"
        convolved = f"{name}:linear" if step.codes is None and step.relu else result
        self._node(
            "Conv",
            [self._dequantize(step.source), weight, bias],
            convolved,
            kernel_shape=list(step.weight.shape[2:]),
            strides=list(step.stride),
            pads=[top, left, top, left],
            dilations=list(step.dilation),
            group=groups,
        )
        if step.codes is not None:
            self._quantize(convolved, name, step.codes)
        elif step.relu:
            self._node("Relu", [convolved], result)

    def _is_product(self, step: Convolution) -> bool:
        """A border convolution that keeps the size of its map."""
        height, width = step.weight.shape[2:]
        same = step.padding == (height // 2, width // 2) and height % 2 == width % 2 == 1
        plain = step.stride == step.dilation == (1, 1) and step.groups == 1 and not step.relu
        return step.codes is None and step.name in self.border and same and plain

    def _product(self, step: Convolution) -> None:
        """Every tap of the kernel as columns of one matrix product; Col2Im moves the taps to their places and adds.

        Few output channels make a convolution slow in onnxruntime: it would copy each input nine times, in float.
        All sums are of whole numbers below 2^24, so the result is that of the integer reference to the bit.
        """
        name, spec = step.name, self.border[step.name]
        out, channels, kernel = len(step.weight), step.weight.shape[1], step.weight.shape[2:]
        taps = out * kernel[0] * kernel[1]
        # A convolution looks where a tap comes from, Col2Im says where it goes: the kernel is turned round.
        turned = step.weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
        columns = self._constant(f"{name}:taps", turned.reshape(channels, taps))
        pixels = self._node("Transpose", [step.source], f"{name}:pixels", perm=[0, 2, 3, 1])
        rows = self._node("Reshape", [pixels, self._shape(f"{name}:rows_shape", -1, channels)], f"{name}:rows")
        zero = self._parameters(step.source)[1]
        sums = self._node("MatMulInteger", [rows, columns, zero], f"{name}:sums")
        real = self._node("Cast", [sums], f"{name}:whole", to=int(self.onnx.TensorProto.FLOAT))
        real = self._node("Transpose", [real], f"{name}:by_tap", perm=[1, 0])
        real = self._node("Reshape", [real, self._shape(f"{name}:taps_shape", 1, taps, -1)], f"{name}:blocks")
        shape = [self._shape(f"{name}:{part}", *sizes) for part, sizes in (("map", spec.shape[2:]), ("kernel", kernel))]
        pads = [*step.padding, *step.padding]
        real = self._node("Col2Im", [real, *shape], f"{name}:accumulators", pads=pads)
        if step.bias.any():
            bias = step.bias.astype(np.float32).reshape(1, -1, 1, 1)
            real = self._node("Add", [real, self._constant(f"{name}:bias", bias)], f"{name}:biased")
        scale = (np.float32(self.codes[step.source].scale) * step.weight_scale.astype(np.float32)).reshape(1, -1, 1, 1)
        self._node("Mul", [real, self._constant(f"{name}:scale", scale)], spec.name)

    def _upsample(self, step: Upsample) -> None:
        # With a scale of 1 sums of sixteenths are exact, so that ties round to even; the true scale would break them.
        codes = self._dequantize(step.source, scale=1.0)
        factors = self._constant("doubling", np.array([1, 1, 2, 2], np.float32))
        doubled = self._node(
            "Resize",
            [codes, "", factors],
            f"{step.name}:real",
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        )
        self._node("QuantizeLinear", [doubled, *self._parameters(step.name, scale=1.0)], step.name)

    def _max_pool(self, step: MaxPool) -> None:
        top, left = step.padding
        window = {"kernel_shape": list(step.kernel), "strides": list(step.stride), "pads": [top, left, top, left]}
        if self.codes[step.name].form.dtype != "int16":
            self._node("MaxPool", [step.source], step.name, **window)
            return
        # The operator knows no 16-bit integers; whole numbers pass through float unchanged.
        largest = self._node("MaxPool", [self._dequantize(step.source, scale=1.0)], f"{step.name}:real", **window)
        self._node("QuantizeLinear", [largest, *self._parameters(step.name, scale=1.0)], step.name)

    def _scatter(self, step: Scatter) -> None:
        """Rows of an empty canvas are replaced; padding goes to a spare row behind it."""
        name, (height, width), cells = step.name, step.shape, step.shape[0] * step.shape[1]
        channels = self._channels(step.source)
        empty = np.array([self.codes[name].form.zero_point], self.codes[name].form.dtype)
        rows = self._node("Transpose", [step.source], f"{name}:pillars", perm=[0, 3, 1, 2])
        rows = self._node("Reshape", [rows, self._shape(f"{name}:rows_shape", -1, channels)], f"{name}:rows")
        canvas = self._node(
            "ConstantOfShape",
            [self._shape(f"{name}:empty_shape", cells + 1, channels)],
            f"{name}:empty",
            value=self.onnx.numpy_helper.from_array(empty, "value"),
        )
        filled = self._node("ScatterND", [canvas, self._cells(step), rows], f"{name}:filled")
        ends = [self._shape(f"{name}:{part}", value) for part, value in (("first", 0), ("last", cells), ("axis", 0))]
        kept = self._node("Slice", [filled, *ends], f"{name}:kept")
        maps = self._node("Reshape", [kept, self._shape(f"{name}:shape", 1, height, width, channels)], f"{name}:maps")
        self._node("Transpose", [maps], name, perm=[0, 3, 1, 2])

    def _cells(self, step: Scatter) -> str:
        """(V, 1) int64 row of the canvas of each pillar."""
        name, (height, width) = step.name, step.shape
        row, column = (
            self._node("Gather", [step.coords, self._constant(f"{name}:{axis}", np.int64(i))], f"{name}:{part}", axis=2)
            for i, axis, part in ((0, "at_row", "row"), (1, "at_column", "column"))
        )
        first = self._node("Mul", [row, self._constant(f"{name}:width", np.int64(width))], f"{name}:row_start")
        cell = self._node("Add", [first, column], f"{name}:cell")
        padded = self._node("Less", [row, self._constant(f"{name}:zero", np.int64(0))], f"{name}:is_padding")
        spare = self._constant(f"{name}:spare", np.int64(height * width))
        cell = self._node("Where", [padded, spare, cell], f"{name}:row_of_pillar")
        return self._node("Reshape", [cell, self._shape(f"{name}:index_shape", -1, 1)], f"{name}:index")

    def _channels(self, name: str) -> int:
        steps = {step.name: step for step in self.graph.steps}
        step = steps[name]
        while not isinstance(step, Convolution):
            step = steps[step.source]  # type: ignore[union-attr]
        return len(step.weight)

    def _quantize(self, real: str, name: str, codes: Codes) -> None:
        limits = np.iinfo(codes.form.dtype)
        if codes.form.low + codes.form.zero_point > limits.min and codes.form.low == 0:
            # The stored type has room below zero, so its own range does not cut negative values off.
            real = self._node("Relu", [real], f"{name}:positive")
        self._node("QuantizeLinear", [real, *self._parameters(name)], name)

    def _dequantize(self, name: str, scale: float | None = None) -> str:
        """Real values of a tensor of codes, for one user: runtimes fuse only pairs that nobody else looks at."""
        self.uses[name] = use = self.uses.get(name, -1) + 1
        real = f"{name}:real_{use}"
        if name != self.last_channels:
            return self._node("DequantizeLinear", [name, *self._parameters(name, scale)], real)
        values = self._node("DequantizeLinear", [name, *self._parameters(name, scale)], f"{real}_rows")
        return self._node("Transpose", [values], real, perm=[0, 3, 1, 2])

    def _parameters(self, name: str, scale: float | None = None) -> tuple[str, str]:
        """Scale and zero point of a tensor, as constants."""
        codes = self.codes[name]
        kind = "scale" if scale is None else "unit_scale"
        value = np.float32(codes.scale if scale is None else scale)
        zero = np.array(codes.form.zero_point, codes.form.dtype)
        return self._constant(f"{name}:{kind}", value), self._constant(f"{name}:zero_point", zero)

    def _dequantized_constant(self, name: str, codes: npt.NDArray[Any], scale: npt.NDArray[np.float32]) -> str:
        """Real values of per-channel codes."""
        zero = np.zeros(len(codes), codes.dtype)
        parts = [(name, codes), (f"{name}_scale", scale), (f"{name}_zero_point", zero)]
        return self._node("DequantizeLinear", [self._constant(*part) for part in parts], f"{name}_real", axis=0)

    def _shape(self, name: str, *sizes: int) -> str:
        return self._constant(name, np.array(sizes, np.int64))

    def _constant(self, name: str, value: Any) -> str:
        if name not in self.constants:
            self.constants[name] = self.onnx.numpy_helper.from_array(
                np.ascontiguousarray(value).reshape(np.shape(value)), name
            )
        return name

    def _node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        node = self.onnx.helper.make_node(kind, list(inputs), [output], name=f"{output}/{kind}", **attributes)
        self.nodes.append(node)
        return output
