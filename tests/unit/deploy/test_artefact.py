from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from lidar_mt.deploy.artefact import read_artefact, write_artefact
from lidar_mt.deploy.signature import FileSpec, decode_signature, encode_signature
from lidar_mt.structures.errors import ArtefactError
from tests.helpers.artefacts import expected, exported, inputs, tiny_graph


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artefacts") / "runs" / "net"
    write_artefact(replace(exported(), report="int8\n"), folder)
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "net"))


def test_it_comes_back(written: Path) -> None:
    back = read_artefact(written)
    assert (back.network, back.from_canvas, back.report) == (exported().network, exported().from_canvas, "int8\n")
    assert back.graph.outputs == exported().graph.outputs
    assert [path.name for path in written.parent.iterdir()] == ["net"]  # nothing temporary is left


FRESH = """
import sys
for name in ("hydra", "omegaconf", "pytorch_lightning", "onnx", "onnxruntime", "openvino", "matplotlib"):
    sys.modules[name] = None
import numpy as np, torch
from pathlib import Path
from lidar_mt.deploy.artefact import read_artefact
from lidar_mt.deploy.runtimes.base import RuntimeNet
from lidar_mt.deploy.runtimes.loading import load_runtime
folder = Path(sys.argv[1])
data = np.load(folder / "inputs.npz", allow_pickle=False)
net = RuntimeNet(load_runtime("integer", read_artefact(folder / "net")))
output = net(torch.from_numpy(data["features"]), torch.from_numpy(data["coords"]))
np.savez(folder / "outputs.npz", segmentation=output["segmentation"].logits, heatmap=output["detection"][5].heatmap)
"""


def test_it_runs_in_a_fresh_process_without_configuration_and_training(folder: Path) -> None:
    features, coords = inputs()
    np.savez(folder.parent / "inputs.npz", features=features, coords=coords)
    command = [sys.executable, "-c", FRESH, str(folder.parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = np.load(folder.parent / "outputs.npz", allow_pickle=False)
    names = exported().graph.outputs
    np.testing.assert_array_equal(results["segmentation"], expected()[names[0]])
    np.testing.assert_array_equal(results["heatmap"], expected()[names[-1]])


def reseal(folder: Path, name: str, data: bytes) -> None:
    """Replaces a file and makes all checksums fit, as somebody with bad intentions would."""
    (folder / name).write_bytes(data)
    signature = decode_signature((folder / "signature.json").read_bytes())
    files = {**signature.files, name: FileSpec(len(data), hashlib.sha256(data).hexdigest())}
    (folder / "signature.json").write_bytes(encode_signature(msgspec.structs.replace(signature, files=files)))


def truncate(path: Path, keep: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def rename_file(folder: Path, to: str) -> None:
    """Lets the signature name another file."""
    signature = decode_signature((folder / "signature.json").read_bytes())
    files = dict(signature.files)
    files[to] = files.pop("network.onnx")
    (folder / "signature.json").write_bytes(encode_signature(msgspec.structs.replace(signature, files=files)))


def other_grid(folder: Path) -> None:
    signature = decode_signature((folder / "signature.json").read_bytes())
    canvas = msgspec.structs.replace(signature.canvas, shape=(1, 32, 32, 64))
    (folder / "signature.json").write_bytes(encode_signature(msgspec.structs.replace(signature, canvas=canvas)))


def tiny(folder: Path) -> None:
    from lidar_mt.deploy.integer_file import encode_graph

    reseal(folder, "integers.msgpack", encode_graph(tiny_graph()))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda f: (f / "signature.json").unlink(), "no artefact at"),
        (lambda f: (f / "network.onnx").unlink(), "network.onnx is missing"),
        (lambda f: (f / "integers.msgpack").unlink(), "integers.msgpack is missing"),
        (lambda f: truncate(f / "network.onnx", 0.5), "network.onnx has"),
        (lambda f: truncate(f / "canvas.onnx", 0.0), "canvas.onnx has 0 bytes"),
        (lambda f: truncate(f / "integers.msgpack", 0.9), "integers.msgpack has"),
        (lambda f: truncate(f / "signature.json", 0.7), "damaged"),
        (lambda f: truncate(f / "signature.json", 0.0), "damaged"),
        (lambda f: flip(f / "network.onnx"), "network.onnx was altered"),
        (lambda f: flip(f / "canvas.onnx"), "canvas.onnx was altered"),
        (lambda f: flip(f / "integers.msgpack"), "integers.msgpack was altered"),
        (lambda f: flip(f / "report.txt"), "report.txt was altered"),
        (lambda f: flip(f / "signature.json"), "signature.json"),
        (lambda f: (f / "signature.json").write_bytes(b" " * 2**21), "no signature"),
        (lambda f: rename_file(f, "../network.onnx"), "the files are"),
        (lambda f: rename_file(f, "/etc/passwd"), "the files are"),
        (lambda f: reseal(f, "integers.msgpack", b"\x80\x04cos\nsystem\n."), "integer graph is damaged"),
        (tiny, "not the one that signature.json describes"),
        (other_grid, "not the one that signature.json describes"),
        (shutil.rmtree, "no artefact at"),
    ],
)
def test_a_damaged_folder_is_refused(folder: Path, damage: object, says: str) -> None:
    damage(folder)
    with pytest.raises(ArtefactError, match=says) as error:
        read_artefact(folder)
    assert str(folder) in str(error.value)


def test_nothing_is_overwritten_unasked(folder: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ArtefactError, match="overwrite=true"):
        write_artefact(exported(), folder)
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}
    write_artefact(replace(exported(), report="new"), folder, overwrite=True)
    assert read_artefact(folder).report == "new"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(ArtefactError, match="exists already"):
        write_artefact(exported(), tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "thesis.tex").is_file()


def test_a_failed_write_leaves_the_old_one_and_no_rest(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArtefactError, match="No space left on device"):
        write_artefact(exported(), folder, overwrite=True)
    assert read_artefact(folder).report == "int8\n"
    assert [path.name for path in folder.parent.iterdir()] == ["net"]


def test_an_artefact_is_the_same_each_time(written: Path) -> None:
    again = replace(exported(), report="int8\n")
    second = written.parent / "second"
    write_artefact(again, second)
    for path in written.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()
    shutil.rmtree(second)
