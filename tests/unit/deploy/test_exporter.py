from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lidar_mt.config import compose, instantiate
from lidar_mt.deploy.artefact import read_artefact
from lidar_mt.deploy.exporter import build_artefact, export_network
from lidar_mt.models.voxelizer import Voxelizer
from lidar_mt.quantization.modules import quantizers
from lidar_mt.structures.errors import ArtefactError, ConfigError
from tests.helpers.networks import COARSE
from tests.helpers.quantized import PADDED, float_net, quantized

pytest.importorskip("onnx")


def parts() -> tuple[Voxelizer, object]:
    cfg = compose("calops", [COARSE])
    return Voxelizer(instantiate(cfg.grid), max_pillars_eval=PADDED), instantiate(cfg.classes)


def test_the_report_says_what_was_exported(tmp_path: Path) -> None:
    voxelizer, classes = parts()
    export_network(quantized(float_net()), voxelizer, classes, tmp_path / "net", num_sweeps=3)
    artefact = read_artefact(tmp_path / "net")
    assert artefact.signature.preprocessing.num_sweeps == 3
    assert "scheme u8, scales float" in artefact.report
    assert "detection.5.heatmap" in artefact.report
    assert "operators in int8" in artefact.report


def test_integers_that_do_not_give_the_network_are_not_exported(tmp_path: Path) -> None:
    class Changed(type(quantized(float_net()))):  # type: ignore[misc]
        def integer_graph(self):
            graph = super().integer_graph()
            with torch.no_grad():
                graph.steps[10].bias[:] += 40
            return graph

    voxelizer, classes = parts()
    net = quantized(float_net())
    net.__class__ = Changed
    with pytest.raises(ArtefactError, match="do not give the network's output"):
        build_artefact(net, voxelizer, classes)


def test_a_float_module_cannot_be_exported(tmp_path: Path) -> None:
    voxelizer, classes = parts()
    net = quantized(float_net(), rules=(("neck.*", "float"),))
    with pytest.raises(ConfigError, match=r"quant\.exceptions"):
        export_network(net, voxelizer, classes, tmp_path / "net")
    assert not list(tmp_path.iterdir())


def test_sixteen_bits_are_exported_as_well() -> None:
    runtime = pytest.importorskip("onnxruntime")
    from lidar_mt.deploy.runtimes.loading import load_runtime
    from tests.helpers.artefacts import inputs

    assert runtime
    voxelizer, classes = parts()
    net = quantized(float_net(), rules=(("encoder.*", "int16"), ("neck.*", "int16")))
    assert any(one.form.dtype == "int16" for _, one in quantizers(net))
    artefact = build_artefact(net, voxelizer, classes)
    outputs = load_runtime("integer", artefact).run(*inputs())
    for one, other in zip(load_runtime("onnxruntime", artefact).run(*inputs()), outputs, strict=True):
        # Sums of 16-bit codes are rounded in onnxruntime's float kernels.
        assert float((one - other).abs().max()) <= 1e-2 * float(other.abs().max())
