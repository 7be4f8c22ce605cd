"""The same integer network as a file of it needs it: with other types of codes, or from the canvas on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lidar_mt.quantization.integer_graph import Codes, IntegerGraph, Kept, Step
from lidar_mt.quantization.spec import Format
from lidar_mt.structures.errors import ConfigError


def unsigned_graph(graph: IntegerGraph) -> IntegerGraph:
    """Stores the affine int8 codes of a graph as uint8, 128 higher; centred codes and all results stay the same.

    onnxruntime computes convolutions of uint8 in integers, but leaves half of those of int8 in float, where ties break
    in another way. Symmetric codes stay as they are: they have no place for the range's lower half.
    """
    if graph.scheme != "s8_affine":
        return graph
    return _stored(graph, "int8", "uint8", lambda form: form.unsigned_zero)


def signed_graph(graph: IntegerGraph) -> IntegerGraph:
    """Stores the uint8 codes of a graph as int8, 128 lower; centred codes and all results stay the same.

    TFLite computes with int8 alone.
    """
    return _stored(graph, "uint8", "int8", lambda form: form.zero_point - 128)


def canvas_and_behind(graph: IntegerGraph) -> tuple[str, tuple[Step, ...]]:
    """Name of the canvas and the steps behind it, for a file that starts there.

    Raises:
        ConfigError: the network has no scatter.
    """
    parts = graph.split_at_canvas()
    if parts is None:
        raise ConfigError("the network has no scatter, so it cannot start at the canvas")
    return parts


def _stored(graph: IntegerGraph, old: str, new: str, zero: Callable[[Format], int]) -> IntegerGraph:
    """Codes of one type in another, where their zero point is another."""

    def changed(step: Step) -> Step:
        if isinstance(step, Kept) or step.codes is None or step.codes.form.dtype != old:
            return step
        form = replace(step.codes.form, dtype=new, zero_point=zero(step.codes.form))
        return replace(step, codes=Codes(step.codes.scale, form))

    return replace(graph, steps=tuple(changed(step) for step in graph.steps))
