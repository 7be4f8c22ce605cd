"""Networks for tests: as configured, with statistics that are not all zero and one."""

from __future__ import annotations

import torch
from torch import nn

from lidar_mt.config import compose, instantiate
from lidar_mt.models.multitask import LidarMultiTaskNet

#: Cells of 1.6 m: 64 x 64 of them, heads at 16 x 16.
COARSE = "grid.voxel_size=[1.6,1.6,8.0]"


def build(*overrides: str, seed: int = 0) -> LidarMultiTaskNet:
    """The configured network with random weights and random normalisation statistics, in evaluation mode."""
    torch.manual_seed(seed)
    net = instantiate(compose("calops", list(overrides)).model.net)
    randomize_norms(net)
    return net.eval()


def randomize_norms(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.normal_(layer.weight)  # negative factors too
            nn.init.normal_(layer.bias, std=0.3)
