from __future__ import annotations

import pytest
import torch
from torch.utils._pytree import tree_leaves, tree_structure

from lidar_mt.models.quantized_multitask import QuantizedMultiTaskNet
from lidar_mt.ops.voxelize import to_dense
from lidar_mt.quantization.integer_reference import IntegerReference
from lidar_mt.quantization.modules import Settings, quantizers, set_mode
from lidar_mt.quantization.spec import build_scheme
from lidar_mt.structures.errors import ConfigError
from tests.helpers.quantized import PADDED, float_net, pillars, quantized


@torch.no_grad()
def test_with_rounding_off_it_is_the_float_network() -> None:
    net = float_net()
    prepared = QuantizedMultiTaskNet(net, Settings(build_scheme("u8", "float"))).eval()
    found, expected = prepared.forward_pillars(pillars()), net.forward_pillars(pillars())
    assert tree_structure(found) == tree_structure(expected)
    for one, other in zip(tree_leaves(found), tree_leaves(expected), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


@pytest.mark.parametrize("scheme", ["u8", "s8_symmetric"])
@pytest.mark.parametrize("scales", ["float", "pow2"])
@torch.no_grad()
def test_both_forms_and_the_integer_reference_agree_to_the_bit(scheme: str, scales: str) -> None:
    net = quantized(float_net(), scheme, scales)
    dense = to_dense(pillars(), PADDED)
    leaves = tree_leaves(net(*dense))
    assert len(leaves) == 37
    graph = net.integer_graph()
    results = IntegerReference(graph).outputs({"features": dense.features, "coords": dense.coords})
    for leaf, fast, result in zip(leaves, tree_leaves(net.forward_pillars(pillars())), results, strict=True):
        assert torch.equal(leaf, fast)
        assert torch.equal(leaf, result)


@torch.no_grad()
def test_eight_bits_are_close_and_sixteen_closer() -> None:
    net = float_net()
    expected = tree_leaves(net.forward_pillars(pillars()))

    def decibels(found: list[torch.Tensor]) -> float:
        noise = [(a - b).square().sum() / b.square().sum() for a, b in zip(found, expected, strict=True)]
        return float(-10 * torch.log10(torch.stack(noise)).mean())

    eight = decibels(tree_leaves(quantized(net).forward_pillars(pillars())))
    sixteen = decibels(tree_leaves(quantized(net, rules=(("*", "int16"),)).forward_pillars(pillars())))
    assert 30 < eight < sixteen


def test_training_reaches_every_weight() -> None:
    net = quantized(float_net()).train()
    sum(leaf.square().sum() for leaf in tree_leaves(net.forward_pillars(pillars()))).backward()
    still = [name for name, weight in net.named_parameters() if weight.grad is None or not weight.grad.abs().sum() > 0]
    assert not still


def test_bfloat16_steps_are_close_and_evaluation_stays_exact() -> None:
    net = quantized(float_net())

    def run(*, training: bool, bf16: bool) -> list[torch.Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return tree_leaves(net.train(training).forward_pillars(pillars()))

    exact = run(training=False, bf16=False)
    dense = to_dense(pillars(), PADDED)
    tensors = {"features": dense.features, "coords": dense.coords}
    for leaf, rough, result in zip(
        exact, run(training=False, bf16=True), IntegerReference(net.integer_graph()).outputs(tensors), strict=True
    ):
        assert torch.equal(leaf, rough)
        assert torch.equal(leaf, result)
    steps = run(training=True, bf16=True)
    assert not all(torch.equal(leaf, rough) for leaf, rough in zip(exact, steps, strict=True))
    noise = [(a.float() - b).square().sum() / b.square().sum() for a, b in zip(steps, exact, strict=True)]
    assert float(torch.stack(noise).mean().detach()) < 0.01
    sum(leaf.float().square().sum() for leaf in steps).backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in net.parameters())
    assert {weight.grad.dtype for weight in net.parameters() if weight.grad is not None} == {torch.float32}


def test_a_state_loads_into_a_fresh_network() -> None:
    first, second = (
        quantized(float_net(seed=0)),
        QuantizedMultiTaskNet(float_net(seed=1), Settings(build_scheme("u8", "float"))).eval(),
    )
    second.load_state_dict(first.state_dict())
    set_mode(second, "quantize")
    with torch.no_grad():
        for one, other in zip(
            tree_leaves(first.forward_pillars(pillars())), tree_leaves(second.forward_pillars(pillars())), strict=True
        ):
            assert torch.equal(one, other)


def test_names_are_those_of_the_float_network() -> None:
    net = float_net()
    prepared = quantized(net)
    names = {name for name, _ in quantizers(prepared.body)}
    assert {"backbone.stem.conv", "backbone.levels.level2.1.add", "neck.fusions.level4.add"} <= names
    kept = {name.removeprefix("body.") for name in prepared.state_dict() if name.endswith("weight")}
    assert kept <= set(net.state_dict())


def test_a_float_module_has_no_integer_graph() -> None:
    net = quantized(float_net(), rules=(("neck.*", "float"),))
    with pytest.raises(ConfigError, match=r"neck\..*quant\.exceptions"):
        net.integer_graph()
