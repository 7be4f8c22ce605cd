from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from lidar_mt.config import CONF_DIR, compose, instantiate
from lidar_mt.deploy.artefact import write_artefact
from lidar_mt.deploy.board_report import decode_report
from lidar_mt.deploy.compiler import compile_artefact
from lidar_mt.deploy.graph_cost import graph_cost
from lidar_mt.deploy.targets.base import Target
from lidar_mt.deploy.targets.ethos_u import Accelerator
from lidar_mt.metrics.scoreboard import digest
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
    assert report.hardware["memory mode"] == "Dedicated_Sram_512KB, 512 KiB on the chip"
    fused = [layer for layer in report.layers if not layer.ms]
    assert {layer.kinds for layer in fused} <= {"Add", "counted with what reads it"}


FLASH = ("target.system_config=Ethos_U55_High_End_Embedded", "target.memory_mode=Shared_Sram")


@pytest.mark.parametrize(
    ("overrides", "macs_per_cycle", "megahertz", "device", "memory"),
    [
        (
            ["target.accelerator=ethos-u85-256"],
            256,
            1000,
            "Arm Ethos-U85, 256 MACs at 1 GHz, DRAM of 24 GB/s",
            "Dedicated_Sram_512KB, 512 KiB on the chip",
        ),
        (
            ["target.system_config=Ethos_U85_SYS_DRAM_Low", "target.arena_cache_size=393216"],
            2048,
            500,
            "Arm Ethos-U85, 2048 MACs at 500 MHz, DRAM of 3.75 GB/s",
            "Dedicated_Sram_512KB, 384 KiB on the chip",
        ),
        (
            ["target.accelerator=ethos-u55-128", *FLASH],
            128,
            500,
            "Arm Ethos-U55, 128 MACs at 500 MHz",
            "Shared_Sram, no limit to the memory on the chip",
        ),
    ],
)
def test_the_device_is_the_one_that_was_compiled_for(
    overrides: list[str], macs_per_cycle: int, megahertz: int, device: str, memory: str, tmp_path: Path
) -> None:
    pytest.importorskip("ethosu")
    report = instantiate(compose("compile", ["target=ethos_u85", *overrides]).target).compile(
        exported("u8", "pow2"), tmp_path
    )
    assert report.hardware["device"] == f"{device}; simulated by Vela's model of the processor, not run"
    assert (report.hardware["clock"], report.hardware["memory mode"]) == (f"{megahertz} MHz", memory)
    cycles_per_frame = report.latency_ms * 1e3 * megahertz
    assert report.totals["MAC_use_percent"] == pytest.approx(
        100 * report.accelerated_macs / macs_per_cycle / cycles_per_frame
    )
    for layer in (layer for layer in report.layers if layer.macs and layer.ms):
        assert layer.bound_ms == pytest.approx(layer.macs / macs_per_cycle / megahertz / 1e3)
        assert layer.mac_use == pytest.approx(layer.bound_ms / layer.ms)
    assert report.bounds[0].device.title == device
    assert report.bounds[0].compute_ms == pytest.approx(report.macs / macs_per_cycle / megahertz / 1e3)


def test_the_accelerators_are_those_of_vela() -> None:
    features = pytest.importorskip("ethosu.vela.architecture_features")
    assert sorted(get_args(Accelerator)) == sorted(features.Accelerator.member_list())


def test_an_ethos_u65_leaves_the_results_to_the_processor_and_says_why(tmp_path: Path) -> None:
    pytest.importorskip("ethosu")
    report = target("ethos_u65").compile(exported("u8", "pow2"), tmp_path)
    assert {one.name for one in report.cpu_operators} == {spec.name for spec in exported().signature.outputs}
    assert all("Int32" in one.reason for one in report.cpu_operators)
    left = [layer for layer in report.layers if layer.place == "cpu"]
    assert len(left) == len(report.cpu_operators) == 37
    assert all((layer.bound_ms, layer.mac_use) == (None, None) for layer in left)
    assert report.accelerated_macs == report.macs - sum(layer.macs for layer in left) < report.macs
    seconds = report.latency_ms / 1e3
    assert report.totals["MAC_use_percent"] == pytest.approx(100 * report.accelerated_macs / seconds / 0.512e12)


def test_openvino_is_measured_layer_by_layer(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    one = exported("u8", "pow2")
    instance = instantiate(compose("compile", ["target=openvino", "target.repeats=2"]).target)
    report = instance.compile(one, tmp_path)
    assert report.nature == "measured"
    assert report.cpu_operators is None, "nothing is left to it: it is the processor"
    assert (tmp_path / "canvas.blob").stat().st_size > 1e6
    lines = {layer.name: layer for layer in report.layers}
    computed = [lines[name] for name in graph_cost(one.graph, one.signature).macs]
    assert {layer.place for layer in computed} == {"int8"}
    assert all(layer.ms > 0 for layer in computed)


def test_tensorrt_tells_first_what_no_package_mends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="needs an NVIDIA GPU"):
        target("tensorrt").compile(exported(), tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(ConfigError, match=r"has quant\.scheme=u8"):
        target("tensorrt").compile(exported(), tmp_path)
    with pytest.raises(ConfigError, match="run `pip install tensorrt`"):
        target("tensorrt").compile(exported("s8_symmetric"), tmp_path)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("target.accelerator=ethos-u99", "target.accelerator=ethos-u99: expected one of ethos-u55-32, "),
        ("target.system_config=Mine", "target.system_config=Mine: expected one of Ethos_U55_Deep_Embedded, "),
        ("target.memory_mode=Mine", "target.memory_mode=Mine: expected one of Sram_Only, "),
        ("target.arena_cache_size=-1", "target.arena_cache_size=-1: expected a number >= 0"),
        ("target.arena_cache_size=9999999999999", "target=ethos_u85: Vela refuses its options (--accelerator-config "),
    ],
)
def test_a_mistake_in_an_option_is_no_fault_of_the_network(tmp_path: Path, override: str, words: str) -> None:
    pytest.importorskip("ethosu")
    with pytest.raises(ConfigError) as error:
        instantiate(compose("compile", ["target=ethos_u85", override]).target).compile(exported(), tmp_path)
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)


def test_vela_says_what_it_refuses(tmp_path: Path) -> None:
    pytest.importorskip("ethosu")
    with pytest.raises(ArtefactError, match=r"Vela refuses the network \(--accelerator-config ethos-u85-2048"):
        target("ethos_u85").compile(replace(exported(), tflite_for_board=b"no TFLite file"), tmp_path)
    with pytest.raises(ArtefactError, match="has no TFLite files"):
        target("ethos_u85").compile(replace(exported(), tflite_for_board=b""), tmp_path)


@pytest.mark.parametrize("key", ["threads", "repeats"])
def test_numbers_of_a_measurement_are_checked(programs, key: str) -> None:
    for value in (0, -3):
        done = programs("compile", "target=openvino", f"target.{key}={value}")
        assert (done.status, done.err) == (2, f"error: target.{key}={value}: expected a number >= 1\n")


def test_the_program_writes_a_folder_once(tmp_path: Path, programs) -> None:
    pytest.importorskip("ethosu")
    write_artefact(exported("u8", "pow2"), tmp_path / "int8")
    arguments = (f"artefact={tmp_path}/int8", f"out={tmp_path}/out")
    done = programs("compile", *arguments)
    assert done.status == 0
    text = (tmp_path / "out/report.txt").read_text()
    totals, _, layers = text.partition("\nlayer ")
    assert totals.partition("\nsources")[0] in done.out
    assert "operators left to the processor: none" in done.out
    assert len(layers.splitlines()) > 100, "every layer is in the file, the slowest are printed"
    *printed, last = done.out.split("\nlayer ")[1].splitlines()
    assert len(printed) == 13
    assert (
        last == f"compiled to {tmp_path}/out; every layer, and the sources of the bounds, in {tmp_path}/out/report.txt"
    )
    assert max(len(line) for line in (*text.splitlines(), *done.out.splitlines()[:-1])) <= 160
    report = decode_report((tmp_path / "out/report.json").read_bytes())
    assert (report.source, report.source_name) == (digest(tmp_path / "int8"), "int8")
    assert "set overwrite=true" in programs("compile", *arguments).err
    assert programs("compile", *arguments, "overwrite=true").status == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["int8", "out"]


def test_a_missing_or_damaged_artefact_names_the_command_that_makes_it(
    tmp_path: Path, programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIDAR_MT_RUNS", str(tmp_path))
    done = programs("compile", "target=openvino", "run_name=mine")
    folder = tmp_path / "mine/published/int8"
    assert done.err.splitlines() == [
        f"error: run_name=mine: no artefact at {folder}; run",
        "python -m lidar_mt.export run_name=mine",
        "or name another one with artefact=DIR",
    ]
    write_artefact(exported("u8", "pow2"), folder)
    (folder / "canvas.onnx").write_bytes(b"damaged")
    again = programs("compile", "target=openvino", "run_name=mine").err
    assert again.endswith("To export it again:\npython -m lidar_mt.export run_name=mine overwrite=true\n")
    named = programs("compile", "target=openvino", f"artefact={folder}").err
    assert named.endswith(f"python -m lidar_mt.export run_name=RUN out={folder} overwrite=true\n")
    np.ones((9, 5), np.float32).tofile(tmp_path / "cloud.pcd.bin")
    keys = ("stage=int8", "run_name=mine", f"points={tmp_path}/cloud.pcd.bin", f"out={tmp_path}/out")
    other = programs("infer", *keys).err
    assert other.endswith("python -m lidar_mt.export run_name=mine overwrite=true\n")


def test_help_lists_the_keys_of_a_target(programs) -> None:
    text = programs("compile", "--help").out
    nodes = (compose("compile", [f"target={name}"]).target for name in NAMES)
    keys = {key for node in nodes for key in node} - {"_target_", "name"}
    assert all(f"target.{key}=" in text for key in keys)
