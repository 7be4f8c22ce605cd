from __future__ import annotations

from pathlib import Path

import pytest

from lidar_mt.deploy.artefact import read_artefact
from lidar_mt.deploy.exporter import build_artefact, export_network
from lidar_mt.deploy.runtimes.loading import load_runtime
from lidar_mt.models.quantized_multitask import QuantizedMultiTaskNet
from lidar_mt.quantization.integer_graph import IntegerGraph
from lidar_mt.quantization.modules import quantizers
from lidar_mt.structures.errors import ArtefactError, ConfigError
from tests.helpers.artefacts import inputs, parts, trained
from tests.helpers.quantized import float_net, quantized

pytest.importorskip("onnx")


def test_the_report_says_what_was_exported(tmp_path: Path) -> None:
    export_network(trained(), *parts(), tmp_path / "net", num_sweeps=3)
    artefact = read_artefact(tmp_path / "net")
    assert artefact.signature.preprocessing.num_sweeps == 3
    assert "scheme u8, scales float" in artefact.report
    assert "detection.5.heatmap" in artefact.report
    assert "operators in int8" in artefact.report


def test_integers_that_do_not_give_the_network_are_not_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    right = QuantizedMultiTaskNet.integer_graph

    def wrong(net: QuantizedMultiTaskNet) -> IntegerGraph:
        graph = right(net)
        (stem,) = (step for step in graph.steps if step.name == "backbone.stem.conv")
        stem.bias[:] += 4000
        return graph

    monkeypatch.setattr(QuantizedMultiTaskNet, "integer_graph", wrong)
    with pytest.raises(ArtefactError, match="do not give the network's output"):
        build_artefact(trained(), *parts())


def test_a_float_module_cannot_be_exported(tmp_path: Path) -> None:
    net = quantized(float_net(), rules=(("neck.*", "float"),))
    with pytest.raises(ConfigError, match=r"quant\.exceptions"):
        export_network(net, *parts(), tmp_path / "net")
    assert not list(tmp_path.iterdir())


def test_sixteen_bits_are_exported_as_well() -> None:
    pytest.importorskip("onnxruntime")
    net = quantized(float_net(), "u8", "pow2", rules=(("encoder.*", "int16"), ("neck.*", "int16")))
    assert any(one.form.dtype == "int16" for _, one in quantizers(net))
    artefact = build_artefact(net, *parts())
    outputs = load_runtime("integer", artefact).run(*inputs())
    for one, other in zip(load_runtime("onnxruntime", artefact).run(*inputs()), outputs, strict=True):
        assert float((one - other).abs().max()) <= 1e-5 * float(other.abs().max())
