"""The arithmetic of the integer network, with straight-through gradients.

Codes are whole numbers held in float32. Everything here is exact for them, so training, evaluation and the deployed
integers are one computation: products and sums of whole numbers below 2^24 are exact in float32, whatever their order.
"""

from __future__ import annotations

from dataclasses import replace
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


class _MultiplyAdd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor, term: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        # A product of a code and a float32 is exact in float64, and so is the sum, short of absurd scales.
        return (x.double() * factor.double() + term.double()).float()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (factor,) = ctx.saved_tensors
        return grads[0] * factor, None, grads[0]


def multiply_add(x: Tensor, factor: Tensor, term: Tensor) -> Tensor:
    """`x * factor + term`, rounded once to float32, as a processor's fused multiply-add does.

    Args:
        x: codes.
        factor: () float32, without gradient.
        term: float32 of x's shape.
    """
    result: Tensor = _MultiplyAdd.apply(x, factor, term)  # type: ignore[no-untyped-call]
    return result


def add_codes(a: Quantized, b: Quantized, scale: Tensor, form: Format) -> Tensor:
    """Codes of the sum of two tensors with scales of their own.

    The order of the operations is that of onnxruntime's QLinearAdd, on stored codes, with fused multiply-adds and all
    constants gathered: with scales that are no powers of two the order decides about ties.

    Args:
        a: codes.
        b: codes of the same shape.
        scale: () of the result.
        form: format of the result.
    """
    if a.scale is None or b.scale is None or a.form is None or b.form is None:
        raise ValueError("add_codes needs codes")
    ratio_a, ratio_b = (a.scale / scale).detach(), (b.scale / scale).detach()
    zero_a, zero_b, zero = a.form.unsigned_zero, b.form.unsigned_zero, form.unsigned_zero
    fixed = (zero - (ratio_a * zero_a + ratio_b * zero_b)).expand_as(b.values)
    stored = multiply_add(a.values + zero_a, ratio_a, multiply_add(b.values + zero_b, ratio_b, fixed))
    # Rounded before the zero point is taken off: the difference of a small number and 128 would lose its last bits.
    unsigned = replace(form, low=form.low + zero, high=form.high + zero)
    return requantize(stored, torch.ones_like(scale), unsigned) - zero
