"""Small quantized networks, calibrated on random pillars."""

from __future__ import annotations

import torch
from torch import nn

from lidar_mt.models.multitask import LidarMultiTaskNet
from lidar_mt.models.quantized_multitask import QuantizedMultiTaskNet
from lidar_mt.quantization.modules import Settings, quantizers, set_mode
from lidar_mt.quantization.spec import Exceptions, build_scheme
from lidar_mt.structures.pillars import Pillars
from tests.helpers.networks import COARSE, build
from tests.helpers.slow_pillars import random_pillars

PER_SAMPLE, PADDED = 200, 240


def float_net(seed: int = 0) -> LidarMultiTaskNet:
    net = build(COARSE, seed=seed)
    # As after training: most slots are empty, so the variance is small.
    nn.init.constant_(net.encoder.point.norm.running_var, 0.01)
    return net


def pillars(seed: int = 0, batch_size: int = 2) -> Pillars:
    return random_pillars(seed, batch_size, PER_SAMPLE, side=64)


def quantized(
    net: LidarMultiTaskNet, scheme: str = "u8", scales: str = "float", rules: tuple[tuple[str, str], ...] = ()
) -> QuantizedMultiTaskNet:
    """Prepared, calibrated on one batch, in mode `quantize` and evaluation."""
    settings = Settings(build_scheme(scheme, scales))
    prepared = QuantizedMultiTaskNet(net, settings, Exceptions(rules)).eval()
    calibrate(prepared)
    return prepared


@torch.no_grad()
def calibrate(prepared: QuantizedMultiTaskNet) -> None:
    set_mode(prepared, "observe")
    prepared.forward_pillars(pillars(seed=7))
    for _, quantizer in quantizers(prepared):
        quantizer.choose()
    set_mode(prepared, "quantize")
