"""The pillar encoder of an integer network in its fast form: from points to a canvas of stored codes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lidar_mt.ops.segment_max import linear_segment_max
from lidar_mt.quantization.integer_graph import Codes, Convolution, IntegerGraph, MaxPool, Quantize, Scatter
from lidar_mt.quantization.spec import EXACT_FLOAT32
from lidar_mt.structures.errors import ArtefactError
from lidar_mt.structures.pillars import Pillars


class PillarCodes:
    """Computes the first steps of an integer graph from the points alone, to the bit.

    Rescaling is monotone, so the maximum is taken of accumulators, and only over points that exist.

    Args:
        graph: must start with quantize, 1x1 convolution, maximum over the slots and scatter.

    Raises:
        ArtefactError: it starts in another way.
    """

    def __init__(self, graph: IntegerGraph) -> None:
        match graph.steps[:4]:
            case (Quantize() as quantize, Convolution() as conv, MaxPool() as pool, Scatter() as scatter):
                pass
            case _:
                raise ArtefactError("the integer graph does not start with a pillar encoder; feed features and coords")
        if conv.weight.shape[2:] != (1, 1) or conv.codes is None:
            raise ArtefactError("the pillar encoder is no 1x1 convolution with codes; feed features and coords")
        self.input, self.output = quantize.codes, conv.codes
        self.points_per_pillar = pool.kernel[0]
        self.shape = scatter.shape
        self.stored = getattr(torch, conv.codes.form.dtype)
        reach = np.abs(conv.weight.astype(np.int64)).sum(axis=(1, 2, 3)) * quantize.codes.form.high
        exact = (reach + np.abs(conv.bias.astype(np.int64))).max() < EXACT_FLOAT32
        self.dtype = torch.float32 if exact else torch.float64
        self.weight = torch.from_numpy(conv.weight).flatten(1).to(self.dtype)
        self.bias = torch.from_numpy(conv.bias).to(self.dtype)
        weight_scale = torch.from_numpy(conv.weight_scale)
        self.multiplier = _float32(self.input.scale) * weight_scale / _float32(self.output.scale)

    @torch.no_grad()
    def canvas(self, pillars: Pillars) -> Tensor:
        """Scatters encoded pillars.

        Args:
            pillars: as the voxelizer returns them.

        Returns:
            (B, H, W, C) stored codes, the zero point where no pillar lies.
        """
        height, width = self.shape
        rows = self.rows(pillars)
        zero = self.output.form.zero_point
        canvas = torch.full((pillars.batch_size * height * width, rows.shape[1]), zero, dtype=self.stored)
        sample, row, column = pillars.coords.unbind(dim=1)
        canvas[(sample * height + row) * width + column] = rows
        return canvas.view(pillars.batch_size, height, width, -1)

    def rows(self, pillars: Pillars) -> Tensor:
        """(V, C) stored codes of the pillars."""
        points = _codes(pillars.features / _float32(self.input.scale), self.input).to(self.dtype)
        # The empty slots of a pillar that is not full hold zeros.
        full = pillars.num_points >= self.points_per_pillar
        initial = torch.where(full, -torch.inf, 0.0).to(self.dtype)
        accumulators = linear_segment_max(points, self.weight, pillars.point_to_pillar, initial) + self.bias
        codes = _codes(accumulators.float() * self.multiplier, self.output)
        return (codes + self.output.form.zero_point).to(self.stored)


def _codes(x: Tensor, codes: Codes) -> Tensor:
    return x.round().clamp_(codes.form.low, codes.form.high)


def _float32(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float32)
