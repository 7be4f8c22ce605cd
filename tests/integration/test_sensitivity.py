"""The program `sensitivity` on a small calibrated network and simulated keyframes."""

from __future__ import annotations

import json
import shlex

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from lidar_mt.config import compose
from lidar_mt.config.build import build_datamodule, build_module, network_config
from lidar_mt.config.stages import build_net
from lidar_mt.data.packing import pack_split
from lidar_mt.metrics.scoreboard import digest
from lidar_mt.quantization.modules import quantizers, set_mode
from tests.helpers.tiny_lidar import VERSION, write_raw_nuscenes
from tests.helpers.training import SMALL_NETWORK

RUN = (
    *(item for item in SMALL_NETWORK if not item.startswith("optimizer")),
    f"data.version={VERSION}",
    "data.num_workers=0",
    "trainer.accelerator=cpu",
)
BAD = "neck.fusions.level3.coarse.pointwise.conv"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Packed keyframes and a calibrated network with one scale that is far too large."""
    root = tmp_path_factory.mktemp("sensitivity")
    write_raw_nuscenes(root / "nuscenes", keyframes=3, between=1, scenes=("scene-0103", "scene-0061"))
    for split in ("train", "val"):
        pack_split(root / "nuscenes", VERSION, split, root / "packed")
    cfg = compose("train", [*RUN, "stage=calibrate", f"paths.packed={root / 'packed'}"])
    torch.manual_seed(0)
    module = build_module(cfg).eval()
    set_mode(module.net, "observe")
    with torch.no_grad():
        for sample in build_datamodule(cfg).dataset(training=False):
            module([torch.from_numpy(sample.points)])
    for name, quantizer in quantizers(module.net):
        quantizer.choose()
        if name.endswith(BAD):
            quantizer.scale *= 200
    set_mode(module.net, "quantize")
    folder = root / "runs/multitask/published"
    folder.mkdir(parents=True)
    content = {"state_dict": module.state_dict(), "lidar_mt": {"config": network_config(cfg)}}
    torch.save(content, folder / "calibrate-best.ckpt")
    OmegaConf.save(OmegaConf.create(network_config(cfg)), folder / "calibrate-config.yaml")
    return root


@pytest.fixture
def run(root, programs, monkeypatch):
    """Runs the program and returns what it printed."""
    monkeypatch.setenv("LIDAR_MT_DATA", str(root))
    monkeypatch.setenv("LIDAR_MT_RUNS", str(root / "runs"))

    def call(*overrides, status=0):
        outcome = programs("sensitivity", *RUN, *overrides)
        assert outcome.status == status, outcome.err
        return outcome.out + outcome.err

    return call


@pytest.mark.slow
def test_the_bad_layer_is_found_and_excepted(run, root, tmp_path):
    text = run("stage=calibrate", f"out={tmp_path}", "samples=2", "top=5", "metric_samples=1", "budget=12", "cells=all")
    assert "SQNR of at least 12 dB: met" in text
    content = json.loads((tmp_path / "sensitivity.json").read_text())
    assert content["search"]["exceptions"] == {BAD: "int16"}
    assert content["search"]["met"]
    first = content["ranking"][0]
    assert first["name"] == BAD
    assert first["sqnr_db"] < 12 < first["int16_sqnr_db"]
    assert content["everything_rounded"]["sqnr_db"] < 12
    assert set(first["tasks_db"]) == {"segmentation", "detection"}
    assert len(first["outputs_db"]) == 37
    assert set(first["loss_increase"]) == {"total", "segmentation", "detection"}
    assert sum(bool(row["loss_increase"]) for row in content["ranking"]) == 5
    rows = (tmp_path / "sensitivity.txt").read_text().splitlines()
    assert sum(row.split()[:1] == [str(number)] for number in range(1, 500) for row in rows) == len(content["ranking"])
    assert (tmp_path / "sensitivity.png").stat().st_size > 10_000
    fragment = yaml.safe_load((tmp_path / "quant/exceptions.yaml").read_text())
    assert fragment["exceptions"] == [{"pattern": BAD, "precision": "int16"}]
    # The argument that is printed builds such a network.
    (printed,) = (line.removeprefix("or add ") for line in text.splitlines() if line.startswith("or add "))
    net = build_net(compose("train", [*RUN, "stage=calibrate", *shlex.split(printed)]))
    assert dict(quantizers(net))[f"body.{BAD}"].form.dtype == "int16"
    assert f"quant=exceptions {RUN[0]}" in text.replace("'", "")


def test_the_part_of_the_bad_layer_by_its_losses(run, root, tmp_path):
    text = run("stage=calibrate", f"out={tmp_path}", "samples=1", "by=head", "metric_samples=1", "top=2")
    content = json.loads((tmp_path / "sensitivity.json").read_text())
    checkpoint = root / "runs/multitask/published/calibrate-best.ckpt"
    assert content["networks"] == {"calibrate": {"path": checkpoint.name, "sha256": digest(checkpoint)}}
    assert digest(checkpoint) in (tmp_path / "sensitivity.txt").read_text()
    assert [len(row["layers"]) > 1 for row in content["ranking"]] == [True] * 5
    assert content["ranking"][0]["name"] == "neck"
    assert abs(content["ranking"][0]["loss_increase"]["total"]) > 0
    assert content["ranking"][2]["loss_increase"] == {}
    fragment = yaml.safe_load((tmp_path / "quant/exceptions.yaml").read_text())
    assert fragment["exceptions"][0] == {"pattern": "neck.*", "precision": "int16"}
    assert len(fragment["exceptions"]) == 2
    assert "loss %" in text


@pytest.mark.slow
def test_a_budget_that_cannot_be_met(run, tmp_path):
    text = run(
        *("stage=calibrate", f"out={tmp_path}", "samples=1", "by=head", "measure=loss", "budget=-100"),
        *("metric_samples=1", "precisions=[int16]", "top=2", "calibration_samples=2"),
    )
    content = json.loads((tmp_path / "sensitivity.json").read_text())
    assert not content["search"]["met"], "less than no loss"
    assert "NOT MET; the nearest is loss" in text
    assert "NOT MET; the nearest is loss" in (tmp_path / "quant/exceptions.yaml").read_text()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["stage=qat"],
            ["no checkpoint at", "python -m lidar_mt.train stage=qat", "grid.voxel_size", "checkpoint=FILE"],
        ),
        (["stage=float"], ["stage=float rounds nothing", "stage=calibrate"]),
        (["stage=calibrate", "by=channel"], ["by=channel", "layer, block, head"]),
        (["stage=calibrate", "precisions=[int4]"], ["precisions=['int4']", "int16, float"]),
        (["stage=calibrate", "measure=loss", "budget=1"], ["metric_samples=N"]),
        (["stage=calibrate", "samples=0"], ["samples=0", ">= 1"]),
    ],
)
def test_what_does_not_fit_is_named(run, tmp_path, overrides, words):
    text = run(*overrides, f"out={tmp_path}", status=2)
    for word in words:
        assert word in text
    assert "by=" not in text.split("first run")[-1] or "by=channel" in overrides
