"""The integer network as one file: msgpack of plain values and raw arrays, read without executing anything."""

from __future__ import annotations

import math
from typing import Any, get_args, get_origin

import msgspec
import numpy as np

from lidar_mt.deploy.graph_check import check_graph
from lidar_mt.quantization.integer_graph import IntegerGraph, Step
from lidar_mt.structures.errors import ArtefactError

_MAGIC = "lidar_mt integer graph 1"
_STEPS: dict[str, type[Step]] = {step.__name__: step for step in get_args(Step)}
_AGAIN = "export the network again"


class _Array(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    dtype: str
    shape: tuple[int, ...]
    data: bytes


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    magic: str
    scheme: str
    scales: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    #: Pairs of a step's kind and its fields.
    steps: tuple[tuple[str, dict[str, Any]], ...]


def encode_graph(graph: IntegerGraph) -> bytes:
    """Content of the file; the same graph gives the same bytes."""
    steps = tuple((type(step).__name__, dict(vars(step))) for step in graph.steps)
    content = _File(_MAGIC, graph.scheme, graph.scales, graph.inputs, graph.outputs, steps)
    return msgspec.msgpack.encode(content, enc_hook=_encode_array)


def decode_graph(data: bytes) -> IntegerGraph:
    """Reads what `encode_graph` wrote.

    Raises:
        ArtefactError: it is damaged, of another version, or describes no network.
    """
    try:
        content = msgspec.msgpack.decode(data, type=_File)
        if content.magic != _MAGIC:
            raise ArtefactError(f"the integer graph says {content.magic!r}, expected {_MAGIC!r}; {_AGAIN}")
        steps = tuple(_step(kind, fields) for kind, fields in content.steps)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ArtefactError(f"the integer graph is damaged ({error}); {_AGAIN}") from error
    graph = IntegerGraph(steps, content.outputs, content.scheme, content.scales, content.inputs)
    check_graph(graph)
    return graph


def _step(kind: str, fields: dict[str, Any]) -> Step:
    if kind not in _STEPS:
        raise ArtefactError(f"the integer graph has a step of unknown kind {kind!r}; {_AGAIN}")
    allowed = set(_STEPS[kind].__dataclass_fields__)
    if fields.keys() != allowed:
        raise ArtefactError(f"a {kind} step has the fields {sorted(fields)}, expected {sorted(allowed)}; {_AGAIN}")
    return msgspec.convert(fields, _STEPS[kind], dec_hook=_decode_array)


def _encode_array(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return _Array(value.dtype.str, value.shape, np.ascontiguousarray(value).tobytes())
    raise NotImplementedError(f"{type(value).__name__} has no place in an integer graph")


def _decode_array(kind: Any, value: Any) -> Any:
    """An array of the field's own element type."""
    if get_origin(kind) is not np.ndarray:
        raise NotImplementedError(f"{kind} has no place in an integer graph")
    (element,) = get_args(get_args(kind)[1])
    dtype = np.dtype(element).newbyteorder("<")
    array = msgspec.convert(value, _Array)
    if array.dtype != dtype.str or any(size < 0 for size in array.shape):
        raise msgspec.ValidationError(f"expected an array of {dtype.str}, got {array.dtype} {array.shape}")
    if math.prod(array.shape) * dtype.itemsize != len(array.data):
        raise msgspec.ValidationError(f"an array of shape {array.shape} has {len(array.data)} bytes")
    return np.frombuffer(array.data, dtype).astype(element).reshape(array.shape)
