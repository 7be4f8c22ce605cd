"""The same grouped convolution with fewer, larger groups."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lidar_mt.quantization.integer_graph import Convolution


def join_groups(step: Convolution, channels: int, *, depthwise: bool = False) -> tuple[npt.NDArray[np.int8], int]:
    """Weight and number of groups of the same convolution with larger groups, filled up with zeros.

    What multiplies group by group spends its time on anything but multiplying when a group has eight channels: a
    matrix of onnxruntime, an operator of an NPU. Depthwise convolutions have kernels of their own and stay.

    Args:
        step: the convolution.
        channels: largest number of input channels of a joined group.
        depthwise: join the channels of depthwise convolutions too.
    """
    out, per_group, *kernel = step.weight.shape
    if step.groups == 1 or (per_group == 1 and not depthwise):
        return step.weight, step.groups
    fitting = [n for n in range(2, step.groups + 1) if step.groups % n == 0 and n * per_group <= channels]
    joined = max(fitting, default=1)
    weight = np.zeros((out, joined * per_group, *kernel), np.int8)
    for channel, codes in enumerate(step.weight):
        first = channel // (out // step.groups) % joined * per_group
        weight[channel, first : first + per_group] = codes
    return weight, step.groups // joined
