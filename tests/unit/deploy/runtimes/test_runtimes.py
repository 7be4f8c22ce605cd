from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils._pytree import tree_leaves, tree_structure

from lidar_mt.deploy.cpu import adds_exactly
from lidar_mt.deploy.fallback import fallback_table
from lidar_mt.deploy.runtimes.base import Runtime, RuntimeNet
from lidar_mt.deploy.runtimes.loading import RUNTIMES, load_runtime
from lidar_mt.structures.errors import ArtefactError, ConfigError
from tests.helpers.artefacts import expected, exported, inputs, trained
from tests.helpers.quantized import float_net, pillars

ROOT = Path(__file__).parents[4]
PACKAGES = {"litert": "ai_edge_litert"}


def runtime(name: str, scheme: str = "u8", scales: str = "float") -> Runtime:
    if name != "integer":
        pytest.importorskip(PACKAGES.get(name, name))
    return load_runtime(name, exported(scheme, scales))


def decibels(found: torch.Tensor, right: torch.Tensor) -> float:
    return float(10 * torch.log10(right.square().sum() / (found - right).square().sum()))


def truth(scheme: str, scales: str) -> list[torch.Tensor]:
    return [expected(scheme, scales)[name] for name in exported(scheme, scales).graph.outputs]


@pytest.mark.parametrize("scales", ["float", "pow2"])
@pytest.mark.parametrize("scheme", ["u8", "s8_affine"])
def test_onnxruntime_gives_the_outputs_of_the_reference(scheme: str, scales: str) -> None:
    one = runtime("onnxruntime", scheme, scales)
    for found, other in zip(one.run(*inputs()), truth(scheme, scales), strict=True):
        assert float((found - other).abs().max()) <= 1e-5 * float(other.abs().max())
    # With the heads as integer products even the outputs are equal to the bit.
    for found, other in zip(one.run_pillars(pillars(batch_size=1)), truth(scheme, scales), strict=True):
        assert torch.equal(found, other)


@pytest.mark.parametrize(("scheme", "scales"), [("u8", "float"), ("s8_affine", "pow2"), ("s8_symmetric", "float")])
@torch.no_grad()
def test_openvino_is_close(scheme: str, scales: str) -> None:
    """It skips roundings before sums. Where random weights amplify that, it is at least no further from float."""
    real = tree_leaves(float_net()(*inputs()))
    results = zip(runtime("openvino", scheme, scales).run(*inputs()), truth(scheme, scales), real, strict=True)
    close = [(decibels(a, b), decibels(a, c), decibels(b, c)) for a, b, c in results]
    assert sum(to_reference >= 35 for to_reference, _, _ in close) >= 36
    assert all(to_reference >= 35 or to_float >= bound - 1 for to_reference, to_float, bound in close), min(close)


@pytest.mark.parametrize("name", sorted(RUNTIMES))
def test_both_forms_and_any_batch_agree(name: str) -> None:
    one = runtime(name)
    features, coords = one.pad(pillars(batch_size=2))
    both = one.run(features, coords)
    assert [tuple(leaf.shape[1:]) for leaf in both] == [spec.shape[1:] for spec in one.signature.outputs]
    for fast, padded in zip(one.run_pillars(pillars(batch_size=2)), both, strict=True):
        # Float kernels of another graph in another order; only the integer reference is the same to the bit.
        assert decibels(fast, padded) > (15 if name == "openvino" else 100)
    kept = [leaf.clone() for leaf in both]
    one.run(features.flip(0), coords.flip(0))
    assert all(torch.equal(a, b) for a, b in zip(kept, both, strict=True))  # results are the caller's own
    second = one.run(features[1:], coords[1:])
    assert all(torch.equal(a, b[1:]) for a, b in zip(second, both, strict=True))


@torch.no_grad()
def test_the_integer_runtime_is_the_network_of_training() -> None:
    result = trained().forward_pillars(pillars())
    found = RuntimeNet(runtime("integer")).forward_pillars(pillars())
    assert tree_structure(found) == tree_structure(result)
    assert all(torch.equal(a, b) for a, b in zip(tree_leaves(found), tree_leaves(result), strict=True))


@pytest.mark.parametrize("scheme", ["u8", "s8_affine"])
def test_onnxruntime_runs_all_convolutions_in_integers(scheme: str) -> None:
    pytest.importorskip("onnx")
    nodes = list(runtime("onnxruntime", scheme).nodes())
    kinds = Counter((node.kind, node.precision) for node in nodes)
    assert kinds["QLinearConv", "int8"] + kinds["MatMulInteger", "int8"] == 178  # every convolution of the network
    assert kinds["QLinearAdd", "int8"] == 23
    assert kinds["Resize", "float"] == 3  # on codes, see the writer
    assert not any("Conv" in node.kind for node in nodes if node.precision == "float")
    table = fallback_table("onnxruntime", nodes)
    assert table.startswith(f"onnxruntime: {sum(node.precision == 'int8' for node in nodes)} operators in int8")


def test_openvino_runs_all_convolutions_in_integers() -> None:
    nodes = list(runtime("openvino").nodes())
    convolutions = [node for node in nodes if "Convolution" in node.kind]
    assert len(convolutions) == 178
    assert all(node.precision == "int8" for node in convolutions)


def test_exactness_is_claimed_only_where_it_holds() -> None:
    assert runtime("integer").exact
    assert not runtime("openvino").exact
    assert not runtime("litert").exact  # with scales that are no powers of two
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


@pytest.mark.parametrize("data", [b"no model", exported().tflite_network[:5000]])
def test_a_file_that_is_no_tflite_network_is_refused(data: bytes) -> None:
    pytest.importorskip("ai_edge_litert")
    with pytest.raises(ArtefactError, match="litert refuses the network"):
        load_runtime("litert", replace(exported(), tflite_network=data)).run(*inputs())


def test_an_artefact_without_tflite_files_is_named() -> None:
    pytest.importorskip("ai_edge_litert")
    with pytest.raises(ArtefactError, match="has no TFLite files"):
        load_runtime("litert", replace(exported(), tflite_network=b""))


@pytest.mark.parametrize("scheme", ["u8", "s8_affine"])
def test_litert_gives_the_outputs_of_the_reference(scheme: str) -> None:
    """With powers of two to the bit, in both forms; all but the heads' last convolutions run in integers."""
    one = runtime("litert", scheme, "pow2")
    assert one.exact
    for found in (one.run(*inputs()), one.run_pillars(pillars(batch_size=1))):
        assert all(torch.equal(a, b) for a, b in zip(found, truth(scheme, "pow2"), strict=True))
    floats = [node.name for node in one.nodes() if node.precision == "float"]
    assert floats == [spec.name for spec in one.signature.outputs]


def test_an_unknown_runtime_is_named() -> None:
    known = r"\['integer', 'litert', 'onnxruntime', 'openvino'\]"
    with pytest.raises(ConfigError, match=f"runtime=tensorrt: expected one of {known}"):
        load_runtime("tensorrt", exported())


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ConfigError, match="pip install"):
        load_runtime("openvino", exported())


SIGNALLED = """
import faulthandler, gc, signal, subprocess
faulthandler.enable()
from tests.helpers.artefacts import exported, inputs
from lidar_mt.deploy.runtimes.loading import load_runtime
signal.signal(signal.SIGCHLD, lambda *_: None)

def use():
    networks = [load_runtime("openvino", exported()) for _ in range(2)]
    for network in networks:
        network.run(*inputs())
    del networks[0]

for _ in range(3):
    use()
    gc.collect()
    subprocess.run(["true"], check=True)
"""


def test_signals_are_survived_after_openvino_is_gone() -> None:
    pytest.importorskip("openvino")
    done = subprocess.run([sys.executable, "-c", SIGNALLED], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
