"""How far two tensors of two forms of a network are apart: error, codes that differ, and where the error comes from."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lidar_mt.quantization.integer_graph import Codes


@dataclass(frozen=True)
class Activation:
    """A tensor of a network.

    Attributes:
        values: centred codes, or real values.
        codes: scale and format; None where the values are real.
    """

    values: Tensor
    codes: Codes | None = None

    def real(self) -> Tensor:
        """The real values, float32."""
        real = self.values.float()
        return real if self.codes is None else real * torch.tensor(self.codes.scale, dtype=torch.float32)


@dataclass(frozen=True)
class Difference:
    """How far tensor b is from tensor a.

    All but the last six are in the tensor's own unit, or without one. LSB is the step of b's codes, or of a's where b
    has none.

    Attributes:
        count: elements.
        max_abs: largest absolute error.
        mean_abs: mean absolute error.
        sqnr_db: energy of a over energy of the error [dB]; infinite without an error.
        cosine: of the angle between the two, as vectors.
        range_a: smallest and largest value of a.
        range_b: smallest and largest value of b.
        lsb: real value of one code; None where both are real.
        differing_codes: elements with another code; None where not both have codes of one scale and format.
        max_code: largest difference of two codes [LSB]; None as above.
        clipped: share of a's values beyond the range that b's codes cover, 0 to 1. This and the following are None
            where not exactly one of the two is real; a is then the real one, whichever it was.
        rounding_rms: error that rounding the real values alone would make [LSB].
        clipping_rms: error that cutting them at the range alone would make [LSB].
        inherited_rms: what is left: error of the layers before, and of this layer's weights [LSB].
    """

    count: int
    max_abs: float
    mean_abs: float
    sqnr_db: float
    cosine: float
    range_a: tuple[float, float]
    range_b: tuple[float, float]
    lsb: float | None = None
    differing_codes: int | None = None
    max_code: int | None = None
    clipped: float | None = None
    rounding_rms: float | None = None
    clipping_rms: float | None = None
    inherited_rms: float | None = None

    @property
    def equal(self) -> bool:
        """No value differs."""
        return self.max_abs == 0

    @property
    def max_lsb(self) -> float | None:
        """Largest absolute error [LSB]."""
        return None if self.lsb is None else self.max_abs / self.lsb


@dataclass
class _Sums:
    """Of squares and products, in float64."""

    aa: float = 0.0
    bb: float = 0.0
    ab: float = 0.0
    error: float = 0.0
    absolute: float = 0.0


@dataclass
class _Split:
    """Of the error of codes against real values: squares [LSB^2], and values out of range."""

    rounding: float = 0.0
    clipping: float = 0.0
    inherited: float = 0.0
    clipped: int = 0


@dataclass
class Tally:
    """Adds up the differences of a pair of tensors over frames."""

    count: int = 0
    largest: float = 0.0
    sums: _Sums = field(default_factory=_Sums)
    low: tuple[float, float] = (math.inf, math.inf)
    high: tuple[float, float] = (-math.inf, -math.inf)
    lsb: float | None = None
    #: Differing codes and the largest difference; None once a frame had no codes to compare.
    differing: tuple[int, int] | None = (0, 0)
    split: _Split | None = None

    @torch.no_grad()
    def add(self, a: Activation, b: Activation) -> None:
        """Adds one frame.

        Raises:
            ValueError: the shapes differ.
        """
        if a.values.shape != b.values.shape:
            raise ValueError(f"cannot compare {tuple(a.values.shape)} with {tuple(b.values.shape)}")
        codes = b.codes or a.codes
        self.lsb = None if codes is None else codes.scale
        self._add_real(a.real(), b.real())
        self._add_codes(a, b)
        if (a.codes is None) != (b.codes is None):
            self._add_split(*((b, a) if a.codes is not None else (a, b)))
        self.count += a.values.numel()

    def result(self) -> Difference:
        """What was added up."""
        sums, split, count = self.sums, self.split, max(1, self.count)
        lengths = math.sqrt(sums.aa * sums.bb)
        return Difference(
            count=self.count,
            max_abs=self.largest,
            mean_abs=sums.absolute / count,
            sqnr_db=_decibels(sums.aa, sums.error),
            cosine=sums.ab / lengths if lengths > 0 else float(sums.aa == sums.bb),
            range_a=(self.low[0], self.high[0]),
            range_b=(self.low[1], self.high[1]),
            lsb=self.lsb,
            differing_codes=None if self.differing is None else self.differing[0],
            max_code=None if self.differing is None else self.differing[1],
            clipped=None if split is None else split.clipped / count,
            rounding_rms=None if split is None else math.sqrt(split.rounding / count),
            clipping_rms=None if split is None else math.sqrt(split.clipping / count),
            inherited_rms=None if split is None else math.sqrt(split.inherited / count),
        )

    def _add_real(self, a: Tensor, b: Tensor) -> None:
        if not a.numel():
            return
        error = b - a
        sums = self.sums
        sums.aa += _sum(a * a)
        sums.bb += _sum(b * b)
        sums.ab += _sum(a * b)
        sums.error += _sum(error * error)
        magnitude = error.abs_()
        sums.absolute += _sum(magnitude)
        # Not `max`: a NaN must stay one.
        self.largest = float(torch.maximum(torch.tensor(self.largest), magnitude.max()))
        limits = [[float(value) for value in torch.aminmax(x)] for x in (a, b)]
        self.low = (min(self.low[0], limits[0][0]), min(self.low[1], limits[1][0]))
        self.high = (max(self.high[0], limits[0][1]), max(self.high[1], limits[1][1]))

    def _add_codes(self, a: Activation, b: Activation) -> None:
        if self.differing is None or a.codes is None or b.codes is None or not _same(a.codes, b.codes):
            self.differing = None
            return
        if not a.values.numel() or torch.equal(a.values, b.values):
            return
        apart = (a.values.int() - b.values.int()).abs_()
        count, largest = self.differing
        self.differing = (count + int(torch.count_nonzero(apart)), max(largest, int(apart.max())))

    def _add_split(self, real: Activation, coded: Activation) -> None:
        if coded.codes is None:
            raise ValueError("the error of codes needs codes")
        form = coded.codes.form
        # In codes, before rounding.
        wanted = real.values.float() / torch.tensor(coded.codes.scale, dtype=torch.float32)
        # Half a code outside the range is still rounded into it.
        kept = wanted.clamp(form.low - 0.5, form.high + 0.5)
        ideal = kept.round().clamp_(form.low, form.high)
        split = self.split = self.split or _Split()
        split.clipped += int(torch.count_nonzero(kept != wanted))
        split.clipping += _sum((kept - wanted).square_())
        split.inherited += _sum((coded.values.float() - ideal).square_())
        split.rounding += _sum((ideal - kept).square_())


def _same(a: Codes, b: Codes) -> bool:
    """Equal codes stand for equal values; the stored type may differ, as between int8 and uint8."""
    return a.scale == b.scale and (a.form.low, a.form.high) == (b.form.low, b.form.high)


def _decibels(signal: float, noise: float) -> float:
    if math.isnan(signal) or math.isnan(noise):
        return math.nan
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def _sum(values: Tensor) -> float:
    return float(values.sum(dtype=torch.float64))
