from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lidar_mt.config import CONF_DIR, compose, instantiate
from lidar_mt.deploy.artefact import write_artefact
from lidar_mt.deploy.board_report import decode_report
from lidar_mt.deploy.compiler import compile_artefact
from lidar_mt.deploy.graph_cost import graph_cost
from lidar_mt.deploy.targets.base import Target
from lidar_mt.deploy.targets.vela import VelaTarget
from lidar_mt.quantization.integer_graph import Add, Convolution
from lidar_mt.structures.errors import ArtefactError, ConfigError
from tests.helpers.artefacts import exported

NAMES = sorted(path.stem for path in (Path(CONF_DIR) / "target").glob("*.yaml"))


def target(name: str) -> Target:
    return instantiate(compose("compile", [f"target={name}"]).target)


@pytest.mark.parametrize("name", NAMES)
def test_every_target_is_built_under_its_own_name(name: str) -> None:
    assert target(name).name == name


def test_the_whole_network_runs_on_an_ethos_u85(tmp_path: Path) -> None:
    pytest.importorskip("ethosu")
    one = exported("u8", "pow2")
    compile_artefact(one, target("ethos_u85"), tmp_path / "out")
    report = decode_report((tmp_path / "out/report.json").read_bytes())
    assert report.cpu_operators == ()
    assert {layer.place for layer in report.layers} == {"npu"}
    assert (tmp_path / "out" / report.files[0]).stat().st_size > 1e6
    # Every step that computes is a line of its own, with the network's own multiply-accumulates.
    lines = {layer.name: layer for layer in report.layers}
    cost = graph_cost(one.graph, one.signature)
    assert all(step.name in lines for step in one.graph.steps[4:] if isinstance(step, Convolution | Add))
    assert {name: lines[name].macs for name in cost.macs} == cost.macs
    assert sum(layer.ms for layer in report.layers) == pytest.approx(report.latency_ms, rel=1e-3)
    assert report.bounds[0].device.name == "ethos_u85_2048"
    assert report.latency_ms > report.bounds[0].least_ms
    assert (report.hardware["clock"], report.nature) == ("1000 MHz", "estimate")
    assert "Dedicated_Sram_512KB" in report.hardware["memory mode"]


def test_an_ethos_u65_leaves_the_results_to_the_processor_and_says_why(tmp_path: Path) -> None:
    pytest.importorskip("ethosu")
    report = target("ethos_u65").compile(exported("u8", "pow2"), tmp_path)
    assert {one.name for one in report.cpu_operators} == {spec.name for spec in exported().signature.outputs}
    assert all("Int32" in one.reason for one in report.cpu_operators)


def test_openvino_is_measured_layer_by_layer(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    one = exported("u8", "pow2")
    instance = instantiate(compose("compile", ["target=openvino", "target.repeats=2"]).target)
    report = instance.compile(one, tmp_path)
    assert report.nature == "measured"
    assert (tmp_path / "canvas.blob").stat().st_size > 1e6
    lines = {layer.name: layer for layer in report.layers}
    computed = [lines[name] for name in graph_cost(one.graph, one.signature).macs]
    assert {layer.place for layer in computed} == {"int8"}
    assert all(layer.ms > 0 for layer in computed)


def test_tensorrt_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(ConfigError, match="needs tensorrt and an NVIDIA GPU"):
        target("tensorrt").compile(exported(), tmp_path)


def test_vela_says_what_it_refuses(tmp_path: Path) -> None:
    pytest.importorskip("ethosu")
    wrong = VelaTarget("x", "ethos_u85_2048", "ethos-u99", "Ethos_U85_SYS_DRAM_High", "Dedicated_Sram_512KB")
    with pytest.raises(ArtefactError, match=r"Vela refuses the network.*ethos-u99"):
        wrong.compile(exported(), tmp_path)
    with pytest.raises(ArtefactError, match="has no TFLite files"):
        wrong.compile(replace(exported(), tflite_for_board=b""), tmp_path)


def test_the_program_writes_a_folder_once(tmp_path: Path, programs) -> None:
    pytest.importorskip("ethosu")
    write_artefact(exported("u8", "pow2"), tmp_path / "int8")
    arguments = (f"artefact={tmp_path}/int8", f"out={tmp_path}/out")
    done = programs("compile", *arguments)
    assert done.status == 0
    text = (tmp_path / "out/report.txt").read_text()
    totals, _, layers = text.partition("\nlayer ")
    assert totals in done.out
    assert "operators left to the processor: none" in totals
    assert len(layers.splitlines()) > 100, "every layer is in the file, the first ones are printed"
    assert layers.splitlines()[1] in done.out
    assert layers.splitlines()[-1] not in done.out
    assert "set overwrite=true" in programs("compile", *arguments).err
    assert programs("compile", *arguments, "overwrite=true").status == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["int8", "out"]
    assert "no artefact at" in programs("compile", f"artefact={tmp_path}/nothing", f"out={tmp_path}/more").err
