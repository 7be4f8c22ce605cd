from __future__ import annotations

import importlib.util
from dataclasses import replace

import pytest
import torch
from torch.utils._pytree import tree_leaves, tree_structure

from lidar_mt.deploy.cpu import adds_exactly
from lidar_mt.deploy.fallback import fallback_table
from lidar_mt.deploy.runtimes.base import Runtime, RuntimeNet
from lidar_mt.deploy.runtimes.loading import RUNTIMES, load_runtime
from lidar_mt.structures.errors import ArtefactError, ConfigError
from tests.helpers.artefacts import expected, exported, inputs
from tests.helpers.quantized import float_net, pillars, quantized


def runtime(name: str, scheme: str = "u8", scales: str = "float") -> Runtime:
    if name != "integer":
        pytest.importorskip(name)
    return load_runtime(name, exported(scheme, scales))


def decibels(found: list[torch.Tensor], truth: list[torch.Tensor]) -> float:
    noise = [(a - b).square().sum() / b.square().sum() for a, b in zip(found, truth, strict=True)]
    return float(-10 * torch.log10(torch.stack(noise)).max())


def truth(scheme: str, scales: str) -> list[torch.Tensor]:
    return [expected(scheme, scales)[name] for name in exported(scheme, scales).graph.outputs]


@pytest.mark.parametrize("scales", ["float", "pow2"])
@pytest.mark.parametrize("scheme", ["u8", "s8_affine", "s8_symmetric"])
def test_onnxruntime_gives_the_outputs_of_the_reference(scheme: str, scales: str) -> None:
    found = runtime("onnxruntime", scheme, scales).run(*inputs())
    for one, other in zip(found, truth(scheme, scales), strict=True):
        assert float((one - other).abs().max()) <= 1e-5 * float(other.abs().max())


@pytest.mark.parametrize("scales", ["float", "pow2"])
@pytest.mark.parametrize("scheme", ["u8", "s8_affine", "s8_symmetric"])
def test_openvino_is_close(scheme: str, scales: str) -> None:
    assert decibels(runtime("openvino", scheme, scales).run(*inputs()), truth(scheme, scales)) >= 35


@pytest.mark.parametrize("name", sorted(RUNTIMES))
def test_both_forms_and_any_batch_agree(name: str) -> None:
    one = runtime(name)
    features, coords = one.pad(pillars(batch_size=2))
    both = one.run(features, coords)
    assert [tuple(leaf.shape[1:]) for leaf in both] == [spec.shape[1:] for spec in one.signature.outputs]
    for fast, padded in zip(one.run_pillars(pillars(batch_size=2)), both, strict=True):
        # Not to the bit in runtimes that choose another kernel for another graph.
        torch.testing.assert_close(fast, padded, rtol=1e-5, atol=0.02 * float(padded.abs().max()))
    kept = [leaf.clone() for leaf in both]
    one.run(features.flip(0), coords.flip(0))
    assert all(torch.equal(a, b) for a, b in zip(kept, both, strict=True))  # results are the caller's own
    second = one.run(features[1:], coords[1:])
    assert all(torch.equal(a, b[1:]) for a, b in zip(second, both, strict=True))


@torch.no_grad()
def test_the_integer_runtime_is_the_network_of_training() -> None:
    trained = quantized(float_net()).forward_pillars(pillars())
    found = RuntimeNet(runtime("integer")).forward_pillars(pillars())
    assert tree_structure(found) == tree_structure(trained)
    assert all(torch.equal(a, b) for a, b in zip(tree_leaves(found), tree_leaves(trained), strict=True))


@pytest.mark.parametrize("scheme", ["u8", "s8_affine"])
def test_convolutions_run_in_integers(scheme: str) -> None:
    pytest.importorskip("onnx")
    nodes = list(runtime("onnxruntime", scheme).nodes())
    convolutions = [node for node in nodes if "Conv" in node.kind]
    assert sum(node.precision == "int8" for node in convolutions) >= 137
    floats = [node for node in nodes if node.precision == "float" and node.kind != "Add"]
    assert len(floats) <= 37  # the heads' last convolutions keep their accumulators
    table = fallback_table("onnxruntime", nodes)
    assert table.startswith(f"onnxruntime: {sum(node.precision == 'int8' for node in nodes)} operators in int8")


def test_openvino_tells_what_it_runs_in_integers() -> None:
    nodes = list(runtime("openvino").nodes())
    convolutions = [node for node in nodes if "Convolution" in node.kind]
    assert len(convolutions) >= 170
    assert sum(node.precision == "int8" for node in convolutions) >= 137


def test_exactness_is_claimed_only_where_it_holds() -> None:
    assert runtime("integer").exact
    assert not runtime("openvino").exact
    assert runtime("onnxruntime").exact is adds_exactly()


def test_other_shapes_are_refused() -> None:
    features, coords = inputs()
    with pytest.raises(ArtefactError, match=r"features \(B, 5, M, V\)"):
        runtime("integer").run(features[..., :-1], coords[:, :-1])


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("data", [b"", b"no model", exported().network[:5000]])
def test_a_file_that_is_no_network_is_refused(name: str, data: bytes) -> None:
    pytest.importorskip(name)
    with pytest.raises(ArtefactError, match="refuses the network"):
        load_runtime(name, replace(exported(), network=data)).run(*inputs())


def test_an_unknown_runtime_is_named() -> None:
    with pytest.raises(ConfigError, match=r"runtime=litert: expected one of \['integer', 'onnxruntime', 'openvino'\]"):
        load_runtime("litert", exported())


@pytest.mark.skipif(importlib.util.find_spec("openvino") is not None, reason="it is installed")
def test_a_missing_package_is_named() -> None:
    with pytest.raises(ConfigError, match="pip install"):
        load_runtime("openvino", exported())
