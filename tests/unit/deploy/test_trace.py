from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from lidar_mt.deploy.runtimes.loading import load_runtime
from lidar_mt.deploy.trace import IntegerForm, OnnxForm, RuntimeForm, TorchForm
from lidar_mt.models.quantized_multitask import QuantizedMultiTaskNet
from lidar_mt.ops.voxelize import to_dense
from lidar_mt.quantization.modules import Settings
from lidar_mt.quantization.spec import build_scheme
from tests.helpers.artefacts import expected, exported, trained
from tests.helpers.quantized import float_net, pillars

ENCODER = ("encoder.input", "encoder.point.conv", "encoder.pool")


def one() -> object:
    return pillars(batch_size=1)


def test_the_trained_network_shows_all_its_layers_as_the_reference_has_them() -> None:
    trace = TorchForm(trained()).trace(one())
    graph = exported().graph
    assert list(trace.layers) == list(graph.codes_of()), "every tensor of codes, in the order of computation"
    for name, layer in trace.layers.items():
        found, right = layer.values.float(), expected()[name]
        if name in ENCODER:  # the helper pads to more pillars than there are
            right = right[..., : found.shape[-1]]
        assert torch.equal(found, right), name
        assert layer.codes == graph.codes_of()[name]
    for leaf, name in zip(tree_leaves(trace.output), graph.outputs, strict=True):
        assert torch.equal(leaf, expected()[name])


@torch.no_grad()
def test_hooks_leave_no_trace() -> None:
    net = trained()
    before = tree_leaves(net.forward_pillars(one()))
    TorchForm(net).trace(one())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert all(torch.equal(a, b) for a, b in zip(tree_leaves(net.forward_pillars(one())), before, strict=True))


@torch.no_grad()
def test_layers_of_the_float_network_are_those_of_its_own_modules() -> None:
    """Against the network itself, where convolution, normalisation and ReLU stand apart."""
    net = float_net()
    quantized = QuantizedMultiTaskNet(float_net(), Settings(build_scheme("u8", "float")))
    trace = TorchForm(quantized).trace(one())
    seen: dict[str, Tensor] = {}
    for name, module in net.named_modules():
        if isinstance(module, nn.BatchNorm2d) and not name.startswith("encoder"):
            key = name.removesuffix(".norm") + ".conv"
            module.register_forward_hook(lambda _m, _i, result, key=key: seen.__setitem__(key, result))
    output = net.forward_pillars(one())
    shared = [name for name in trace.layers if name in seen]
    assert len(shared) > 80
    for name in shared:
        layer = trace.layers[name]
        assert layer.codes is None
        is_positive = bool((layer.values >= 0).all())  # a ReLU was fused
        right = seen[name].relu() if is_positive else seen[name]
        torch.testing.assert_close(layer.values, right, rtol=0, atol=2e-5 * float(right.abs().max()))
    for found, right in zip(tree_leaves(trace.output), tree_leaves(output), strict=True):
        torch.testing.assert_close(found, right, rtol=0, atol=2e-5 * float(right.abs().max()))


def test_the_encoder_is_shown_without_padding() -> None:
    features = to_dense(one(), len(one().coords)).features
    for form in (TorchForm(trained()), IntegerForm(exported())):
        layers = form.trace(one()).layers
        assert layers["encoder.input"].values.shape == features.shape
        assert layers["encoder.pool"].values.shape[2:] == (1, features.shape[-1])


@pytest.mark.parametrize(("scheme", "scales"), [("u8", "float"), ("s8_affine", "pow2")])
def test_onnxruntime_shows_all_behind_the_encoder(scheme: str, scales: str) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    artefact = exported(scheme, scales)
    trace = OnnxForm(load_runtime("onnxruntime", artefact), artefact).trace(one())
    assert [*ENCODER, *trace.layers] == list(artefact.graph.codes_of())
    for name, layer in trace.layers.items():
        assert torch.equal(layer.values.float(), expected(scheme, scales)[name]), name


def test_a_runtime_alone_shows_its_outputs() -> None:
    trace = RuntimeForm(load_runtime("integer", exported())).trace(one())
    assert not trace.layers
    assert all(
        torch.equal(leaf, expected()[name])
        for leaf, name in zip(tree_leaves(trace.output), exported().graph.outputs, strict=True)
    )
