"""From the points of a pillar to one feature vector."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from lidar_mt.layers.conv import ConvNorm, Norm
from lidar_mt.layers.init import init_kaiming
from lidar_mt.ops.segment_max import linear_segment_max
from lidar_mt.structures.pillars import Pillars

POINT_FEATURES = 5


class PillarEncoder(nn.Module):
    """1x1 convolution without bias, batch normalisation, ReLU, maximum over a pillar's slots; empty slots take part.

    Two forms share the parameters. `forward` is the deployed one, over padded slots. `forward_points` gives the same
    numbers from the points alone: convolution and normalisation of a point are one affine map, ReLU and the added
    constant do not change which slot is the maximum, and all empty slots of a pillar are one zero point.

    Args:
        out_channels: C of the result.
        points_per_pillar: M, slots per pillar.

    Source: PointPillars, Lang et al. 2019, section 2.1, without the decorated features.
    """

    def __init__(self, out_channels: int = 64, points_per_pillar: int = 20) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.points_per_pillar = points_per_pillar
        norm = Norm(eps=1e-3, momentum=0.01)
        self.point = ConvNorm(POINT_FEATURES, out_channels, 1, bias=False, norm=norm, relu=True)
        self.pool = nn.MaxPool2d((points_per_pillar, 1))
        init_kaiming(self)

    def forward(self, features: Tensor) -> Tensor:
        """Encodes padded pillars.

        Args:
            features: (B, 5, M, V) float32, see `DensePillars`.

        Returns:
            (B, C, V) float32; a pad pillar gets the value of an all-zero pillar.
        """
        out: Tensor = self.pool(self.point(features))
        return out.squeeze(2)

    def forward_points(self, pillars: Pillars) -> Tensor:
        """Encodes pillars from their points alone.

        In training mode the batch statistics are those of the padded form over V x M slots. The running statistics
        are the plain average of the first batches, then the exponential one with the momentum. Runs in float32 under
        autocast as well: bfloat16 would round positions to 0.4 m.

        Args:
            pillars: the flat form; no pad pillars.

        Returns:
            (V, C) float32.
        """
        with torch.autocast(pillars.features.device.type, enabled=False):
            points = pillars.features.to(self.point.conv.weight.dtype)
            weight, shift = self._affine(points, pillars)
            # The zero point of a pillar that is not full; a full pillar has none.
            full = pillars.num_points >= self.points_per_pillar
            initial = torch.where(full, -torch.inf, 0.0).to(points.dtype)
            return F.relu(linear_segment_max(points, weight, pillars.point_to_pillar, initial) + shift)

    def _affine(self, points: Tensor, pillars: Pillars) -> tuple[Tensor, Tensor]:
        """Convolution and normalisation as one map of a point: weight (C, 5), shift (C,)."""
        norm = self.point.norm
        kernel = self.point.conv.weight.flatten(1)
        if norm.training:
            mean, variance = self._batch_statistics(kernel, points, len(pillars.coords))
        else:
            mean, variance = _buffer(norm.running_mean), _buffer(norm.running_var)
        scale = norm.weight * torch.rsqrt(variance + norm.eps)
        return kernel * scale[:, None], norm.bias - mean * scale

    def _batch_statistics(self, kernel: Tensor, points: Tensor, num_pillars: int) -> tuple[Tensor, Tensor]:
        """Mean and variance (C,) of the convolution over all slots; updates the running statistics.

        A linear map's mean and variance follow from the mean and the covariance of the points, 5 and 5 x 5 numbers.
        """
        norm = self.point.norm
        moments = _slot_moments(points, num_pillars * self.points_per_pillar)
        if isinstance(norm, nn.SyncBatchNorm) and dist.is_initialized():
            # A plain reduction: the moments do not depend on the parameters, so no gradient passes through it.
            dist.all_reduce(moments)
        slots = moments[-1, -1].clamp(min=1)
        mean_point = moments[-1, :-1] / slots
        covariance = moments[:-1, :-1] / slots - torch.outer(mean_point, mean_point)
        wide = kernel.double()
        mean = wide @ mean_point
        variance = ((wide @ covariance) * wide).sum(dim=1).clamp(min=0)
        with torch.no_grad():
            # A batch without pillars says nothing; decided on the device, and alike on all ranks.
            seen = (moments[-1, -1] > 0).to(kernel.dtype)
            batches = _buffer(norm.num_batches_tracked).add_(seen.long())
            # A plain average until it outweighs the momentum: most slots are empty, so the variance is a few
            # thousandths, and at momentum 0.01 the initial 1 would dominate it for a thousand steps.
            momentum = seen * batches.clamp(min=1).double().reciprocal().clamp(min=norm.momentum or 0.0).to(
                kernel.dtype
            )
            _buffer(norm.running_mean).lerp_(mean.to(kernel.dtype), momentum)
            unbiased = variance * slots / (slots - 1).clamp(min=1)
            _buffer(norm.running_var).lerp_(unbiased.to(kernel.dtype), momentum)
        return mean.to(kernel.dtype), variance.to(kernel.dtype)


def _slot_moments(points: Tensor, slots: int) -> Tensor:
    """Sums of the products of (x, 1) with itself over all slots, empty ones included: (F + 1, F + 1) float64."""
    wide = F.pad(points, (0, 1), value=1.0).double()
    moments = wide.T @ wide
    moments[-1, -1] = slots
    return moments


def _buffer(value: Tensor | None) -> Tensor:
    if value is None:
        raise RuntimeError("the pillar encoder's normalisation must track running statistics")
    return value
