"""The network as it is usually written in PyTorch: NCHW maps, padded pillars, scatter by index into an NCHW canvas."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lidar_mt.models.multitask import LidarMultiTaskNet
from lidar_mt.ops.voxelize import to_dense
from lidar_mt.structures.outputs import NetOutput
from lidar_mt.structures.pillars import Pillars


class PlainForm(nn.Module):
    """Runs a network's own modules and weights in the usual form.

    Args:
        net: the network; its weights are laid out anew.
        max_pillars: V, pad pillars included.
        points_per_pillar: M, empty slots included.
    """

    def __init__(self, net: LidarMultiTaskNet, max_pillars: int, points_per_pillar: int = 20) -> None:
        super().__init__()
        self.net = net.to(memory_format=torch.contiguous_format)
        self.max_pillars = max_pillars
        self.points_per_pillar = points_per_pillar

    def forward_pillars(self, pillars: Pillars) -> NetOutput:
        """Takes the place of `LidarMultiTaskNet.forward_pillars`."""
        dense = to_dense(pillars, self.max_pillars, self.points_per_pillar)
        features = self.net.encoder(dense.features)
        return self.net.forward_canvas(self._canvas(features, dense.coords))

    def _canvas(self, features: Tensor, coords: Tensor) -> Tensor:
        """(B, C, V) features to (B, C, H, W), sample by sample."""
        height, width = self.net.scatter.shape
        canvases = []
        for rows, at in zip(features, coords, strict=True):
            real = at[:, 0] >= 0
            canvas = torch.zeros(len(rows), height * width, dtype=rows.dtype, device=rows.device)
            canvas[:, at[real, 0] * width + at[real, 1]] = rows[:, real]
            canvases.append(canvas)
        return torch.stack(canvases).view(len(features), -1, height, width)
