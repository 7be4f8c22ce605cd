from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lidar_mt.quantization.arithmetic import Quantized
from lidar_mt.quantization.capture import capture
from lidar_mt.quantization.modules import FloatIsland, OutputQuantizer, QuantConv2d, Settings, quantizers, set_mode
from lidar_mt.quantization.prepare import prepare
from lidar_mt.quantization.spec import Exceptions, build_exceptions, build_scheme
from lidar_mt.structures.errors import ConfigError
from tests.helpers.networks import randomize_norms

SETTINGS = Settings(build_scheme("u8", "float"))


class Plain(nn.Module):
    """What people write: functions and modules, a pool, a concatenation, an upsampling, dropout and a sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=2)
        self.norm = nn.BatchNorm2d(8)
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout2d(0.5)
        self.third = nn.Conv2d(16, 8, 1)
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.first(x)
        y = F.relu(self.norm(self.second(x)) + self.pool(x))
        y = torch.cat([F.interpolate(y, scale_factor=2.0, mode="bilinear", align_corners=False), x], dim=1)
        y = self.third(self.dropout(y))
        return {"map": self.last(torch.sigmoid(y) * 2)}


def plain(seed: int = 0) -> Plain:
    torch.manual_seed(seed)
    net = Plain().eval()
    randomize_norms(net)
    return net


def image(seed: int = 0) -> torch.Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_capture_keeps_the_function_and_the_names() -> None:
    net = plain()
    graph = capture(net)
    torch.testing.assert_close(graph(image())["map"], net(image())["map"], rtol=1e-4, atol=1e-5)
    kinds = {type(module) for module in graph.modules()}
    assert not kinds & {nn.BatchNorm2d, nn.Dropout2d}
    assert {"first.0.weight", "first.0.bias", "second.weight"} <= set(graph.state_dict())
    assert isinstance(net.norm, nn.BatchNorm2d)  # the network itself is left alone


@torch.no_grad()
def test_modes_of_any_network() -> None:
    net, x = plain(), image()
    prepared = prepare(net, SETTINGS).eval()
    expected = net(x)["map"]
    torch.testing.assert_close(prepared(Quantized(x))["map"], expected, rtol=1e-4, atol=1e-5)
    set_mode(prepared, "observe")
    torch.testing.assert_close(prepared(Quantized(x))["map"], expected, rtol=1e-4, atol=1e-5)
    for _, quantizer in quantizers(prepared):
        quantizer.choose()
    set_mode(prepared, "quantize")
    scale = torch.tensor(1 / 255)
    found = prepared(Quantized((x / scale).round(), scale, SETTINGS.scheme.positive))["map"]
    noise = (found - expected).square().sum() / expected.square().sum()
    assert 0 < noise < 1e-3
    set_mode(prepared, "float")
    torch.testing.assert_close(prepared(Quantized(x))["map"], expected, rtol=1e-4, atol=1e-5)


def test_every_edge_is_quantized_and_only_unknown_operations_stay_in_float() -> None:
    prepared = prepare(plain(), SETTINGS)
    islands = [name for name, module in prepared.named_modules() if isinstance(module, FloatIsland)]
    assert islands == ["operation", "operation1"]  # the sigmoid and the product
    assert [name for name, _ in quantizers(prepared)] == [
        "first.0", "second", "third", "add", "cat", "operation", "operation1",
    ]  # fmt: skip
    positive = {name for name, quantizer in quantizers(prepared) if not quantizer.form.signed}
    assert positive == {"first.0", "add", "cat"}


def test_the_last_match_of_an_exception_wins() -> None:
    rules = build_exceptions([("*", "int16"), ("third", "float"), ("first.*", "int8")])
    prepared = prepare(plain(), SETTINGS, rules)
    forms = {name: quantizer.form.dtype for name, quantizer in quantizers(prepared)}
    assert forms["first.0"] == "uint8"
    assert forms["second"] == "int16"
    assert "third" not in forms
    assert isinstance(prepared.third, QuantConv2d)
    assert not prepared.third.has_codes


@pytest.mark.parametrize(("rule", "message"), [(("nowhere.*", "int16"), "nowhere"), (("third", "int4"), "int4")])
def test_bad_exceptions(rule: tuple[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prepare(plain(), SETTINGS, Exceptions((rule,)))


def test_a_forward_pass_that_depends_on_data_is_refused() -> None:
    class Branch(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(ConfigError, match="Branch cannot be quantized"):
        prepare(Branch(), SETTINGS)


def test_a_normalisation_without_a_convolution_is_refused() -> None:
    with pytest.raises(ConfigError, match="normalisation"):
        prepare(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)), SETTINGS)


def test_training_moves_every_weight_and_leaves_frozen_scales() -> None:
    prepared = prepare(plain(), SETTINGS).eval()
    set_mode(prepared, "observe")
    with torch.no_grad():
        prepared(Quantized(image()))
    for _, quantizer in quantizers(prepared):
        quantizer.choose()
    set_mode(prepared, "quantize")
    before = {name: value.clone() for name, value in prepared.state_dict().items()}
    prepared.train()
    scale = torch.tensor(1 / 255)
    out = prepared(Quantized((image() / scale).round(), scale, SETTINGS.scheme.positive))["map"]
    out.square().sum().backward()
    still = [name for name, one in prepared.named_parameters() if one.grad is None or not one.grad.abs().sum() > 0]
    assert not still
    assert all(torch.equal(before[name], value) for name, value in prepared.state_dict().items())


def test_moving_scales_follow_the_batch() -> None:
    settings = Settings(build_scheme("u8", "float"), moving_momentum=0.5)
    quantizer = OutputQuantizer(settings, positive=True)
    quantizer.mode = "quantize"
    quantizer.scale.fill_(1.0)
    quantizer.train()(torch.tensor([255 * 3.0]))
    assert float(quantizer.scale) == pytest.approx(2.0)
    quantizer.eval()(torch.tensor([255 * 9.0]))
    assert float(quantizer.scale) == pytest.approx(2.0)
