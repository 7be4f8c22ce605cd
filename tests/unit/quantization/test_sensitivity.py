from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lidar_mt.quantization.arithmetic import Quantized
from lidar_mt.quantization.costs import LossIncrease, OutputNoise
from lidar_mt.quantization.modules import quantizers, set_mode
from lidar_mt.quantization.sensitivity import (
    Effect,
    PartialRuns,
    Quality,
    decibels,
    group_layers,
    layers,
    measure_effects,
    measure_losses,
    named_outputs,
)
from tests.helpers.chain_network import Chain, calibrated, chain, image, with_outlier
from tests.helpers.networks import build
from tests.helpers.quantized import pillars, quantized
from tests.helpers.training import SMALL_NETWORK

IMAGES = [image(1), image(2)]


@functools.cache
def small():
    """The network of the project in a few channels, not to be changed."""
    return quantized(build(*(item for item in SMALL_NETWORK if item.startswith(("grid.", "model.")))))


def effects_of(body, by="layer", **settings) -> dict[str, Effect]:
    groups = group_layers(list(layers(body)), by)
    found = measure_effects(body, PartialRuns(body, lambda x: x), groups, IMAGES, **settings)
    return {effect.name: effect for effect in found}


def rounded(values: np.ndarray, scale: float, low: int, high: int) -> np.ndarray:
    return np.clip(np.round(values / scale), low, high) * scale


def sqnr_by_hand(net: Chain, body, layer: str) -> tuple[float, float]:
    """SQNR [dB] of both outputs with one convolution of the block rounded by numpy, all else plain torch."""
    scale = float(dict(quantizers(body))[f"block.{layer}"].scale)
    low, high = (0, 255) if layer != "project" else (-128, 127)
    weight = net.block[layer].weight.detach().double().numpy()
    steps = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / 127
    coarse = torch.from_numpy(np.round(weight / steps) * steps).float()

    def run(x: torch.Tensor, rough: bool) -> dict[str, torch.Tensor]:
        def conv(name: str, x: torch.Tensor, relu: bool) -> torch.Tensor:
            chosen = rough and name == layer
            y = F.conv2d(x, coarse if chosen else net.block[name].weight, net.block[name].bias, padding=1)
            y = F.relu(y) if relu else y
            return torch.from_numpy(rounded(y.numpy(), scale, low, high)).float() if chosen else y

        x = F.relu(net.stem(x))
        x = conv("tail", F.relu(x + conv("project", conv("expand", x, True), False)), True)
        return {name: head(x) for name, head in net.heads.items()}

    ratios = []
    for name in ("map", "box"):
        pairs = [(run(x.values, True)[name].double(), run(x.values, False)[name].double()) for x in IMAGES]
        noise = sum(float(((a - b) ** 2).sum()) for a, b in pairs)
        ratios.append(noise / sum(float((b**2).sum()) for _, b in pairs))
    return -10 * math.log10(ratios[0]), -10 * math.log10(ratios[1])


@torch.no_grad()
@pytest.mark.parametrize("layer", ["expand", "project", "tail"])
def test_sqnr_of_one_layer_is_that_computed_by_hand(layer):
    net = chain()
    body = calibrated(net)
    quality = effects_of(body)[f"block.{layer}"].rounded
    expected = sqnr_by_hand(net, body, layer)
    found = [decibels(quality.ratios[name]) for name in ("map", "box")]
    assert found == pytest.approx(expected, abs=0.02)
    assert quality.total == pytest.approx(np.mean([10 ** (-value / 10) for value in expected]), rel=5e-3)


@torch.no_grad()
def test_what_is_kept_between_runs_changes_nothing():
    body = calibrated(chain())
    modules = layers(body)
    assert list(modules) == [
        *("stem", "block.expand", "block.project", "block.tail", "heads.map", "heads.box"),
        "add",
    ]
    set_mode(body, "float")
    runs = PartialRuns(body, lambda x: x)
    first = runs.first(image(3))
    for name, module in modules.items():
        set_mode(module, "quantize")
        again, whole = runs.again([name]), body(image(3))
        set_mode(module, "float")
        for task in whole:
            assert torch.equal(again[task], whole[task])
        assert any(not torch.equal(again[task], first[task]) for task in whole)
    assert runs.again(["heads.map"])["box"] is first["box"], "computed again although nothing changed"


@torch.no_grad()
def test_a_layer_in_front_of_the_body_is_run_again():
    net = small()
    assert {"encoder.input", "encoder.point.conv"} <= set(layers(net))
    runs = PartialRuns(net.body, net.canvas)
    set_mode(net, "float")
    runs.first(pillars())
    set_mode(net.encoder.input, "quantize")
    found, expected = named_outputs(runs.again(["encoder.input"])), named_outputs(net.forward_pillars(pillars()))
    set_mode(net, "quantize")
    assert {"segmentation.logits", "detection.0.heatmap", "detection.5.vel"} <= set(found)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)
        self.smooth = nn.SiLU(inplace=True)

    def forward(self, x):
        x = self.first(x)
        return {"map": self.last(self.smooth(x))}


@torch.no_grad()
def test_operations_in_place_spoil_nothing():
    torch.manual_seed(0)
    body = calibrated(InPlace())
    found = effects_of(body)["last"].rounded.ratios["map"]
    # The same by whole runs.
    set_mode(body, "float")
    quality = Quality()
    for x in IMAGES:
        reference = body(x)
        set_mode(layers(body)["last"], "quantize")
        quality.add(body(x), reference)
        set_mode(body, "float")
    assert found == pytest.approx(quality.ratios["map"], rel=1e-9)
    assert 0 < found < 1e-3


def test_a_layer_that_is_bad_on_purpose_ranks_first():
    good, bad = effects_of(calibrated(chain())), effects_of(calibrated(with_outlier(chain())))
    first = next(iter(bad.values()))
    assert first.name == "block.expand"
    assert first.rounded.total > 30 * good["block.expand"].rounded.total
    assert first.weights.total < first.rounded.total / 30, "its weights are as good as before"
    assert first.relieved == pytest.approx(first.rounded.total, rel=0.1)


def test_effects_end_in_the_mode_they_began_in_and_add_up():
    body = calibrated(chain())
    noise = OutputNoise(body, body, IMAGES)
    before = noise.quality()
    effects = effects_of(body)
    after = noise.quality()
    assert before.noise == after.noise
    assert before.total > 0
    # Small errors of many layers are independent of each other.
    assert sum(effect.rounded.total for effect in effects.values()) == pytest.approx(before.total, rel=0.5)
    assert effects["add"].weights.total == 0
    assert effects["heads.map"].weights.total == effects["heads.map"].rounded.total > 0
    assert effects["heads.map"].rounded.ratios["box"] == 0


def test_groups_are_rounded_together():
    body = calibrated(chain())
    found = effects_of(body, "block")
    assert {name: effect.members for name, effect in found.items()} == {
        "stem": ("stem",),
        "block": ("block.expand", "block.project", "block.tail"),
        "heads": ("heads.map", "heads.box"),
        "add": ("add",),
    }
    single = effects_of(body)
    assert found["block"].rounded.total > max(single[name].rounded.total for name in found["block"].members)


def test_groups_of_the_whole_network():
    names = list(layers(small()))
    for by, some in (("block", "backbone.levels.level2.0"), ("head", "heads.detection"), ("layer", "encoder.input")):
        groups = group_layers(names, by)
        assert sorted(member for members in groups.values() for member in members) == sorted(names)
        assert some in groups
    assert set(group_layers(names, "head")) == {
        *("encoder", "backbone", "neck", "heads.segmentation", "heads.detection"),
    }


def test_only_the_chosen_cells_count():
    body = calibrated(chain())

    def cells(outputs):
        chosen = torch.zeros(1, 1, 12, 12, dtype=torch.bool)
        chosen[..., 3, 4] = True
        return {"map": chosen}

    quality = OutputNoise(body, body, IMAGES, cells).quality()
    set_mode(body, "float")
    with torch.no_grad():
        reference = [body(x)["map"][..., 3, 4].double() for x in IMAGES]
        set_mode(body, "quantize")
        found = [body(x)["map"][..., 3, 4].double() for x in IMAGES]
    assert quality.signal["map"] == pytest.approx(sum(float(one.square().sum()) for one in reference))
    noise = sum(float((a - b).square().sum()) for a, b in zip(found, reference, strict=True))
    assert quality.noise["map"] == pytest.approx(noise)


def test_losses_are_compared_with_those_in_float():
    body = calibrated(with_outlier(chain()))

    def losses(outputs, truth):
        terms = {name: float((outputs[name] - truth).square().mean()) for name in outputs}
        return {"total": sum(terms.values()), **terms}

    samples = [(x, 0.5) for x in IMAGES]
    groups = group_layers(list(layers(body)), "layer")
    effects = [Effect(name, members) for name, members in groups.items()]
    measure_losses(body, PartialRuns(body, lambda x: x), effects, samples, losses)
    found = {effect.name: effect.losses for effect in effects}
    set_mode(body, "float")
    with torch.no_grad():
        reference = sum(losses(body(x), 0.5)["total"] for x in IMAGES)
        set_mode(layers(body)["block.expand"], "quantize")
        one = sum(losses(body(x), 0.5)["total"] for x in IMAGES)
    assert found["block.expand"]["total"] == pytest.approx((one - reference) / reference, rel=1e-5)
    assert found["heads.map"]["box"] == 0
    everything = LossIncrease(body, body, samples, losses).shares()
    assert everything["total"] == pytest.approx(found["block.expand"]["total"], rel=0.5), "nearly all is this layer's"


def test_an_output_without_signal():
    quality = Quality()
    zero = torch.zeros(2)
    quality.add({"a.x": zero, "a.y": zero + 1}, {"a.x": zero, "a.y": zero})
    assert quality.ratios == {"a.x": 0.0, "a.y": math.inf}
    assert decibels(0.0) == math.inf
    assert decibels(math.inf) == -math.inf


def test_outputs_of_one_unit_share_their_signal():
    quality = Quality()
    reference = {"box.0.vel": torch.tensor([3.0]), "box.1.vel": torch.tensor([0.0]), "box.0.reg": torch.tensor([1.0])}
    found = {name: value + 0.1 for name, value in reference.items()}
    quality.add({**found, "map": torch.tensor([2.0])}, {**reference, "map": torch.tensor([2.0])})
    assert quality.ratios["box.1.vel"] == math.inf
    assert quality.quantities == pytest.approx({"box.vel": 0.02 / 9, "box.reg": 0.01, "map": 0.0})
    assert quality.tasks == pytest.approx({"box": (0.02 / 9 + 0.01) / 2, "map": 0.0})
    assert quality.total == pytest.approx((0.02 / 9 + 0.01) / 4)


def test_a_quantized_value_is_no_output():
    with torch.no_grad():
        outputs = calibrated(chain())(image())
    assert set(named_outputs(outputs)) == {"map", "box"}
    assert not any(isinstance(value, Quantized) for value in outputs.values())
