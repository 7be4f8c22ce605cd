"""The same integer network with codes that x86 processors multiply."""

from __future__ import annotations

from dataclasses import replace

from lidar_mt.quantization.integer_graph import Codes, IntegerGraph, MaxPool, Scatter, Step, Upsample


def unsigned_graph(graph: IntegerGraph) -> IntegerGraph:
    """Stores the affine int8 codes of a graph as uint8, 128 higher; centred codes and all results stay the same.

    onnxruntime computes convolutions of uint8 in integers, but leaves half of those of int8 in float, where ties break
    in another way. Symmetric codes stay as they are: they have no place for the range's lower half.
    """
    if graph.scheme != "s8_affine":
        return graph
    return replace(graph, steps=tuple(_unsigned(step) for step in graph.steps))


def _unsigned(step: Step) -> Step:
    if isinstance(step, Upsample | MaxPool | Scatter) or step.codes is None or step.codes.form.dtype != "int8":
        return step
    form = replace(step.codes.form, dtype="uint8", zero_point=step.codes.form.unsigned_zero)
    return replace(step, codes=Codes(step.codes.scale, form))


def signed_graph(graph: IntegerGraph) -> IntegerGraph:
    """Stores the uint8 codes of a graph as int8, 128 lower; centred codes and all results stay the same.

    TFLite computes with int8 alone.
    """
    return replace(graph, steps=tuple(_signed(step) for step in graph.steps))


def _signed(step: Step) -> Step:
    if isinstance(step, Upsample | MaxPool | Scatter) or step.codes is None or step.codes.form.dtype != "uint8":
        return step
    form = replace(step.codes.form, dtype="int8", zero_point=step.codes.form.zero_point - 128)
    return replace(step, codes=Codes(step.codes.scale, form))
