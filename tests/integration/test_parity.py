"""`python -m lidar_mt.parity` on published checkpoints and an artefact, from a point file and from packed keyframes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from lidar_mt.config import compose, instantiate
from lidar_mt.config.build import NETWORK_KEYS
from lidar_mt.data.packing import pack_split
from lidar_mt.deploy.artefact import write_artefact
from lidar_mt.deploy.exporter import build_artefact
from lidar_mt.metrics.scoreboard import digest
from lidar_mt.models.quantized_multitask import QuantizedMultiTaskNet
from lidar_mt.models.voxelizer import Voxelizer
from lidar_mt.quantization.modules import Settings
from lidar_mt.quantization.spec import build_scheme
from tests.helpers.networks import randomize_norms
from tests.helpers.quantized import calibrate
from tests.helpers.tiny_lidar import VERSION, write_raw_nuscenes
from tests.helpers.training import SMALL_NETWORK

NETWORK = tuple(item for item in SMALL_NETWORK if not item.startswith("optimizer"))


def publish(folder, stage, cfg, net):
    groups = {key: OmegaConf.to_container(cfg[key], resolve=True) for key in NETWORK_KEYS}
    groups |= {"num_sweeps": cfg.data.num_sweeps}
    if cfg.quant is not None:
        groups["quant"] = OmegaConf.to_container(cfg.quant, resolve=True)
    folder.mkdir(parents=True, exist_ok=True)
    state = {f"net.{name}": value for name, value in net.state_dict().items()}
    torch.save({"state_dict": state, "lidar_mt": {"config": groups}}, folder / f"{stage}-best.ckpt")
    OmegaConf.save(OmegaConf.create(groups), folder / f"{stage}-config.yaml")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Float and calibrated checkpoints of a small network with random weights, its artefact, and a point file."""
    root = tmp_path_factory.mktemp("parity")
    folder = root / "runs/multitask/published"
    cfg = compose("train", [*NETWORK])
    torch.manual_seed(0)
    net = instantiate(cfg.model.net)
    randomize_norms(net)
    publish(folder, "float", cfg, net.eval())
    quantized = QuantizedMultiTaskNet(net, Settings(build_scheme("u8", "float"))).eval()
    calibrate(quantized)
    publish(folder, "qat", compose("train", [*NETWORK, "stage=qat"]), quantized)
    voxelizer = Voxelizer(instantiate(cfg.grid))
    write_artefact(build_artefact(quantized, voxelizer, instantiate(cfg.classes), num_sweeps=1), folder / "int8")
    points = np.random.default_rng(0).uniform((-40, -40, -3, 0, 0), (40, 40, 1, 255, 0.1), (800, 5))
    np.save(root / "cloud.npy", points.astype(np.float32))
    return root


@pytest.fixture
def run(root, programs, monkeypatch):
    monkeypatch.setenv("LIDAR_MT_DATA", str(root))
    monkeypatch.setenv("LIDAR_MT_RUNS", str(root / "runs"))

    def call(*overrides, status=0):
        outcome = programs("parity", *overrides)
        assert outcome.status == status, outcome.err
        assert "Traceback" not in outcome.err
        return " ".join((outcome.out + outcome.err).split())

    return call


def test_by_default_qat_is_compared_with_its_integers_and_is_equal(root, run, tmp_path):
    text = run(f"points={root / 'cloud.npy'}", f"out={tmp_path}", "require_equal=true")
    assert "a = qat, b = int8:integer, 1 frame" in text
    found = json.loads((tmp_path / "parity.json").read_text())
    assert found["equal"]
    assert len(found["outputs"]) == 37
    assert all(layer["differing_codes"] == 0 for layer in found["layers"])
    assert len(found["layers"]) > 100
    assert f"equal: no value differs in {len(found['layers'])} layers and 37 outputs" in text
    published = root / "runs/multitask/published"
    assert found["networks"] == {
        "a": {"path": "qat-best.ckpt", "sha256": digest(published / "qat-best.ckpt")},
        "b": {"path": "int8", "sha256": digest(published / "int8")},
    }
    assert (
        f"\na: qat-best.ckpt, SHA-256 {digest(published / 'qat-best.ckpt')}\n" in (tmp_path / "parity.txt").read_text()
    )
    for name in ("layers.png", "outputs.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "parity.txt").read_text().startswith("a = qat\nb = int8:integer\nframes = 1\nequal")


def test_a_checkpoint_in_a_runtime_is_exported_in_memory(root, run, tmp_path):
    run(f"points={root / 'cloud.npy'}", f"out={tmp_path}", "a=qat:integer", "b=int8:integer", "require_equal=true")
    found = json.loads((tmp_path / "parity.json").read_text())
    assert (found["a"], found["equal"]) == ("qat:integer", True)
    assert all(layer["differing_codes"] == 0 for layer in found["layers"])


def test_float_differs_and_the_exit_status_says_so_when_asked(root, run, tmp_path):
    folder = root / "runs/multitask/published"
    names = ("a=float", f"b={folder / 'int8'}:integer", f"points={root / 'cloud.npy'}", f"out={tmp_path}")
    text = run(*names, "require_equal=true", status=2)
    assert "different: " in text
    assert "error: require_equal=true, but float and" in text
    assert "the first is encoder.input" in text
    layer = json.loads((tmp_path / "parity.json").read_text())["layers"][0]
    assert layer["rounding_rms"] > 0


def test_keyframes_of_a_packed_split(root, run, tmp_path):
    write_raw_nuscenes(root / "nuscenes", keyframes=3, between=1, scenes=("scene-0103",))
    pack_split(root / "nuscenes", VERSION, "val", root / "packed")
    data = (f"data.version={VERSION}", *(item for item in NETWORK if item.startswith("grid")))
    text = run(*data, "samples=2", "a=int8:integer", "b=int8", f"out={tmp_path}")
    assert "2 frames" in text
    assert "equal: no value differs" in text
    assert "trained with" not in text, "as many sweeps as in training, without being told"
    told = run(*data, "samples=1", "a=int8", "b=int8", "data.num_sweeps=2", f"out={tmp_path}")
    assert "data.num_sweeps=2, but the network was trained with 1" in told
    assert "boxes in a" in text, "decoders of the configuration, on the artefact's grid"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["run_name=none", "data.num_sweeps=3"], ["a=qat: no checkpoint at", "lidar_mt.train stage=qat run_name=none"]),
        (["a=none.ckpt"], ["no checkpoint at none.ckpt", "a=FILE.ckpt"]),
        (["b=nowhere:integer"], ["b=nowhere:integer: no artefact at nowhere", "python -m lidar_mt.export"]),
        (["b=int8:tensorflow"], ["no runtime 'tensorflow'", "openvino"]),
        (["b=int7"], ["b=int7: expected float, calibrate, qat"]),
        (["points=nowhere.npy"], ["nowhere.npy"]),
        (["samples=0"], ["samples=0"]),
        (["smaples=2"], ["smaples", "'samples'"]),
    ],
)
def test_what_is_missing_or_misspelt_is_named(root, run, overrides, words):
    text = run(*overrides, status=2)
    for word in words:
        assert word in text
