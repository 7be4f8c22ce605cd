"""The modules of a quantized network. All of them pass `Quantized` values, and work in one of three modes.

float      real values and real weights: the float network with its normalisation folded
observe    the same, while every output quantizer looks at its tensor
quantize   codes: what the deployed integer network computes, with straight-through gradients
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from lidar_mt.quantization.arithmetic import (
    Quantized,
    add_codes,
    requantize,
    round_straight,
    weight_codes,
    weight_scale,
)
from lidar_mt.quantization.observers import HistogramObserver, choose_scale
from lidar_mt.quantization.spec import EXACT_FLOAT32, Format, Precision, Scheme, largest_bias

Mode = Literal["float", "observe", "quantize"]


@dataclass(frozen=True)
class Settings:
    """What all modules of a quantized network share.

    Attributes:
        scheme: number formats.
        observer: how calibration chooses scales, see `observers.choose_scale`.
        percentile: for that observer [%].
        moving_momentum: share of the newest batch in activation scales during training; 0 freezes them.
    """

    scheme: Scheme
    observer: str = "mse"
    percentile: float = 99.99
    moving_momentum: float = 0.0


class OutputQuantizer(nn.Module):
    """Scale and format of one activation tensor.

    Args:
        settings: of the network.
        positive: the tensor is never negative.
        bits: 8 or 16.
    """

    scale: Tensor

    def __init__(self, settings: Settings, *, positive: bool, bits: int = 8) -> None:
        super().__init__()
        self.settings = settings
        self.form = settings.scheme.format(positive, bits)
        self.mode: Mode = "float"
        self.register_buffer("scale", torch.tensor(1.0))
        self.observer: HistogramObserver | None = None

    def forward(self, real: Tensor) -> Quantized:
        """Passes real values on, as they are or as codes."""
        if self.mode == "quantize":
            return self.codes(real)
        if self.mode == "observe" and self.observer is not None:
            self.observer.update(real)
        return Quantized(real)

    def codes(self, real: Tensor) -> Quantized:
        """Codes of real values."""
        self.follow(real)
        scale = self.used_scale
        return Quantized(requantize(real / scale, torch.ones_like(scale), self.form), scale, self.form)

    def follow(self, real: Tensor) -> None:
        """Moves the scale towards the batch's range, in training and where the settings say so."""
        momentum = self.settings.moving_momentum
        if not (self.training and momentum > 0):
            return
        with torch.no_grad():
            low, high = torch.aminmax(real.float())
            wanted = high / self.form.high
            if self.form.signed:
                wanted = torch.maximum(wanted, low / self.form.low)
            if dist.is_available() and dist.is_initialized():
                dist.all_reduce(wanted, dist.ReduceOp.MAX)
            self.scale.lerp_(wanted.clamp(min=2.0**-20), momentum)

    @property
    def used_scale(self) -> Tensor:
        """The scale, as a power of two where the scheme asks for one."""
        if self.settings.scheme.power_of_two and self.settings.moving_momentum > 0:
            return torch.exp2(torch.ceil(torch.log2(self.scale)))
        return self.scale

    def choose(self) -> None:
        """Sets the scale from what was observed, by all ranks."""
        if self.observer is None:
            raise RuntimeError("choose a scale after observing")
        self.observer.reduce()
        settings = self.settings
        chosen = choose_scale(
            self.observer,
            self.form,
            settings.observer,
            percentile=settings.percentile,
            power_of_two=settings.scheme.power_of_two,
        )
        self.scale.fill_(chosen)


class QuantConv2d(nn.Conv2d):
    """Convolution, optional ReLU, and the rescaling of its accumulators into the output's codes.

    Without an output quantizer the result is real: accumulators times their scale.

    Args:
        conv: the float convolution with its normalisation folded in; its parameters are taken over.
        relu: end with a ReLU.
        output: quantizer of the result, or None.
        precision: of weights and result.
        power_of_two: of the weight scales.
    """

    def __init__(
        self, conv: nn.Conv2d, *, relu: bool, output: OutputQuantizer | None, precision: Precision, power_of_two: bool
    ) -> None:
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            stride=conv.stride,  # type: ignore[arg-type]
            padding=conv.padding,  # type: ignore[arg-type]
            dilation=conv.dilation,  # type: ignore[arg-type]
            groups=conv.groups,
            bias=conv.bias is not None,
            device="meta",
        )
        self.weight, self.bias = conv.weight, conv.bias
        self.relu = relu
        self.output = output
        self.precision = precision
        self.power_of_two = power_of_two
        self.mode: Mode = "float"

    @property
    def has_codes(self) -> bool:
        """The weights become integers."""
        return self.precision.weight_bits < 32

    def forward(self, x: Quantized) -> Quantized:  # type: ignore[override]
        """Maps (B, C, H, W) values."""
        if self.mode == "quantize" and self.has_codes:
            return self._integer(x) if x.scale is not None else self._real(x, self.rounded_weight())
        return self._real(x, self.weight)

    def codes(self, input_scale: Tensor, form: Format) -> tuple[Tensor, Tensor, Tensor | None]:
        """Weight codes (C, ...), their scales (C,) and bias codes (C,) for an input's scale and format.

        A channel whose bias dwarfs its weights gets a larger scale, so that the bias fits an accumulator.
        """
        scale = weight_scale(self.weight, power_of_two=self.power_of_two)
        if self.bias is None:
            return weight_codes(self.weight, scale), scale, None
        needed = self.bias.detach().abs() / (input_scale * largest_bias(form))
        if self.power_of_two:
            needed = torch.exp2(torch.ceil(torch.log2(needed)))
        scale = torch.maximum(scale, needed)
        return weight_codes(self.weight, scale), scale, round_straight(self.bias / (input_scale * scale))

    def rounded_weight(self) -> Tensor:
        """The real values of the weight codes."""
        scale = weight_scale(self.weight, power_of_two=self.power_of_two)
        return weight_codes(self.weight, scale) * scale.view(-1, 1, 1, 1)

    def finish(self, accumulators: Tensor, input_scale: Tensor, scale: Tensor) -> Quantized:
        """Rescales accumulators (B, C, ...) of weight scales (C,)."""
        shape = (-1,) + (1,) * (accumulators.dim() - 2)
        real_scale = input_scale * scale
        if self.output is None:
            real = accumulators * real_scale.view(shape)
            return Quantized(F.relu(real) if self.relu else real)
        self.output.follow(accumulators.detach() * real_scale.view(shape))
        out_scale = self.output.used_scale
        # In onnxruntime's order: with scales that are no powers of two it decides the last bit of the multiplier.
        multiplier = (real_scale / out_scale).view(shape)
        return Quantized(requantize(accumulators, multiplier, self.output.form), out_scale, self.output.form)

    def _integer(self, x: Quantized) -> Quantized:
        if x.scale is None or x.form is None:
            raise ValueError("integer arithmetic needs codes")
        weight, scale, bias = self.codes(x.scale, x.form)
        # In training the fast half precision will do; evaluation is exact.
        device = x.values.device.type
        with torch.autocast(device, enabled=self.training and torch.is_autocast_enabled(device)):
            if self.training or self.largest_accumulator(weight, bias, x.form.high) < EXACT_FLOAT32:
                accumulators = self._conv_forward(x.values, weight, bias)
            else:
                wide = None if bias is None else bias.double()
                # Back to float32 as a processor converts them before it rescales.
                accumulators = self._conv_forward(x.values.double(), weight.double(), wide).float()
        return self.finish(accumulators, x.scale, scale)

    @staticmethod
    def largest_accumulator(weight: Tensor, bias: Tensor | None, highest: int) -> float:
        """No accumulator can be larger, for input codes up to `highest`."""
        bound = weight.detach().abs().flatten(1).sum(dim=1) * (highest + 1)
        if bias is not None:
            bound = bound + bias.detach().abs()
        return float(bound.max())

    def _real(self, x: Quantized, weight: Tensor) -> Quantized:
        real = self._conv_forward(x.real(), weight, self.bias)
        if self.relu:
            real = F.relu(real)
        return Quantized(real) if self.output is None else self.output(real)


class QuantAdd(nn.Module):
    """Sum of two tensors, optional ReLU.

    Args:
        relu: end with a ReLU.
        output: quantizer of the result; None leaves it real.
    """

    def __init__(self, *, relu: bool, output: OutputQuantizer | None) -> None:
        super().__init__()
        self.relu = relu
        self.output = output

    def forward(self, a: Quantized, b: Quantized) -> Quantized:
        """Adds two maps of one shape."""
        out = self.output
        if out is not None and out.mode == "quantize" and a.scale is not None and b.scale is not None:
            out.follow(a.values.detach() * a.scale + b.values.detach() * b.scale)
            return Quantized(add_codes(a, b, out.used_scale, out.form), out.used_scale, out.form)
        real = a.real() + b.real()
        if self.relu:
            real = F.relu(real)
        return Quantized(real) if out is None else out(real)


class QuantUpsample(nn.Module):
    """Bilinear doubling of height and width; codes keep their scale and are rounded half to even.

    The weights are sixteenths, so the sum before rounding is exact.
    """

    def forward(self, x: Quantized) -> Quantized:
        """Maps (B, C, H, W) to (B, C, 2 H, 2 W)."""
        doubled = F.interpolate(x.values, scale_factor=2.0, mode="bilinear", align_corners=False)
        return x._replace(values=doubled if x.scale is None else round_straight(doubled))


class QuantConcat(nn.Module):
    """Joins tensors along one dimension, after bringing them to one scale.

    Args:
        dim: the dimension.
        output: quantizer of the result; None leaves it real.
    """

    def __init__(self, dim: int, output: OutputQuantizer | None) -> None:
        super().__init__()
        self.dim = dim
        self.output = output

    def forward(self, parts: list[Quantized]) -> Quantized:
        """Joins them in order."""
        out = self.output
        if out is None or out.mode != "quantize":
            real = torch.cat([part.real() for part in parts], dim=self.dim)
            return Quantized(real) if out is None else out(real)
        out.follow(torch.cat([part.real().detach().flatten() for part in parts]))
        codes = [
            requantize(part.values, (part.scale if part.scale is not None else 1.0) / out.used_scale, out.form)
            for part in parts
        ]
        return Quantized(torch.cat(codes, dim=self.dim), out.used_scale, out.form)


class KeepScale(nn.Module):
    """An operation that picks or reorders values, such as max pooling: codes keep their scale.

    Args:
        operation: the float module or function.
        keywords: for each call.
    """

    def __init__(self, operation: Callable[..., Tensor], **keywords: object) -> None:
        super().__init__()
        self.operation = operation
        self.keywords = keywords

    def forward(self, x: Quantized, *arguments: object) -> Quantized:
        """Applies the operation."""
        return x._replace(values=self.operation(x.values, *arguments, **self.keywords))


class FloatIsland(nn.Module):
    """An operation without an integer form: computed on real values, its result quantized again.

    Args:
        operation: the float module or function.
        output: quantizer of the result; None leaves it real.
        keywords: for each call.
    """

    def __init__(
        self, operation: Callable[..., Tensor], output: OutputQuantizer | None, keywords: Mapping[str, object]
    ) -> None:
        super().__init__()
        self.operation = operation
        self.output = output
        self.keywords = dict(keywords)

    def forward(self, *arguments: object) -> Quantized:
        """Applies the operation."""
        values = [one.real() if isinstance(one, Quantized) else one for one in arguments]
        real = self.operation(*values, **self.keywords)
        return Quantized(real) if self.output is None else self.output(real)


def quantizers(root: nn.Module) -> Iterator[tuple[str, OutputQuantizer]]:
    """All output quantizers by the name of the module they belong to."""
    for name, module in root.named_modules():
        if isinstance(module, OutputQuantizer):
            yield name.removesuffix(".output"), module


def set_mode(root: nn.Module, mode: Mode) -> None:
    """Sets the mode of all modules of a network; `observe` gives every output quantizer an empty observer."""
    for module in root.modules():
        if isinstance(module, OutputQuantizer | QuantConv2d):
            module.mode = mode
        if isinstance(module, OutputQuantizer):
            module.observer = HistogramObserver().to(module.scale.device) if mode == "observe" else None
