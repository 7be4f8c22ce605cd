"""Refuses integer graphs that no runtime could compute, before one tries."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from lidar_mt.quantization.integer_graph import (
    Add,
    Codes,
    Concat,
    Convolution,
    IntegerGraph,
    Kept,
    MaxPool,
    Quantize,
    Scatter,
    Step,
)
from lidar_mt.structures.errors import ArtefactError


def check_graph(graph: IntegerGraph) -> None:
    """Checks the whole graph: names, sources, channels, windows, scales and formats.

    Raises:
        ArtefactError: names the step and what is wrong with it.
    """
    known = _Known(set(graph.inputs))
    for step in graph.steps:
        problem = next(known.problems(step), None)
        if problem:
            raise ArtefactError(f"the integer graph is damaged: step {step.name!r} {problem}; export the network again")
        known.add(step)
    results = known.real - set(graph.inputs)
    missing = [name for name in graph.outputs if name not in results]
    if missing or not graph.outputs or len(set(graph.outputs)) != len(graph.outputs):
        raise ArtefactError(
            f"the integer graph is damaged: its outputs are missing or twice ({missing[:3]}); export the network again"
        )


class _Known:
    """What stands before a step."""

    def __init__(self, inputs: set[str]) -> None:
        self.real = inputs
        self.codes: dict[str, Codes] = {}
        self.channels: dict[str, int | None] = {}

    def add(self, step: Step) -> None:
        codes = self.codes[step.source] if isinstance(step, Kept) else step.codes
        if codes is None:
            self.real.add(step.name)
        else:
            self.codes[step.name] = codes
        self.channels[step.name] = self._channels(step)

    def problems(self, step: Step) -> Iterator[str]:
        """What is wrong with a step, the first first: those behind may rely on it."""
        if step.name in self.real or step.name in self.codes:
            yield "has the name of another"
        if isinstance(step, Quantize):
            if step.source not in self.real:
                yield f"has an unknown source {step.source!r}"
        else:
            unknown = [name for name in _sources(step) if name not in self.codes]
            if unknown or not _sources(step):
                yield f"has unknown sources {unknown}"
            yield from self._own_problems(step)
        codes = None if isinstance(step, Kept) else step.codes
        if codes is not None:
            yield from _code_problems(codes)

    def _own_problems(self, step: Step) -> Iterator[str]:
        if isinstance(step, Convolution):
            yield from _convolution_problems(step, self.channels[step.source])
        elif isinstance(step, Add):
            if self.channels[step.first] != self.channels[step.second]:
                yield "adds different numbers of channels"
        elif isinstance(step, Concat):
            if step.dim != 1:
                yield f"joins dimension {step.dim}, expected 1"
        elif isinstance(step, MaxPool):
            if min(*step.kernel, *step.stride) < 1 or min(step.padding) < 0:
                yield "has a window without size"
        elif isinstance(step, Scatter) and (step.coords not in self.real or min(step.shape) < 1):
            yield "has no coordinates or an empty canvas"

    def _channels(self, step: Step) -> int | None:
        """Channels of a step's result; None where the input alone decides."""
        if isinstance(step, Quantize):
            return None
        if isinstance(step, Convolution):
            return len(step.weight)
        found = [self.channels[name] for name in _sources(step)]
        if isinstance(step, Concat):
            return None if None in found else sum(count or 0 for count in found)
        return found[0]


def _sources(step: Step) -> tuple[str, ...]:
    if isinstance(step, Add):
        return step.first, step.second
    return step.sources if isinstance(step, Concat) else (step.source,)


def _convolution_problems(step: Convolution, in_channels: int | None) -> Iterator[str]:
    if step.weight.ndim != 4 or 0 in step.weight.shape:
        yield f"has a weight of shape {step.weight.shape}"
    out, per_group = step.weight.shape[:2]
    if step.weight_scale.shape != (out,) or step.bias.shape != (out,):
        yield "has scales or biases of another number of channels"
    if not (np.isfinite(step.weight_scale).all() and (step.weight_scale > 0).all()):
        yield "has a weight scale that is not positive"
    if min(*step.stride, *step.dilation, step.groups) < 1 or min(step.padding) < 0 or out % step.groups:
        yield "has a stride, dilation, padding or number of groups out of range"
    if in_channels is not None and in_channels != per_group * step.groups:
        yield f"takes {per_group * step.groups} channels, its source has {in_channels}"


def _code_problems(codes: Codes) -> Iterator[str]:
    form = codes.form
    # A scale that float32 cannot hold would be zero or infinite in a runtime.
    if not (math.isfinite(codes.scale) and 2.0**-126 <= codes.scale < 2.0**127):
        yield f"has a scale of {codes.scale}"
    if form.dtype not in ("uint8", "int8", "int16"):
        yield f"has codes of type {form.dtype!r}"
    limits = np.iinfo(form.dtype)
    stored = form.low + form.zero_point, form.high + form.zero_point
    if not (form.low <= 0 < form.high and limits.min <= stored[0] and stored[1] <= limits.max):
        yield "has codes that its type does not hold"
