"""`infer` on a file, a folder and a packed split, with an exported network that was never trained."""

from __future__ import annotations

import json
import os
import re
import signal

import numpy as np
import pytest

from lidar_mt.data.frames import PointFiles
from lidar_mt.data.layout import store_path
from lidar_mt.data.lmdb_store.reader import StoreReader
from lidar_mt.data.packing import pack_split
from lidar_mt.deploy.exporter import export_network
from tests.helpers.artefacts import parts, trained
from tests.helpers.networks import COARSE
from tests.helpers.tiny_lidar import VERSION, write_raw_nuscenes


@pytest.fixture(scope="module")
def network_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("network") / "int8"


@pytest.fixture
def artefact(programs, network_folder):
    """The artefact, written once. After `programs`, because absl's log handler, which comes with the exporter, would
    hold pytest's own stream for errors and close it when a program sets up its log."""
    if not network_folder.is_dir():
        export_network(trained(), *parts(), network_folder)
    return network_folder


@pytest.fixture
def infer(programs, artefact, tmp_path, monkeypatch):
    """Runs the program; gives back its exit status, what it printed, and its folder of results."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    def call(*keys, out="out"):
        folder = tmp_path / out
        base = ["stage=int8", f"artefact={artefact}", COARSE, "score_threshold=0.0", "threads=1", f"out={folder}"]
        outcome = programs("infer", *base, *keys)
        return outcome.status, outcome.out + outcome.err, folder

    return call


def cloud(seed):
    points = np.random.default_rng(seed).uniform(-45, 45, (3000, 4)).astype(np.float32)
    # Multiples that a factor of 256 and a shift of half a metre keep to the bit.
    points[:, 2] = np.round(points[:, 2] / 30 * 64) / 64 - 0.5
    points[:, 3] = np.random.default_rng(seed).integers(0, 256, 3000)
    return points


def boxes_of(path):
    return json.loads(path.read_text())["boxes"]


def test_a_sensor_that_looks_along_x_sees_the_same_in_its_own_frame(infer, tmp_path):
    points = cloud(1)
    points.tofile(tmp_path / "nuscenes.bin")
    x, y, z, intensity = points.T
    # Its x is the network's y, its y the network's -x, its origin lies half a metre higher; a ring follows intensity.
    own = np.column_stack([intensity / 256, y, -x, z - 0.5, np.arange(3000) % 32]).astype(np.float32)
    own.tofile(tmp_path / "own.bin")
    assert infer(f"points={tmp_path / 'nuscenes.bin'}", "columns=4", "page=false", "pictures=false")[0] == 0
    keys = ["columns=[intensity,x,y,z,ring]", "sensor.intensity_scale=256", "sensor.height_m=2.34"]
    status, text, out = infer(f"points={tmp_path / 'own.bin'}", *keys, "sensor.rotation_deg=90", "pictures=false")
    assert status == 0, text
    expected, found = boxes_of(out / "nuscenes.json"), boxes_of(out / "own.json")
    assert len(found) == len(expected) > 5
    for one, other in zip(expected, found, strict=True):
        (cx, cy, cz), (vx, vy) = one["center"], one["velocity"]
        assert other["class"] == one["class"]
        np.testing.assert_allclose(other["center"], [cy, -cx, cz - 0.5], atol=2e-3)
        np.testing.assert_allclose(other["velocity"], [vy, -vx], atol=2e-3)
        turn = (other["yaw"] - one["yaw"] + np.pi / 2 + np.pi) % (2 * np.pi) - np.pi
        assert turn == pytest.approx(0, abs=2e-3)


def test_a_folder_with_a_damaged_file(infer, tmp_path):
    folder = tmp_path / "clouds"
    (folder / "deep").mkdir(parents=True)
    for name, seed in (("b.npy", 1), ("a.npy", 2), ("deep/c.npy", 3)):
        np.save(folder / name, cloud(seed))
    (folder / "ax.npy").write_bytes(b"\x93NUMPY cut short")
    status, text, out = infer(f"points={folder}", "pictures=false")
    assert status == 2
    error = text.split("error:")[1]
    assert "ax.npy" in error
    assert re.search(r"python -m lidar_mt\.infer .* on_bad_file=skip\nleaves damaged files out", error)
    assert "not computed again" in error
    # It stopped at the second file; the page has the first.
    assert sorted(path.name for path in out.iterdir()) == ["a.json", "index.html"]
    status, text, out = infer(f"points={folder}", "recursive=true", "on_bad_file=skip", out="all")
    assert status == 0, text
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*")) == [
        *("a.json", "a.png", "b.json", "b.png", "deep/c.json", "deep/c.png", "index.html"),
    ]
    assert "ax.npy" in text
    assert "3 frames, 1 left out" in text
    (folder / "only").mkdir()
    (folder / "only/bad.bin").write_bytes(b"xyz")
    status, text, _ = infer(f"points={folder / 'only'}", "on_bad_file=skip", out="none")
    assert status == 2
    assert "all 1 files are damaged" in text


def test_a_packed_split(infer, tmp_path):
    write_raw_nuscenes(tmp_path / "raw", keyframes=3, between=1, scenes=("scene-0103",))
    pack_split(tmp_path / "raw", VERSION, "val", tmp_path / "packed")
    keys = ["split=val", f"data.version={VERSION}", f"paths.packed={tmp_path / 'packed'}", "pictures=false"]
    status, text, out = infer(*keys, "samples=[2,0]", "page_frames=1")
    assert status == 0, text
    tokens = [t.decode() for t in StoreReader(store_path(tmp_path / "packed", VERSION, "val")).sample_tokens]
    assert sorted(path.stem for path in out.glob("*.json")) == sorted([tokens[0], tokens[2]])
    page = (out / "index.html").read_text(encoding="utf-8")
    assert tokens[2] in page
    assert tokens[0] not in page
    assert '"truth":[[' in page
    status, text, _ = infer(*keys, "samples=5000", "page=false", out="all")
    assert status == 0
    assert "samples=5000: there are 3, all of them are taken" in text


def test_without_out_each_runtime_has_a_folder_of_its_own(programs, artefact, tmp_path, monkeypatch):
    monkeypatch.setenv("LIDAR_MT_RUNS", str(tmp_path))
    np.save(tmp_path / "a.npy", cloud(1))
    keys = ["stage=int8", f"artefact={artefact}", COARSE, "threads=1", "pictures=false", f"points={tmp_path / 'a.npy'}"]
    for runtime in ("integer", "onnxruntime"):
        outcome = programs("infer", *keys, *([f"runtime={runtime}"] if runtime != "integer" else []), "run_name=x")
        assert outcome.status == 0, outcome.err
        folder = tmp_path / f"x/infer_int8_{runtime}"
        assert sorted(path.name for path in folder.iterdir()) == ["a.json", "index.html"]


def test_frames_that_leave_the_page_are_named(infer, tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        np.save(tmp_path / f"{name}.npy", cloud(seed))
    assert "leave it" not in infer(f"points={tmp_path / 'a.npy'}", "pictures=false")[1]
    _, text, out = infer(f"points={tmp_path / 'b.npy'}", "pictures=false")
    assert f"{out / 'index.html'} will show the frames of this run alone; of an earlier run 1 leave it (a)" in text
    assert (out / "a.json").is_file()
    assert "leave it" not in infer(f"points={tmp_path}", "pictures=false")[1], "which are all of them"


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ([], ["points=FILE", "split=val"]),
        (["points=a.bin", "split=val"], ["either points=FILE"]),
        (["points=a.bin", "samples=3"], ["split=NAME"]),
        (["points=a.bin", "on_bad_file=maybe"], ["on_bad_file=maybe", "error or skip"]),
        (["points=a.bin", "columns=[x,y]"], ["columns=[x,y]", "intensity"]),
        (["points=a.bin", "sensor.rotation=90"], ["sensor.rotation", "rotation_deg"]),
        (["points=a.bin", "sensor.intensity_scale=0"], ["intensity_scale=0", "positive"]),
        (["points=a.bin", "page_frames=0"], ["page_frames", "page=false"]),
        (["points=a.bin", "score_threshold=7"], ["score_threshold=7", "<= 1"]),
        (["points=a.bin", "score_threshold=-0.1"], ["score_threshold=-0.1", ">= 0"]),
        (["split=val", "sensor=kitti"], ["describe point files"]),
        (["split=test"], ["test"]),
        (["points=nowhere"], ["nowhere", "no such file or folder"]),
    ],
)
def test_mistakes_are_named(infer, keys, words):
    status, text, _ = infer(*keys)
    assert status == 2
    assert all(word in text.split("error:")[1] for word in words), text
    assert "Traceback" not in text


@pytest.fixture
def clouds(tmp_path):
    """A folder of five point files."""
    folder = tmp_path / "clouds"
    folder.mkdir()
    for name in "abcde":
        np.save(folder / f"{name}.npy", cloud(ord(name)))
    return folder


def results(out):
    """Content of every file by name, the hidden ones too."""
    return {path.name: path.read_bytes() for path in out.iterdir()}


def send_at(monkeypatch, count, signum):
    """A signal comes while file number `count` is read."""
    read, calls = PointFiles.read, []

    def reading(self, index):
        calls.append(index)
        if len(calls) == count:
            os.kill(os.getpid(), signum)
        return read(self, index)

    monkeypatch.setattr(PointFiles, "read", reading)
    return calls


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_run_goes_on_and_ends_as_one_that_ran_through(infer, clouds, monkeypatch, signum, status):
    keys = [f"points={clouds}", "page_frames=3", "pictures=false"]  # on the page are a, c and e
    assert infer(*keys, out="through")[0] == 0
    with monkeypatch.context() as patched:
        send_at(patched, 3, signum)
        stopped, text, out = infer(*keys)
    assert stopped == status
    assert "stopped with 2 of 5 frames left" in text
    assert sorted(results(out)) == ["a.json", "b.json", "c.json", "index.html"]
    before = (out / "b.json").stat().st_mtime_ns
    with monkeypatch.context() as patched:
        read = send_at(patched, 9, signum)
        ended, text, _ = infer(*keys)
    assert (ended, read) == (0, [3, 4])
    assert "3 of 5 frames are done and skipped" in text
    assert "2 frames, 0 left out, 3 skipped" in text
    assert re.search(r"\d+\.\d\d\d s of network per frame, \d+\.\d\d s for the first one", text)
    assert (out / "b.json").stat().st_mtime_ns == before
    assert results(out) == results(out.parent / "through")


@pytest.fixture
def computed(infer, clouds, monkeypatch):
    """Runs the program on the folder, with two frames on the page; gives back which frames went through the network."""
    read = send_at(monkeypatch, 99, signal.SIGTERM)

    def call(*more):
        read.clear()
        status, text, _ = infer(f"points={clouds}", "page_frames=2", *more)
        assert status == 0, text
        return "".join("abcde"[index] for index in read)

    return call


def test_what_is_not_whole_is_computed_again(computed, clouds, tmp_path):
    out = tmp_path / "out"
    assert computed() == "abcde"
    whole = results(out)
    assert computed() == ""
    assert results(out) == whole
    (out / "a.json").write_bytes(whole["a.json"][:-9])
    (out / "b.png").unlink()
    (out / "c.json").unlink()
    assert computed() == "abc"
    assert results(out) == whole
    np.save(clouds / "b.npy", cloud(77))
    (out / "d.json").write_text("[]")
    assert computed("pictures=false") == "bd"
    assert computed("pictures=false", "overwrite=true") == "abcde"


def test_what_was_made_in_another_way_is_computed_again(computed, tmp_path):
    bare = "pictures=false"
    assert computed(bare) == "abcde"
    assert computed(bare, "score_threshold=0.05") == "abcde"
    assert computed(bare, "sensor.height_m=2.0") == "abcde"
    assert computed(bare, "runtime=onnxruntime") == "abcde"
    assert computed(bare, "runtime=onnxruntime", "page_points=50") == "ae"
    (tmp_path / "out/index.html").write_text("<html>")
    assert computed(bare, "runtime=onnxruntime", "page=false") == ""
    assert computed(bare, "runtime=onnxruntime") == "ae"


def test_after_an_error_the_folder_holds_whole_files_alone(infer, clouds, monkeypatch):
    (clouds / "c.npy").write_bytes(b"\x93NUMPY cut short")
    status, text, out = infer(f"points={clouds}", "pictures=false")
    assert status == 2
    assert sorted(results(out)) == ["a.json", "b.json", "index.html"]
    np.save(clouds / "c.npy", cloud(3))
    (out / "d.json").mkdir()  # cannot be written
    status, text, _ = infer(f"points={clouds}", "pictures=false")
    assert status == 2
    assert "d.json" in text
    assert sorted(path.name for path in out.iterdir()) == ["a.json", "b.json", "c.json", "d.json", "index.html"]
    (out / "d.json").rmdir()
    status, text, _ = infer(f"points={clouds}", "pictures=false")
    assert "2 frames, 0 left out, 3 skipped" in text


@pytest.mark.parametrize("kind", ["error", "signal"])
def test_an_unfinished_recording_does_not_stay(infer, clouds, monkeypatch, kind):
    pytest.importorskip("rerun", exc_type=ImportError)
    keys = [f"points={clouds}", "pictures=false", "page=false", "rrd=true"]
    whole = (clouds / "c.npy").read_bytes()
    with monkeypatch.context() as patched:
        if kind == "signal":
            send_at(patched, 2, signal.SIGTERM)
        else:
            (clouds / "c.npy").write_bytes(b"short")
        status, text, out = infer(*keys)
    assert status == (143 if kind == "signal" else 2), text
    assert sorted(results(out)) == ["a.json", "b.json"]
    (clouds / "c.npy").write_bytes(whole)
    status, text, _ = infer(*keys)
    assert "5 frames, 0 left out, 0 skipped" in text, "a recording holds all frames"
    assert sorted(results(out)) == [*(f"{name}.json" for name in "abcde"), "frames.rrd"]


def test_a_packed_split_goes_on_as_well(infer, tmp_path):
    write_raw_nuscenes(tmp_path / "raw", keyframes=3, between=1, scenes=("scene-0103",))
    pack_split(tmp_path / "raw", VERSION, "val", tmp_path / "packed")
    keys = ["split=val", f"data.version={VERSION}", f"paths.packed={tmp_path / 'packed'}", "pictures=false"]
    assert infer(*keys, "samples=[1]")[0] == 0
    status, text, _ = infer(*keys, "page_frames=1")  # the first alone
    assert status == 0
    assert "1 of 3 frames are done" in text
