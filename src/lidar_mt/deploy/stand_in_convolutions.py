"""Convolutions that stand for other steps: sums of codes, the same taps for every channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lidar_mt.quantization.integer_graph import Codes, Convolution

#: Weights of a sum, as powers of two: the largest that int8 holds.
_MAX_WEIGHT = 64
#: A tensor that counts for more stands several times beside the other; more would cost more than the sum is worth.
_MAX_COPIES = 16


@dataclass(frozen=True)
class WeightedSum:
    """Whole weights of tensors that stand side by side.

    Attributes:
        parts: index of the tensor (0 or 1) of each part.
        weights: of each part.
        unit: what one counts for, in steps of the result.
    """

    parts: tuple[int, ...]
    weights: tuple[int, ...]
    unit: np.float32


def weighted_sum(scales: Sequence[float], result: float) -> WeightedSum | None:
    """Weights that bring two tensors to the scale of their sum.

    Args:
        scales: of the tensors, powers of two.
        result: scale of the sum, a power of two.

    Returns:
        None where no sum can be a tie, so that any rounding is right, or where the scales are too far apart.

    Example:
        >>> weighted_sum((1.0, 0.5), 1.0).weights
        (2, 1)
        >>> weighted_sum((128.0, 1.0), 2.0).parts
        (0, 0, 1)
        >>> weighted_sum((1.0, 2.0), 1.0) is None
        True
    """
    ratios = [np.float32(scale) / np.float32(result) for scale in scales]
    least = min(ratios)
    whole = [int(ratio / least) for ratio in ratios]
    if least >= 1 or max(whole) > _MAX_WEIGHT * _MAX_COPIES:
        return None
    copies = [max(1, weight // _MAX_WEIGHT) for weight in whole]
    parts = tuple(index for index, count in enumerate(copies) for _ in range(count))
    return WeightedSum(parts, tuple(whole[index] // copies[index] for index in parts), least)


def rounds_alone(own: Codes, other: Codes, result: Codes) -> bool:
    """Whether a term of a sum may be rounded to steps of the result before the other is added.

    It may if the other is worth an even number of steps, whatever its codes: then ties of the sum are ties of the term,
    and round to the same side. What was rounded must fit into int8.

    Args:
        own: codes of the term, with a scale that is a power of two, as the others.
        other: of the other term.
        result: of the sum.
    """
    ratio = np.float32(own.scale) / np.float32(result.scale)
    reach = max(own.form.high, -own.form.low) * ratio
    return bool(np.float32(other.scale) / np.float32(result.scale) >= 2 and ratio < 1 and reach <= 127)


def sum_convolution(
    name: str, terms: WeightedSum, channels: int, source: Codes, result: Codes, second_zero: int
) -> Convolution:
    """The 1x1 convolution that adds.

    Args:
        name: of the result.
        terms: what stands side by side.
        channels: of each part.
        source: scale and format that all parts are given, those of the first tensor.
        result: codes of the sum.
        second_zero: stored zero of the second tensor.
    """
    one = np.eye(channels, dtype=np.int8)
    weight = np.concatenate([one * weight for weight in terms.weights], axis=1)[:, :, None, None]
    of_second = sum(weight for part, weight in zip(terms.parts, terms.weights, strict=True) if part == 1)
    scale = np.float32(result.scale) * terms.unit / np.float32(source.scale)
    return _plain(name, weight, scale, result, 1, of_second * (source.form.zero_point - second_zero))


def same_taps(
    name: str, taps: npt.NDArray[np.int8], channels: int, scale: np.float32, codes: Codes, shift: int = 0
) -> Convolution:
    """The depthwise convolution with the same taps (kh, kw) for every channel.

    Args:
        name: of the result.
        taps: weights of a channel.
        channels: of source and result.
        scale: of the weights.
        codes: of the result.
        shift: bias.
    """
    weight = np.broadcast_to(taps, (channels, 1, *taps.shape)).copy()
    return _plain(name, weight, scale, codes, channels, shift)


def _plain(
    name: str, weight: npt.NDArray[np.int8], scale: np.float32, codes: Codes, groups: int, bias: int
) -> Convolution:
    channels = len(weight)
    return Convolution(
        name=name,
        source=name,
        weight=weight,
        weight_scale=np.full(channels, scale, np.float32),
        bias=np.full(channels, bias, np.int32),
        stride=(1, 1),
        padding=(0, 0),
        dilation=(1, 1),
        groups=groups,
        relu=False,
        codes=codes,
    )
