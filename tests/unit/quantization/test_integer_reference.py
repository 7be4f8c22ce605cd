from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lidar_mt.quantization.arithmetic import Quantized
from lidar_mt.quantization.convert import convert_body
from lidar_mt.quantization.integer_graph import Codes, Convolution, IntegerGraph, Quantize
from lidar_mt.quantization.integer_reference import IntegerReference
from lidar_mt.quantization.modules import Settings, quantizers, set_mode
from lidar_mt.quantization.prepare import prepare
from lidar_mt.quantization.spec import Format, build_scheme
from tests.helpers import slow_integer
from tests.helpers.networks import randomize_norms
from tests.unit.quantization.test_prepare import image


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=2), nn.BatchNorm2d(8))
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.dilated = nn.Conv2d(16, 8, (3, 1), padding=(2, 0), dilation=(2, 1))
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        y = F.relu(self.second(x) + self.pool(x))
        y = torch.cat([F.interpolate(y, scale_factor=2.0, mode="bilinear", align_corners=False), x], dim=1)
        return self.last(self.dilated(y))


@pytest.mark.parametrize("scheme", ["u8", "s8_affine", "s8_symmetric"])
@pytest.mark.parametrize("scales", ["float", "pow2"])
@torch.no_grad()
def test_three_ways_to_one_result(scheme: str, scales: str) -> None:
    """Training's evaluation, the reference and int64 loops, tensor by tensor."""
    torch.manual_seed(0)
    net = Small().eval()
    randomize_norms(net)
    settings = Settings(build_scheme(scheme, scales))
    prepared = prepare(net, settings).eval()
    set_mode(prepared, "observe")
    prepared(Quantized(image()))
    for _, quantizer in quantizers(prepared):
        quantizer.choose()
    set_mode(prepared, "quantize")

    source = Codes(float(np.float32(2.0**-8 if scales == "pow2" else 1 / 250)), settings.scheme.positive)
    steps, outputs = convert_body(prepared, {"x": source})
    graph = IntegerGraph((Quantize("x", "image", source), *steps), tuple(outputs), scheme, scales)
    tensors = IntegerReference(graph).run({"image": image()})
    slow = slow_integer.run(graph, {"image": image().numpy()})
    assert len(steps) == 8
    for step in graph.steps:
        np.testing.assert_array_equal(tensors[step.name].numpy(), slow[step.name], err_msg=step.name)
    (result,) = outputs
    trained = prepared(Quantized(tensors["x"], torch.tensor(source.scale), source.form))
    assert torch.equal(trained, tensors[result])
    codes = graph.codes_of()
    for name, form in ((name, known.form) for name, known in codes.items()):
        assert tensors[name].min() >= form.low, name
        assert tensors[name].max() <= form.high, name


def test_accumulators_beyond_float32_are_exact() -> None:
    """An odd sum of more than 2^24 would lose its last bit in float32."""
    wide = Format(-(2**15), 2**15 - 1, 0, "int16")
    weight = np.full((1, 64, 3, 3), 127, np.int8)
    weight[0, 0, 1, 1] = 1
    conv = Convolution(
        "y", "x", weight, np.ones(1, np.float32), np.zeros(1, np.int32), (1, 1), (1, 1), (1, 1), 1, False,
        Codes(2.0**20, wide),
    )  # fmt: skip
    graph = IntegerGraph((Quantize("x", "image", Codes(1.0, wide)), conv), ("y",), "u8", "pow2")
    x = torch.randint(2**14, 2**15 - 1, (1, 64, 5, 5), generator=torch.Generator().manual_seed(0)).float()
    slow = slow_integer.run(graph, {"image": x.numpy()})
    assert slow_integer.accumulate(conv, slow["x"]).max() > 2**24
    np.testing.assert_array_equal(IntegerReference(graph).run({"image": x})["y"].numpy(), slow["y"])
