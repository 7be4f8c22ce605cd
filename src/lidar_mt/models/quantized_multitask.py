"""The network with integer arithmetic from the pillar features to the heads' accumulators."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor, nn

from lidar_mt.models.multitask import LidarMultiTaskNet
from lidar_mt.models.pillar_encoder import PillarEncoder
from lidar_mt.models.pillar_scatter import PillarScatter
from lidar_mt.ops.segment_max import linear_segment_max
from lidar_mt.quantization.arithmetic import Quantized
from lidar_mt.quantization.capture import fuse
from lidar_mt.quantization.convert import convert_body, convert_codes, convert_conv
from lidar_mt.quantization.integer_graph import IntegerGraph, MaxPool, Quantize, Scatter, Step
from lidar_mt.quantization.modules import OutputQuantizer, QuantConv2d, Settings
from lidar_mt.quantization.prepare import prepare
from lidar_mt.quantization.spec import Exceptions
from lidar_mt.structures.errors import ConfigError
from lidar_mt.structures.outputs import NetOutput
from lidar_mt.structures.pillars import Pillars

#: Names of the encoder's modules that exceptions may name.
_INPUT, _POINT = "encoder.input", "encoder.point.conv"


class QuantizedPillarEncoder(nn.Module):
    """The pillar encoder on codes, in the two forms of `PillarEncoder`. They agree to the bit.

    Rescaling is monotone, so taking the maximum of accumulators and of codes is the same.

    Args:
        encoder: the float encoder, in evaluation mode.
        settings: of the quantized network.
        exceptions: modules with another precision; the features go by the name `encoder.input`.
    """

    def __init__(self, encoder: PillarEncoder, settings: Settings, exceptions: Exceptions) -> None:
        super().__init__()
        self.out_channels = encoder.out_channels
        self.points_per_pillar = encoder.points_per_pillar
        self.input = _quantizer(settings, exceptions, _INPUT)
        precision = exceptions.precision(_POINT)
        conv = QuantConv2d(
            fuse(encoder.point.conv, encoder.point.norm),
            relu=True,
            output=_quantizer(settings, exceptions, _POINT),
            precision=precision,
            power_of_two=settings.scheme.power_of_two,
        )
        # Named as in the float encoder.
        self.point = nn.ModuleDict({"conv": conv})
        self.pool = encoder.pool

    @property
    def conv(self) -> QuantConv2d:
        """The convolution of the points."""
        conv = self.point["conv"]
        if not isinstance(conv, QuantConv2d):
            raise TypeError(f"expected a quantized convolution, got {type(conv).__name__}")
        return conv

    def forward(self, features: Tensor) -> Quantized:
        """Encodes padded pillars (B, 5, M, V) float32 to (B, C, V)."""
        encoded: Quantized = self.conv(self._input(features))
        return encoded._replace(values=self.pool(encoded.values).squeeze(2))

    def forward_points(self, pillars: Pillars) -> Quantized:
        """Encodes pillars from their points alone to (V, C)."""
        conv = self.conv
        points = self._input(pillars.features)
        if points.scale is None or points.form is None or conv.mode != "quantize" or not conv.has_codes:
            weight = conv.rounded_weight() if conv.mode == "quantize" and conv.has_codes else conv.weight
            real = torch.relu(self._maxima(points.real(), weight, conv.bias, pillars))
            return Quantized(real) if conv.output is None else conv.output(real)
        codes, scale, bias = conv.codes(points.scale, points.form)
        return conv.finish(self._maxima(points.values, codes, bias, pillars), points.scale, scale)

    def _maxima(self, points: Tensor, weight: Tensor, bias: Tensor | None, pillars: Pillars) -> Tensor:
        """(V, C) maximum over each pillar's slots of the convolution, empty slots included."""
        with torch.autocast(points.device.type, enabled=False):
            # The zero point of a pillar that is not full; a full pillar has none.
            full = pillars.num_points >= self.points_per_pillar
            initial = torch.where(full, -torch.inf, 0.0).to(points.dtype)
            rows = linear_segment_max(points, weight.flatten(1), pillars.point_to_pillar, initial)
            return rows if bias is None else rows + bias

    def _input(self, features: Tensor) -> Quantized:
        return Quantized(features) if self.input is None else self.input(features)


class QuantizedMultiTaskNet(nn.Module):
    """A `LidarMultiTaskNet` of quantized modules; the same calls give the same outputs, rounded as the target does.

    Args:
        net: the float network; its weights are copied, with their normalisation folded in.
        settings: number formats and observers.
        exceptions: modules with another precision.
    """

    def __init__(self, net: LidarMultiTaskNet, settings: Settings, exceptions: Exceptions | None = None) -> None:
        super().__init__()
        exceptions = exceptions or Exceptions()
        self.settings = settings
        self.encoder = QuantizedPillarEncoder(net.encoder, settings, exceptions)
        self.scatter: PillarScatter = net.scatter
        self.body = prepare(_Body(net), settings, exceptions, more_names=(_INPUT, _POINT))

    def forward(self, features: Tensor, coords: Tensor) -> NetOutput:
        """Runs the deployed form; see `LidarMultiTaskNet.forward`."""
        with self._precision(features):
            encoded = self.encoder(features)
            return self.forward_canvas(encoded._replace(values=self.scatter(encoded.values, coords)))

    def forward_pillars(self, pillars: Pillars) -> NetOutput:
        """Runs the fast form; see `LidarMultiTaskNet.forward_pillars`."""
        with self._precision(pillars.features):
            return self.forward_canvas(self.canvas(pillars))

    def canvas(self, pillars: Pillars) -> Quantized:
        """(B, C, H, W) encoded pillars at their cells: what the body takes."""
        encoded = self.encoder.forward_points(pillars)
        return encoded._replace(values=self.scatter.forward_rows(encoded.values, pillars))

    def forward_canvas(self, canvas: Quantized) -> NetOutput:
        """What both forms share.

        Args:
            canvas: (B, C, H, W) codes, or real values outside the mode `quantize`.
        """
        outputs: NetOutput = self.body(canvas)
        return outputs

    def _precision(self, x: Tensor) -> contextlib.AbstractContextManager[object]:
        """Evaluation is exact, also of what stays in float, and whatever the trainer's precision is."""
        return contextlib.nullcontext() if self.training else torch.autocast(x.device.type, enabled=False)

    def integer_graph(self) -> IntegerGraph:
        """The network's integers, as calibrated or trained.

        Raises:
            ConfigError: a module stays in float, or has no integer form.
        """
        encoder = self.encoder
        conv = encoder.conv
        if encoder.input is None or conv.output is None:
            raise ConfigError("the pillar encoder stays in float (quant.exceptions); an integer network has no float")
        features, encoded = convert_codes(encoder.input), convert_codes(conv.output)
        steps: list[Step] = [
            Quantize(_INPUT, "features", features),
            convert_conv(_POINT, conv, _INPUT, features),
            MaxPool("encoder.pool", _POINT, (encoder.points_per_pillar, 1), (encoder.points_per_pillar, 1), (0, 0)),
            Scatter("scatter", "encoder.pool", "coords", self.scatter.shape),
        ]
        body, outputs = convert_body(self.body, {"scatter": encoded})
        scheme = self.settings.scheme
        return IntegerGraph((*steps, *body), tuple(outputs), scheme.name, "pow2" if scheme.power_of_two else "float")


class _Body(nn.Module):
    """The network behind the canvas, to be captured."""

    def __init__(self, net: LidarMultiTaskNet) -> None:
        super().__init__()
        self.backbone, self.neck, self.heads = net.backbone, net.neck, net.heads

    def forward(self, canvas: Tensor) -> NetOutput:
        x = self.neck(self.backbone(canvas))
        return {name: head(x) for name, head in self.heads.items()}


def _quantizer(settings: Settings, exceptions: Exceptions, name: str) -> OutputQuantizer | None:
    bits = exceptions.precision(name).activation_bits
    return None if bits == 32 else OutputQuantizer(settings, positive=True, bits=bits)
