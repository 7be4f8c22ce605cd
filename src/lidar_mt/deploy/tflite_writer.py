"""The integer network as TFLite: int8 operators in NHWC that XNNPACK computes to the bit and an NPU accepts.

XNNPACK rescales the sums of a convolution in float32 and rounds half to even, as the integer reference does; all its
other operators round in other ways. So everything that rounds is a convolution here, see `_add`, `_requantize` and
`_upsample`; what only moves codes is what it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from lidar_mt.deploy.joined_groups import join_groups
from lidar_mt.deploy.signature import TensorSpec
from lidar_mt.deploy.stand_in_convolutions import rounds_alone, same_taps, sum_convolution, weighted_sum
from lidar_mt.deploy.tflite_codes import CodesFile, scatter_codes
from lidar_mt.deploy.unsigned import canvas_and_behind, signed_graph
from lidar_mt.quantization.integer_graph import (
    Add,
    Codes,
    Concat,
    Convolution,
    IntegerGraph,
    Kept,
    MaxPool,
    Quantize,
    Step,
    Upsample,
)
from lidar_mt.quantization.spec import Format
from lidar_mt.structures.errors import ConfigError

#: Channels that a board's processor keeps together.
_TILE = 16
_SAME, _VALID, _RELU, _SYMMETRIC = 0, 1, 1, 1


def write_tflite(
    graph: IntegerGraph,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    *,
    from_canvas: bool = False,
    whole: bool = False,
    tiled: bool = False,
    all_codes: bool = False,
) -> bytes:
    """A TFLite file of a graph; the same graph gives the same bytes.

    Args:
        graph: the network, of 8-bit codes.
        inputs: features and coords; with `from_canvas` the canvas, whose codes become int8, 128 lower than uint8.
        outputs: names and NCHW shapes of the results, in the order of `IntegerGraph.outputs`; the file has them as
            NHWC.
        from_canvas: leave out everything up to the scatter.
        whole: results are int32 accumulators with one scale each, which an NPU computes; else float, which runs on any
            processor.
        tiled: in the form that suits an NPU which keeps maps in tiles of 16 channels; every tensor of the network has
            the same codes, there are some more.
        all_codes: every tensor of codes is an output as well, behind the results, to be compared.

    Raises:
        ConfigError: tflite is not installed, the graph has 16-bit codes, or no scatter to start behind.
    """
    writer = _Writer(graph, outputs, whole=whole, tiled=tiled)
    ends = writer.write(inputs, from_canvas=from_canvas)
    results = [writer.tensors[name] for name in graph.outputs]
    if all_codes:
        results += [writer.tensors[name] for name in writer.codes if name in writer.tensors]
    return writer.file.finish(ends, list(dict.fromkeys(results)), f"lidar_mt, scheme {graph.scheme}")


class _Writer:
    def __init__(self, graph: IntegerGraph, outputs: Sequence[TensorSpec], *, whole: bool, tiled: bool) -> None:
        self.file = CodesFile()
        self.graph = graph = signed_graph(graph)
        self.codes = graph.codes_of()
        self.whole, self.tiled = whole, tiled
        self.upsampled = {step.name for step in graph.steps if isinstance(step, Upsample)}
        wide = [name for name, codes in self.codes.items() if codes.form.dtype != "int8"]
        if wide:
            raise ConfigError(f"TFLite files hold 8-bit codes, but {wide[0]} has {self.codes[wide[0]].form.dtype}")
        self.border = {name: spec.name for name, spec in zip(graph.outputs, outputs, strict=True)}
        #: Tensors by name of the step.
        self.tensors: dict[str, int] = {}
        self._shared: dict[tuple[object, ...], int] = {}

    def write(self, inputs: Sequence[TensorSpec], *, from_canvas: bool) -> list[int]:
        """All operators; returns the inputs."""
        steps = self.graph.steps
        if from_canvas:
            name, steps = canvas_and_behind(self.graph)
            ends = [self.file.codes_tensor(inputs[0].name, inputs[0].shape, self.codes[name])]
            self.tensors[name] = ends[0]
            if self.tiled:
                # A processor that keeps maps in tiles of 16 channels reads rows of 64 for each of them, again for every
                # row of a kernel. One pass that changes nothing writes the canvas in its own layout first.
                self.tensors[name] = self._rescale(
                    name, self.codes[name], np.float32(1), 0, f"{name}:tiled", relu=False
                )
        else:
            ends = [self.file.tensor(spec.name, spec.shape, spec.dtype) for spec in inputs]
            self.tensors.update(zip(self.graph.inputs, ends, strict=True))
        for step in steps:
            self.tensors[step.name] = self._step(step)
        return ends

    def _step(self, step: Step) -> int:
        if isinstance(step, Quantize):
            return self._quantize(step)
        if isinstance(step, Convolution):
            return self._convolution(step)
        if isinstance(step, Add):
            return self._add(step)
        if isinstance(step, Concat):
            parts = [self._requantize(source, step.codes, f"{step.name}:{source}") for source in step.sources]
            return self._join(step.name, parts, step.codes)
        return self._moved(step, self.tensors[step.source])

    def _moved(self, step: Kept, source: int) -> int:
        """What keeps the scale of its source."""
        if isinstance(step, Upsample):
            return self._upsample(step, source)
        if isinstance(step, MaxPool):
            return self._max_pool(step, source)
        return scatter_codes(self.file, step, self.codes[step.name], source, self.tensors[step.coords])

    def _quantize(self, step: Quantize) -> int:
        source = self.tensors[step.source]
        batch, channels, rows, columns = self.file.shapes[source]
        order = self.file.constant(f"{step.name}:order", np.array([0, 2, 3, 1], np.int32))
        turned = self.file.tensor(f"{step.name}:nhwc", (batch, rows, columns, channels), "float32")
        self.file.operator("TRANSPOSE", [source, order], turned, "Transpose")
        codes = self.file.codes_tensor(step.name, self.file.shapes[turned], step.codes)
        return self.file.operator("QUANTIZE", [turned], codes, "Quantize")

    def _convolution(self, step: Convolution) -> int:
        source, scale = self.tensors[step.source], step.weight_scale.astype(np.float32)
        if step.codes is None and not self.whole:
            return self._real_convolution(step, scale)
        codes = self.codes[step.source]
        shape = self._convolved_shape(step)
        if step.codes is None:
            # One scale for all channels of a tensor: the finest, so that with powers of two no accumulator is rounded.
            finest = float(np.float32(codes.scale) * scale.min())
            result = self.file.tensor(self.border[step.name], shape, "int32", scale=[finest])
        else:
            result = self.file.codes_tensor(step.name, shape, step.codes)
        relu = step.relu if step.codes is None else _cuts(step.codes)
        return self._convolve(step, source, result, codes, relu=relu)

    def _real_convolution(self, step: Convolution, scale: npt.NDArray[np.float32]) -> int:
        """Accumulators times their scale in float: no operator of a processor returns them as integers."""
        codes = self.codes[step.source]
        source = self._real(step.source)
        weight = step.weight.astype(np.float32) * scale.reshape(-1, 1, 1, 1)
        bias = step.bias.astype(np.float32) * (np.float32(codes.scale) * scale)
        name = self.border.get(step.name, step.name)
        result = self.file.tensor(name, self._convolved_shape(step), "float32")
        constants = (
            self.file.constant(f"{name}:weight", np.ascontiguousarray(weight.transpose(0, 2, 3, 1))),
            self.file.constant(f"{name}:bias", bias),
        )
        source, padding = self._padded(step, source, None)
        values = {**_window(step), "Padding": padding, "FusedActivationFunction": _RELU * step.relu}
        return self.file.operator("CONV_2D", [source, *constants], result, "Conv2D", values)

    def _real(self, name: str) -> int:
        """Real values of codes, once for all that ask for them."""
        key = ("real", name)
        if key not in self._shared:
            real = self.file.tensor(f"{name}:real", self.file.shapes[self.tensors[name]], "float32")
            self._shared[key] = self.file.operator("DEQUANTIZE", [self.tensors[name]], real, "Dequantize")
        return self._shared[key]

    def _convolve(self, step: Convolution, source: int, result: int, codes: Codes, *, relu: bool) -> int:
        """A convolution of codes into a tensor that says what it holds."""
        depthwise = step.groups > 1 and step.weight.shape[1] == 1
        if self.tiled and step.groups > 1 and (not depthwise or step.name in self.upsampled):
            weight, groups = join_groups(step, _TILE, depthwise=True)
            if groups > 1 and not depthwise:
                source = self._sliceable(step.source, source)
            step, depthwise = replace(step, weight=weight, groups=groups), False
        order, axis = ((1, 2, 3, 0), 3) if depthwise else ((0, 2, 3, 1), 0)
        scale = step.weight_scale.astype(np.float32)
        weight = np.ascontiguousarray(step.weight.transpose(order))
        constants = (
            self.file.constant(f"{step.name}:weight", weight, scale=scale, axis=axis),
            self.file.constant(f"{step.name}:bias", step.bias.astype(np.int32), scale=np.float32(codes.scale) * scale),
        )
        source, padding = self._padded(step, source, codes)
        values = {**_window(step), "Padding": padding, "FusedActivationFunction": _RELU * relu}
        if depthwise:
            values["DepthMultiplier"] = len(step.weight) // step.groups
            return self.file.operator("DEPTHWISE_CONV_2D", [source, *constants], result, "DepthwiseConv2D", values)
        return self.file.operator("CONV_2D", [source, *constants], result, "Conv2D", values)

    def _sliceable(self, name: str, source: int) -> int:
        """A copy of a tensor for those that read slices of its channels, if others read all of it.

        A board keeps a map that is read in slices in rows of pixels, which is slow for everybody else.
        """
        users = [step for step in self.graph.steps if name in _sources(step)]
        if all(isinstance(step, Convolution) and step.groups > 1 < step.weight.shape[1] for step in users):
            return source
        key = ("sliced", name)
        if key not in self._shared:
            self._shared[key] = self._rescale(name, self.codes[name], np.float32(1), 0, f"{name}:sliced", relu=False)
        return self._shared[key]

    def _convolved_shape(self, step: Convolution) -> tuple[int, ...]:
        batch, *sizes, _ = self.file.shapes[self.tensors[step.source]]
        kernel = step.weight.shape[2:]
        rows, columns = (
            (sizes[i] + 2 * step.padding[i] - _reach(kernel[i], step.dilation[i])) // step.stride[i] + 1 for i in (0, 1)
        )
        return batch, rows, columns, len(step.weight)

    def _padded(self, step: Convolution, source: int, codes: Codes | None) -> tuple[int, int]:
        """The source, padded where TFLite's own rules would pad otherwise, and the rule for the rest."""
        sizes, kernel = self.file.shapes[source][1:3], step.weight.shape[2:]
        missing = []
        for i in (0, 1):
            reach, pad = _reach(kernel[i], step.dilation[i]), step.padding[i]
            count = (sizes[i] + 2 * pad - reach) // step.stride[i] + 1
            missing.append((pad, max((count - 1) * step.stride[i] + reach - sizes[i] - pad, 0), count))
        if all(step.padding[i] == 0 for i in (0, 1)):
            return source, _VALID
        # `SAME` gives ceil(size / stride) results, and the smaller half of the padding comes first.
        same = (
            count == -(-sizes[i] // step.stride[i]) and first == (first + last) // 2
            for i, (first, last, count) in enumerate(missing)
        )
        if all(same):
            return source, _SAME
        pads = [[0, 0], *([first, last] for first, last, _ in missing), [0, 0]]
        return self._pad(step.source, source, codes, pads), _VALID

    def _pad(self, name: str, source: int, codes: Codes | None, pads: Sequence[Sequence[int]]) -> int:
        """Codes of zero, or zeros, around a tensor, once for all that ask for the same."""
        key = ("pad", source, str(pads))
        if key not in self._shared:
            shape = [size + sum(pad) for size, pad in zip(self.file.shapes[source], pads, strict=True)]
            amounts = self.file.constant(f"{name}:pads", np.array(pads, np.int32))
            padded = (
                self.file.tensor(f"{name}:real_padded", shape, "float32")
                if codes is None
                else self.file.codes_tensor(f"{name}:padded", shape, codes)
            )
            self._shared[key] = self.file.operator("PAD", [source, amounts], padded, "Pad")
        return self._shared[key]

    def _add(self, step: Add) -> int:
        """TFLite's own sum where it needs no rounding, else a convolution of both tensors side by side.

        With powers of two every ratio of scales is one, so the weights of the convolution are exact.
        """
        names = (step.first, step.second)
        result = self.file.codes_tensor(step.name, self.file.shapes[self.tensors[step.first]], step.codes)
        terms, sources = None, [self.tensors[name] for name in names]
        if self.graph.scales == "pow2":
            terms = weighted_sum([self.codes[name].scale for name in names], step.codes.scale)
            early = [
                rounds_alone(self.codes[own], self.codes[other], step.codes) for own, other in (names, names[::-1])
            ]
            if any(early):
                fine = early.index(True)
                wide = Codes(step.codes.scale, Format(-128, 127, 0, "int8"))
                sources[fine] = self._requantize(names[fine], wide, f"{step.name}:rounded")
                terms = None
        if terms is None:
            values = {"FusedActivationFunction": _RELU * _cuts(step.codes)}
            return self.file.operator("ADD", sources, result, "Add", values)
        first, second_zero = self.codes[step.first], self.codes[step.second].form.zero_point
        tensors = self.tensors[step.first], self._relabel(step.second, first, f"{step.name}:second")
        both = self._join(f"{step.name}:both", [tensors[part] for part in terms.parts], first)
        channels = self.file.shapes[result][3]
        conv = sum_convolution(step.name, terms, channels, first, step.codes, second_zero)
        return self._convolve(conv, both, result, first, relu=_cuts(step.codes))

    def _relabel(self, name: str, codes: Codes, result: str) -> int:
        """The same stored codes with another scale and zero point: TFLite joins only tensors that share them."""
        own = self.codes[name]
        if own == codes or (own.scale, own.form.zero_point) == (codes.scale, codes.form.zero_point):
            return self.tensors[name]
        shift = own.form.zero_point - codes.form.zero_point
        return self._rescale(name, codes, np.float32(codes.scale) / np.float32(own.scale), shift, result, relu=False)

    def _requantize(self, name: str, codes: Codes, result: str) -> int:
        """Codes of another scale: a convolution of one tap."""
        own = self.codes[name]
        if (own.scale, own.form) == (codes.scale, codes.form):
            return self.tensors[name]
        return self._rescale(name, codes, np.float32(1), 0, result, relu=_cuts(codes))

    def _rescale(self, name: str, codes: Codes, scale: np.float32, shift: int, result: str, *, relu: bool) -> int:
        shape = self.file.shapes[self.tensors[name]]
        conv = same_taps(result, np.ones((1, 1), np.int8), shape[3], scale, codes, shift)
        return self._convolve(
            conv, self.tensors[name], self.file.codes_tensor(result, shape, codes), self.codes[name], relu=relu
        )

    def _join(self, name: str, parts: Sequence[int], codes: Codes) -> int:
        shapes = [self.file.shapes[part] for part in parts]
        joined = self.file.codes_tensor(name, (*shapes[0][:3], sum(shape[3] for shape in shapes)), codes)
        return self.file.operator("CONCATENATION", parts, joined, "Concatenation", {"Axis": 3})

    def _upsample(self, step: Upsample, source: int) -> int:
        """Doubling by repetition, then 1 2 1 over rows and columns: the weights of bilinear doubling, in sixteenths.

        The edge is repeated once more, as clamping the coordinates does.
        """
        codes, name = self.codes[step.name], step.name
        batch, rows, columns, channels = self.file.shapes[source]
        doubled = self.file.codes_tensor(f"{name}:doubled", (batch, 2 * rows, 2 * columns, channels), codes)
        size = self.file.numbers(2 * rows, 2 * columns)
        self.file.operator("RESIZE_NEAREST_NEIGHBOR", [source, size], doubled, "ResizeNearestNeighbor")
        framed = self.file.codes_tensor(f"{name}:framed", (batch, 2 * rows + 2, 2 * columns + 2, channels), codes)
        pads = self.file.constant(f"{name}:frame", np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))
        self.file.operator("MIRROR_PAD", [doubled, pads], framed, "MirrorPad", {"Mode": _SYMMETRIC})
        taps = np.outer([1, 2, 1], [1, 2, 1]).astype(np.int8)
        conv = same_taps(name, taps, channels, np.float32(1 / 16), codes)
        result = self.file.codes_tensor(name, self.file.shapes[doubled], codes)
        return self._convolve(conv, framed, result, codes, relu=False)

    def _max_pool(self, step: MaxPool, source: int) -> int:
        if any(step.padding):
            raise ConfigError(f"{step.name}: a maximum with padding has no place in a TFLite file")
        batch, rows, columns, channels = self.file.shapes[source]
        sizes = ((rows - step.kernel[0]) // step.stride[0] + 1, (columns - step.kernel[1]) // step.stride[1] + 1)
        result = self.file.codes_tensor(step.name, (batch, *sizes, channels), self.codes[step.name])
        values = {
            "Padding": _VALID,
            "FilterHeight": step.kernel[0],
            "FilterWidth": step.kernel[1],
            "StrideH": step.stride[0],
            "StrideW": step.stride[1],
        }
        return self.file.operator("MAX_POOL_2D", [source], result, "Pool2D", values)


def _window(step: Convolution) -> dict[str, int]:
    return {
        "StrideH": step.stride[0],
        "StrideW": step.stride[1],
        "DilationHFactor": step.dilation[0],
        "DilationWFactor": step.dilation[1],
    }


def _reach(kernel: int, dilation: int) -> int:
    return dilation * (kernel - 1) + 1


def _sources(step: Step) -> tuple[str, ...]:
    if isinstance(step, Add):
        return step.first, step.second
    return step.sources if isinstance(step, Concat) else (step.source,)


def _cuts(codes: Codes) -> bool:
    """Whether a ReLU must cut at zero; where zero is the type's own lowest code, an operator for it is in vain."""
    return codes.form.low == 0 and codes.form.zero_point > np.iinfo(np.int8).min
