"""What calibration sees of a tensor, and the scale it chooses from that."""

from __future__ import annotations

import math

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lidar_mt.quantization.spec import Format
from lidar_mt.structures.errors import ConfigError

METHODS = ("mse", "minmax", "percentile")
_BINS = 2048
#: Values of a sample's map that are counted.
_CHOSEN = 2**17
#: Shares of the full range that the MSE search tries.
_SHRINK = torch.linspace(1.0, 0.06, 95, dtype=torch.float64)


class HistogramObserver(nn.Module):
    """A histogram of all values seen, over a symmetric range that doubles when a value lies outside.

    Ranges are powers of two, so the histograms of several ranks, and of a run that was resumed, add up exactly.
    """

    counts: Tensor
    exponent: Tensor
    low: Tensor
    high: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("counts", torch.zeros(2 * _BINS, dtype=torch.float64))
        # The range is +-2^exponent.
        self.register_buffer("exponent", torch.tensor(-20))
        self.register_buffer("low", torch.tensor(0.0))
        self.register_buffer("high", torch.tensor(0.0))

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Adds the values of a tensor of any shape; values that are not finite are left out.

        Of maps (B, C, H, W) the extremes count all values, the histogram an even choice of about 2^17 of each sample:
        counting all of a network's values takes far longer than computing them.
        """
        x = x.detach()
        extremes = torch.stack(torch.aminmax(x)) if x.numel() else x.new_zeros(2)
        if not torch.isfinite(extremes).all():
            finite = x[torch.isfinite(x)]
            extremes = torch.stack(torch.aminmax(finite)) if finite.numel() else x.new_zeros(2)
        low, high = extremes.float()
        self.low.copy_(torch.minimum(self.low, low))
        self.high.copy_(torch.maximum(self.high, high))
        largest = max(-float(low), float(high))
        if largest > 0:
            self.widen(math.frexp(largest)[1])
        # Sample by sample, so that batches and ranks of any size see the same values.
        for part in x if x.dim() == 4 else (x,):
            self._count(_chosen(part).float())

    def _count(self, values: Tensor) -> None:
        limit = 2.0 ** int(self.exponent)
        # Zeros are left out: they have a code of their own in every format, and most of a sparse map is zero.
        filled = values[torch.isfinite(values) & (values != 0)]
        bins = ((filled / limit + 1) * _BINS).long().clamp_(0, 2 * _BINS - 1)
        self.counts += torch.bincount(bins, minlength=2 * _BINS).to(self.counts)

    @torch.no_grad()
    def widen(self, exponent: int) -> None:
        """Makes the range at least +-2^exponent, by merging bins."""
        while int(self.exponent) < exponent:
            merged = torch.zeros_like(self.counts)
            merged[_BINS // 2 : 3 * _BINS // 2] = self.counts.view(-1, 2).sum(dim=1)
            self.counts.copy_(merged)
            self.exponent += 1

    @torch.no_grad()
    def reduce(self) -> None:
        """Adds up over all ranks, where there are several."""
        if not (dist.is_available() and dist.is_initialized()):
            return
        exponent = self.exponent.clone()
        dist.all_reduce(exponent, dist.ReduceOp.MAX)
        self.widen(int(exponent))
        dist.all_reduce(self.counts)
        dist.all_reduce(self.low, dist.ReduceOp.MIN)
        dist.all_reduce(self.high, dist.ReduceOp.MAX)

    def centres(self) -> Tensor:
        """(bins,) float64 value in the middle of each bin."""
        width = 2.0 ** int(self.exponent) / _BINS
        return (torch.arange(2 * _BINS, dtype=torch.float64, device=self.counts.device) - _BINS + 0.5) * width


def _chosen(values: Tensor) -> Tensor:
    """(N,) the values of a sample (C, H, W), in the order of memory and evenly thinned out; others whole."""
    if values.dim() != 3:
        return values.flatten()
    flat = values.movedim(0, -1).reshape(-1)
    # Odd, so that all channels are met.
    return flat[:: max(1, len(flat) // _CHOSEN) | 1]


def choose_scale(
    observer: HistogramObserver, form: Format, method: str, *, percentile: float = 99.99, power_of_two: bool = False
) -> float:
    """Scale of a tensor in a format.

    Args:
        observer: what was seen.
        form: format of the codes.
        method: `mse` takes the range with the least squared error, of those from 1.00 to 0.06 of what was seen;
            `minmax` all that was seen; `percentile` leaves out the largest values.
        percentile: share of the values other than zero that lie inside, for `percentile` [%].
        power_of_two: only powers of two.

    Returns:
        The scale, positive; 1 for a tensor that was always zero, since a tiny one would ask for huge biases behind it.

    Raises:
        ConfigError: the method is unknown.
    """
    if method not in METHODS:
        raise ConfigError(f"quant.observer={method}: expected one of {list(METHODS)}")
    full = _full_scale(float(observer.low), float(observer.high), form)
    if full == 0:
        return 1.0
    if method == "percentile":
        full = min(full, _percentile_scale(observer, form, percentile))
    if method != "mse":
        return 2.0 ** math.ceil(math.log2(full)) if power_of_two else full
    if power_of_two:
        top = math.ceil(math.log2(full))
        candidates = 2.0 ** torch.arange(top, top - 5, -1, dtype=torch.float64)
    else:
        candidates = full * _SHRINK
    return float(candidates[_squared_errors(observer, form, candidates).argmin()])


def _full_scale(low: float, high: float, form: Format) -> float:
    """Smallest scale at which nothing is cut off."""
    return max(high / form.high, low / form.low if form.low else 0.0)


def _percentile_scale(observer: HistogramObserver, form: Format, percentile: float) -> float:
    order = observer.centres().abs().argsort(stable=True)
    inside = observer.counts[order].cumsum(0) <= percentile / 100 * observer.counts.sum()
    largest = float(observer.centres()[order][inside].abs().max()) if inside.any() else float(observer.high)
    return _full_scale(-largest, largest, form)


def _squared_errors(observer: HistogramObserver, form: Format, scales: Tensor) -> Tensor:
    """Sum of squared errors over the histogram, for each scale (S,)."""
    used = observer.counts > 0
    values, counts = observer.centres()[used], observer.counts[used]
    scales = scales.to(values.device)[:, None]
    rounded = (values / scales).round().clamp(form.low, form.high) * scales
    return ((rounded - values).square() * counts).sum(dim=1).cpu()
