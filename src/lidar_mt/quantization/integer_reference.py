"""The integer reference: an integer graph computed step by step, the definition of the deployed network.

It knows nothing of training: only stored integers and scales go in. Codes are centred and held in float32, in which
all sums here are exact; a convolution whose accumulators could pass 2^24 is computed in float64.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

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
from lidar_mt.quantization.spec import EXACT_FLOAT32


class IntegerReference:
    """Computes an integer graph.

    Args:
        graph: the network.
        device: to compute on.
    """

    def __init__(self, graph: IntegerGraph, device: torch.device | str = "cpu") -> None:
        self.graph = graph
        self.device = torch.device(device)
        self.codes = graph.codes_of()
        self._weights = {step.name: self._load(step) for step in graph.steps if isinstance(step, Convolution)}

    @torch.no_grad()
    def run(self, inputs: Mapping[str, Tensor], start: str | None = None) -> dict[str, Tensor]:
        """Every tensor of the network.

        Args:
            inputs: `features` and `coords` by name, or centred codes of the tensor `start`.
            start: name of a tensor to start behind, instead of the inputs.

        Returns:
            Name -> centred codes as float32, or real values for outputs.
        """
        tensors = {name: value.to(self.device) for name, value in inputs.items()}
        steps = self.graph.steps
        if start is not None:
            names = [step.name for step in steps]
            steps = steps[names.index(start) + 1 :]
        for step in steps:
            tensors[step.name] = self._step(step, tensors)
        return tensors

    def outputs(self, inputs: Mapping[str, Tensor], start: str | None = None) -> list[Tensor]:
        """The network's results, in the order of `IntegerGraph.outputs`."""
        tensors = self.run(inputs, start)
        return [tensors[name] for name in self.graph.outputs]

    def _step(self, step: Step, tensors: Mapping[str, Tensor]) -> Tensor:
        if isinstance(step, Convolution):
            return self._convolution(step, tensors[step.source])
        if isinstance(step, Add):
            return self._add(step, tensors[step.first], tensors[step.second])
        if isinstance(step, Concat):
            scale = _float32(step.codes.scale)
            parts = (_round(tensors[s] * (_float32(self.codes[s].scale) / scale), step.codes) for s in step.sources)
            return torch.cat(list(parts), dim=step.dim)
        if isinstance(step, Scatter):
            return _scatter(step, tensors[step.source], tensors[step.coords])
        return _single(step, tensors[step.source])

    def _convolution(self, step: Convolution, x: Tensor) -> Tensor:
        weight, bias, scale = self._weights[step.name]
        channels = (-1, 1, 1)
        wide = F.conv2d(x.to(weight.dtype), weight, bias, step.stride, step.padding, step.dilation, step.groups)
        # Back to float32 as a processor converts them before it rescales.
        accumulators = wide.float()
        real_scale = _float32(self.codes[step.source].scale, x) * scale
        if step.codes is None:
            real = accumulators * real_scale.view(channels)
            return F.relu(real) if step.relu else real
        multiplier = real_scale / _float32(step.codes.scale, x)
        return _round(accumulators * multiplier.view(channels), step.codes)

    def _add(self, step: Add, a: Tensor, b: Tensor) -> Tensor:
        first, second, out = self.codes[step.first], self.codes[step.second], step.codes
        ratio_a = _float32(first.scale) / _float32(out.scale)
        ratio_b = _float32(second.scale) / _float32(out.scale)
        zero_a, zero_b, zero = first.form.unsigned_zero, second.form.unsigned_zero, out.form.unsigned_zero
        fixed = zero - (ratio_a * zero_a + ratio_b * zero_b)
        # In float64, then rounded once: fused multiply-adds.
        inner = ((b + zero_b).double() * ratio_b.to(a).double() + fixed.to(a).double()).float()
        stored = ((a + zero_a).double() * ratio_a.to(a).double() + inner.double()).float()
        return (stored.round() - zero).clamp(out.form.low, out.form.high)

    def _load(self, step: Convolution) -> tuple[Tensor, Tensor, Tensor]:
        """Weight and bias codes in a type that is exact for their accumulators, and weight scales."""
        highest = max(self.codes[step.source].form.high, -self.codes[step.source].form.low)
        wide = np.abs(step.weight.astype(np.int64)).reshape(len(step.weight), -1).sum(axis=1) * highest
        exact = (wide + np.abs(step.bias.astype(np.int64))).max() < EXACT_FLOAT32
        dtype = torch.float32 if exact else torch.float64
        return (
            torch.from_numpy(step.weight).to(self.device, dtype).contiguous(memory_format=torch.channels_last),
            torch.from_numpy(step.bias).to(self.device, dtype),
            torch.from_numpy(step.weight_scale).to(self.device),
        )


def _float32(scale: float, like: Tensor | None = None) -> Tensor:
    return torch.tensor(scale, dtype=torch.float32, device=None if like is None else like.device)


def _round(x: Tensor, codes: Codes) -> Tensor:
    return x.round().clamp(codes.form.low, codes.form.high)


def _single(step: Quantize | Upsample | MaxPool, x: Tensor) -> Tensor:
    if isinstance(step, Quantize):
        return _round(x / _float32(step.codes.scale, x), step.codes)
    if isinstance(step, Upsample):
        return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False).round()
    return F.max_pool2d(x, step.kernel, step.stride, step.padding)


def _scatter(step: Scatter, codes: Tensor, coords: Tensor) -> Tensor:
    height, width = step.shape
    batch, channels = codes.shape[:2]
    canvas = codes.new_zeros(batch, height * width + 1, channels)
    cell = torch.where(coords[..., 0] >= 0, coords[..., 0] * width + coords[..., 1], height * width)
    for one, at, rows in zip(canvas, cell, codes[:, :, 0].transpose(1, 2), strict=True):
        one[at] = rows
    return canvas[:, :-1].view(batch, height, width, channels).permute(0, 3, 1, 2)
