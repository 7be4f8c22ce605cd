"""The arithmetic of the integer network, with straight-through gradients.

Codes are whole numbers held in float32. Everything here is exact for them, so training, evaluation and the deployed
integers are one computation: products and sums of whole numbers below 2^24 are exact in float32, whatever their order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from lidar_mt.quantization.spec import WEIGHT_MAX, Format


class Quantized(NamedTuple):
    """An activation between two modules of a quantized network.

    Attributes:
        values: centred codes as float32, or real values where `scale` is None.
        scale: () float32; None while real values flow, as in calibration and behind a module that stays in float.
        form: format of the codes; None where `scale` is.
    """

    values: Tensor
    scale: Tensor | None = None
    form: Format | None = None

    def real(self) -> Tensor:
        """The real values."""
        return self.values if self.scale is None else self.values * self.scale


class _Requantize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, multiplier: Tensor, low: int, high: int) -> Tensor:
        y = x * multiplier
        codes = y.round().clamp_(low, high)
        # Half a step outside the range still rounds into it.
        ctx.save_for_backward((y >= low - 0.5) & (y <= high + 0.5), multiplier)
        return codes

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        inside, multiplier = ctx.saved_tensors
        return grads[0] * inside * multiplier, None, None, None


def requantize(x: Tensor, multiplier: Tensor, form: Format) -> Tensor:
    """Codes of `x * multiplier`: rounded half to even, cut to the format's range.

    Args:
        x: any float tensor, such as accumulators.
        multiplier: broadcastable, positive.
        form: format of the result.

    Returns:
        Centred codes. The gradient passes rounding unchanged and stops where a value was cut.
    """
    codes: Tensor = _Requantize.apply(x, multiplier, form.low, form.high)  # type: ignore[no-untyped-call]
    return codes


class _RoundStraight(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(_: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return grads


def round_straight(x: Tensor) -> Tensor:
    """Rounds half to even; the gradient passes unchanged."""
    rounded: Tensor = _RoundStraight.apply(x)  # type: ignore[no-untyped-call]
    return rounded


def weight_scale(weight: Tensor, *, power_of_two: bool) -> Tensor:
    """Scale of each output channel (C,) of a weight (C, ...): its largest absolute value is code 127."""
    largest = weight.detach().flatten(1).abs().amax(dim=1)
    # A channel of zeros needs some scale; any will do.
    scale = torch.where(largest > 0, largest, torch.ones_like(largest)) / WEIGHT_MAX
    return torch.exp2(torch.ceil(torch.log2(scale))) if power_of_two else scale


def weight_codes(weight: Tensor, scale: Tensor) -> Tensor:
    """Centred codes of a weight (C, ...) for scales (C,)."""
    per_channel = scale.view(-1, *[1] * (weight.dim() - 1))
    return round_straight(weight / per_channel).clamp(-WEIGHT_MAX, WEIGHT_MAX)


def add_codes(a: Quantized, b: Quantized, scale: Tensor, form: Format) -> Tensor:
    """Codes of the sum of two tensors with scales of their own.

    The order of the operations is that of onnxruntime's QLinearAdd, on stored codes and with all constants gathered:
    with scales that are no powers of two the order decides about ties.

    Args:
        a: codes.
        b: codes of the same shape.
        scale: () of the result.
        form: format of the result.
    """
    if a.scale is None or b.scale is None or a.form is None or b.form is None:
        raise ValueError("add_codes needs codes")
    ratio_a, ratio_b = a.scale / scale, b.scale / scale
    zero_a, zero_b = a.form.zero_point, b.form.zero_point
    fixed = form.zero_point - (ratio_a * zero_a + ratio_b * zero_b)
    stored = (a.values + zero_a) * ratio_a + ((b.values + zero_b) * ratio_b + fixed)
    return requantize(stored - form.zero_point, torch.ones_like(scale), form)
