"""A TFLite file, tensor by tensor and operator by operator: what the schema asks for, and nothing of networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lidar_mt.structures.errors import ConfigError

_SCHEMA_VERSION = 3
#: Runtimes map constants in place.
_ALIGNMENT = 16
_TYPES = {"float32": "FLOAT32", "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64", "bool": "BOOL"}
#: Operators whose first version has no int8 or no scale per channel.
_VERSIONS = {
    "ADD": 2,
    "CONCATENATION": 2,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "DEQUANTIZE": 2,
    "GATHER": 2,
    "MAX_POOL_2D": 2,
    "MIRROR_PAD": 2,
    "PAD": 2,
    "RESIZE_NEAREST_NEIGHBOR": 2,
    "SLICE": 2,
    "TRANSPOSE": 2,
}


def import_tflite() -> Any:
    """The schema package; raises ConfigError with the command that installs it."""
    try:
        import flatbuffers
        import tflite
    except ImportError as error:
        raise ConfigError("a TFLite file needs tflite and flatbuffers; run `pip install 'lidar_mt[deploy]'`") from error
    return tflite if flatbuffers else None


class TfliteFile:
    """Collects one subgraph and writes it.

    Raises:
        ConfigError: the schema package is not installed.
    """

    def __init__(self) -> None:
        self.schema = import_tflite()
        import flatbuffers

        self.builder = flatbuffers.Builder(1 << 20)
        self.shapes: list[tuple[int, ...]] = []
        self._tensors: list[int] = []
        # By convention the first buffer is empty: that of all tensors without data.
        self._buffers: list[bytes] = [b""]
        self._operators: list[tuple[int, list[int], list[int], str, int]] = []
        self._codes: dict[str, int] = {}

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str,
        *,
        scale: Sequence[float] | npt.NDArray[np.float32] = (),
        zero_point: int = 0,
        axis: int = 0,
        data: bytes = b"",
    ) -> int:
        """Adds a tensor.

        Args:
            name: of the tensor.
            shape: all dimensions.
            dtype: numpy's name of the element type.
            scale: none, one, or one for every entry of `axis`.
            zero_point: stored value of zero.
            axis: dimension of scales per channel.
            data: of a constant.

        Returns:
            Its index.
        """
        schema, builder = self.schema, self.builder
        quantization = self._quantization(scale, zero_point, axis) if len(scale) else None
        name_at = builder.CreateString(name)
        shape_at = builder.CreateNumpyVector(np.array(shape, np.int32))
        schema.TensorStart(builder)
        schema.TensorAddName(builder, name_at)
        schema.TensorAddShape(builder, shape_at)
        schema.TensorAddType(builder, getattr(schema.TensorType, _TYPES[dtype]))
        schema.TensorAddBuffer(builder, len(self._buffers) if data else 0)
        if quantization is not None:
            schema.TensorAddQuantization(builder, quantization)
        self._tensors.append(schema.TensorEnd(builder))
        self.shapes.append(tuple(shape))
        if data:
            self._buffers.append(data)
        return len(self._tensors) - 1

    def constant(self, name: str, value: npt.NDArray[Any], **quantization: Any) -> int:
        """Adds a constant of an array's own type; see `tensor`."""
        little = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
        return self.tensor(name, value.shape, value.dtype.name, data=little.tobytes(), **quantization)

    def operator(
        self, kind: str, inputs: Sequence[int], output: int, options: str = "", values: Mapping[str, int] | None = None
    ) -> int:
        """Adds an operator.

        Args:
            kind: name in the schema's list of operators.
            inputs: tensors.
            output: tensor.
            options: name of the table of options, without `Options`.
            values: its scalar fields.

        Returns:
            The output.
        """
        schema, builder, at = self.schema, self.builder, 0
        if options:
            getattr(schema, f"{options}OptionsStart")(builder)
            for field, value in (values or {}).items():
                getattr(schema, f"{options}OptionsAdd{field}")(builder, value)
            at = getattr(schema, f"{options}OptionsEnd")(builder)
        code = self._codes.setdefault(kind, len(self._codes))
        self._operators.append((code, list(inputs), [output], options, at))
        return output

    def finish(self, inputs: Sequence[int], outputs: Sequence[int], description: str) -> bytes:
        """Content of the file.

        Args:
            inputs: tensors in order.
            outputs: tensors in order.
            description: for people.
        """
        schema, builder = self.schema, self.builder
        buffers = self._vector([self._buffer(data) for data in self._buffers])
        operators = self._vector([self._operator(*fields) for fields in self._operators])
        ends = [builder.CreateNumpyVector(np.array(ends, np.int32)) for ends in (inputs, outputs)]
        tensors = self._vector(self._tensors)
        name = builder.CreateString("main")
        schema.SubGraphStart(builder)
        schema.SubGraphAddTensors(builder, tensors)
        schema.SubGraphAddInputs(builder, ends[0])
        schema.SubGraphAddOutputs(builder, ends[1])
        schema.SubGraphAddOperators(builder, operators)
        schema.SubGraphAddName(builder, name)
        graphs = self._vector([schema.SubGraphEnd(builder)])
        codes = self._vector([self._code(kind) for kind in self._codes])
        text = builder.CreateString(description)
        schema.ModelStart(builder)
        schema.ModelAddVersion(builder, _SCHEMA_VERSION)
        schema.ModelAddOperatorCodes(builder, codes)
        schema.ModelAddSubgraphs(builder, graphs)
        schema.ModelAddDescription(builder, text)
        schema.ModelAddBuffers(builder, buffers)
        builder.Finish(schema.ModelEnd(builder), b"TFL3")
        return bytes(builder.Output())

    def _quantization(self, scale: Sequence[float] | npt.NDArray[np.float32], zero_point: int, axis: int) -> int:
        schema, builder = self.schema, self.builder
        scales = builder.CreateNumpyVector(np.asarray(scale, np.float32))
        zeros = builder.CreateNumpyVector(np.full(len(scale), zero_point, np.int64))
        schema.QuantizationParametersStart(builder)
        schema.QuantizationParametersAddScale(builder, scales)
        schema.QuantizationParametersAddZeroPoint(builder, zeros)
        schema.QuantizationParametersAddQuantizedDimension(builder, axis)
        return int(schema.QuantizationParametersEnd(builder))

    def _buffer(self, data: bytes) -> int:
        schema, builder = self.schema, self.builder
        at = None
        if data:
            builder.StartVector(1, len(data), _ALIGNMENT)
            builder.head -= len(data)
            builder.Bytes[builder.head : builder.head + len(data)] = data
            at = builder.EndVector()
        schema.BufferStart(builder)
        if at is not None:
            schema.BufferAddData(builder, at)
        return int(schema.BufferEnd(builder))

    def _operator(self, code: int, inputs: list[int], outputs: list[int], options: str, at: int) -> int:
        schema, builder = self.schema, self.builder
        ends = [builder.CreateNumpyVector(np.array(ends, np.int32)) for ends in (inputs, outputs)]
        schema.OperatorStart(builder)
        schema.OperatorAddOpcodeIndex(builder, code)
        schema.OperatorAddInputs(builder, ends[0])
        schema.OperatorAddOutputs(builder, ends[1])
        if options:
            schema.OperatorAddBuiltinOptionsType(builder, getattr(schema.BuiltinOptions, f"{options}Options"))
            schema.OperatorAddBuiltinOptions(builder, at)
        return int(schema.OperatorEnd(builder))

    def _code(self, kind: str) -> int:
        schema, builder = self.schema, self.builder
        code = getattr(schema.BuiltinOperator, kind)
        schema.OperatorCodeStart(builder)
        # The old field holds what fits into it; old readers know no other.
        schema.OperatorCodeAddDeprecatedBuiltinCode(builder, min(code, 127))
        schema.OperatorCodeAddBuiltinCode(builder, code)
        schema.OperatorCodeAddVersion(builder, _VERSIONS.get(kind, 1))
        return int(schema.OperatorCodeEnd(builder))

    def _vector(self, offsets: Sequence[int]) -> int:
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return int(self.builder.EndVector())
