"""A small quantized network, one of whose layers is bad on purpose."""

from __future__ import annotations

import torch
from torch import fx, nn
from torch.nn import functional as F

from lidar_mt.quantization.arithmetic import Quantized
from lidar_mt.quantization.modules import Settings, quantizers, set_mode
from lidar_mt.quantization.prepare import prepare
from lidar_mt.quantization.spec import Exceptions, build_exceptions, build_scheme

CHANNELS = 8


class Chain(nn.Module):
    """Six convolutions, a sum, and two outputs of two tasks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.block = nn.ModuleDict(
            {name: nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for name in ("expand", "project", "tail")}
        )
        self.heads = nn.ModuleDict({"map": nn.Conv2d(CHANNELS, 2, 1), "box": nn.Conv2d(CHANNELS, 4, 1)})

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = F.relu(self.stem(x))
        y = self.block["project"](F.relu(self.block["expand"](x)))
        x = F.relu(self.block["tail"](F.relu(x + y)))
        return {"map": self.heads["map"](x), "box": self.heads["box"](x)}


def chain(seed: int = 0) -> Chain:
    torch.manual_seed(seed)
    return Chain().eval()


def with_outlier(net: Chain) -> Chain:
    """One channel of the result of `expand` is 300 times as large as the others, and nobody reads it."""
    with torch.no_grad():
        net.block["expand"].weight[0] = net.block["expand"].weight[0].abs() * 300
        net.block["project"].weight[:, 0] = 0
    return net


def with_outlier_weight(net: Chain) -> Chain:
    """One input of `expand` is always zero, and its weight swamps all others."""
    with torch.no_grad():
        net.stem.weight[0] = 0
        net.stem.bias[0] = -1  # a channel that the ReLU holds at zero
        net.block["expand"].weight[:, 0] = 300.0
    return net


def image(seed: int = 0) -> Quantized:
    return Quantized(torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(seed)))


def calibrated(net: nn.Module, rules: tuple[tuple[str, str], ...] = (), observer: str = "minmax") -> fx.GraphModule:
    """Prepared, calibrated on one batch, in mode `quantize`."""
    exceptions: Exceptions = build_exceptions(rules)
    body = prepare(net, Settings(build_scheme("u8", "float"), observer), exceptions).eval()
    set_mode(body, "observe")
    with torch.no_grad():
        body(image(7))
    for _, quantizer in quantizers(body):
        quantizer.choose()
    set_mode(body, "quantize")
    return body
