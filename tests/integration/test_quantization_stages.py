"""Float, calibrate, qat: selected by the stage alone, each from the one before, and what must hold between them."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from torch.utils._pytree import tree_leaves

from lidar_mt.config import networks
from lidar_mt.config.build import load_module
from lidar_mt.data.packing import pack_split
from lidar_mt.deploy.cpu import adds_exactly
from lidar_mt.engine.checkpoint import read_checkpoint
from lidar_mt.quantization.modules import set_mode
from lidar_mt.train import main
from tests.helpers.quantized import pillars
from tests.helpers.tiny_lidar import VERSION, write_raw_nuscenes
from tests.helpers.training import SMALL_NETWORK, Stop, difference, train

RUN = (
    *(item for item in SMALL_NETWORK if not item.startswith("optimizer")),
    f"data.version={VERSION}",
    "data.batch_size=1",
    "data.num_workers=0",
    "data.calibration_batches=3",
    "data.calibration_batch_size=1",
    "trainer.accelerator=cpu",
    "trainer.devices=1",
    "callbacks.pictures=null",
    "logger=none",
    "float_epochs=3",
)
QUICK = ("metric=none", "trainer.precision=32-true")
TWO = ("trainer.devices=2", "trainer.strategy=ddp")
PUBLISHED = ["calibrate-best.ckpt", "calibrate-config.yaml", "calibrate-last.ckpt"]
#: Two batches of training and one of validation.
SHORT = (*QUICK, "float_epochs=1", "+trainer.limit_train_batches=2", "+trainer.limit_val_batches=1")


@pytest.fixture
def run(root, programs, monkeypatch):
    """Runs a program and returns what it printed."""
    surround(monkeypatch, root)

    def call(*overrides, program="train", status=0):
        outcome = programs(program, *overrides)
        assert outcome.status == status, outcome.err
        return outcome.out + outcome.err

    return call


def surround(monkeypatch, root):
    monkeypatch.setenv("LIDAR_MT_DATA", str(root))
    monkeypatch.setenv("LIDAR_MT_RUNS", str(root / "runs"))
    monkeypatch.setenv("LIDAR_MT_TRUSTED_PACKAGES", "tests")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def published(root, name, run_name="multitask"):
    return root / "runs" / run_name / "published" / f"{name}.ckpt"


def state(path):
    return read_checkpoint(path)["state_dict"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Five training and five validation keyframes, a float run and its calibration."""
    root = tmp_path_factory.mktemp("stages")
    write_raw_nuscenes(root / "nuscenes", keyframes=5, between=1, scenes=("scene-0103", "scene-0061"))
    for split in ("train", "val"):
        pack_split(root / "nuscenes", VERSION, split, root / "packed")
    monkeypatch = pytest.MonkeyPatch()
    surround(monkeypatch, root)
    for stage in ("float", "calibrate"):
        GlobalHydra.instance().clear()
        monkeypatch.setattr("sys.argv", ["train", *RUN, *SHORT, f"stage={stage}"])
        main()
    monkeypatch.undo()
    return root


def test_calibration_publishes_scales_and_says_what_is_float(root):
    assert published(root, "calibrate-best").is_file()
    scales = [value for name, value in state(published(root, "calibrate-best")).items() if name.endswith("scale")]
    assert len(scales) > 50
    assert all(float(scale) > 0 for scale in scales)
    assert len({float(scale) for scale in scales}) > 25, "scales were not chosen"
    (table,) = (root / "runs/multitask/calibrate").glob("*/quant_table.txt")
    lines = table.read_text().splitlines()
    assert any(line.startswith("encoder.input") and "uint8" in line for line in lines)
    assert sum("accumulator" in line for line in lines) == 38  # 37 outputs and the summary
    assert any("heads.segmentation.classifier" in line for line in lines)


def test_a_calibration_is_told_once_with_the_command_that_evaluates_it(root, run):
    start = f"stage.start={published(root, 'float-best')}"
    text = run(*RUN, *SHORT, "stage=calibrate", "run_name=told", start, "quant.scheme=u8")
    assert text.count("quantization: scheme u8") == 1
    (table,) = (root / "runs/told/calibrate").glob("*/quant_table.txt")
    assert "encoder.input" in table.read_text()
    words = shlex.split(re.search(r"; next: python -m lidar_mt\.evaluate (.*)", text)[1])
    kept = {
        "stage=calibrate",
        "run_name=told",
        f"data.version={VERSION}",
        "data.num_workers=0",
        "callbacks.pictures=null",
    }
    assert kept <= set(words)
    assert not [item for item in words if item.startswith(("stage.start", "data.calibration", "quant", "float_epochs"))]
    run(*words, "--cfg", "job", program="evaluate")


def test_qat_runs_by_its_stage_alone_and_infer_reads_what_it_published(root, run):
    text = run(*RUN, *QUICK, "stage=qat", "float_epochs=2", "+trainer.limit_val_batches=1")
    assert "5 steps" in text, "half of the float epochs of five steps"
    kept = read_checkpoint(published(root, "qat-best"))
    assert kept["optimizer_states"][0]["param_groups"][0]["momentum"] == 0.9
    assert kept["lidar_mt"]["config"]["quant"]["scheme"] == "u8"
    before, after = state(published(root, "calibrate-best")), kept["state_dict"]
    assert all(torch.equal(before[name], after[name]) for name in before if name.endswith("scale"))
    assert any(not torch.equal(before[name], after[name]) for name in before if name.endswith("weight"))
    frame = next((root / "nuscenes/samples/LIDAR_TOP").glob("*.pcd.bin"))
    run(f"points={frame}", "stage=qat", f"out={root / 'inferred'}", program="infer")
    assert len(list((root / "inferred").iterdir())) == 3  # boxes, picture, page


@pytest.mark.slow
def test_every_stage_is_evaluated(root, run):
    run(*RUN, "stage=qat", "metric=none", "run_name=mixed", f"stage.start={published(root, 'calibrate-best')}")
    evaluate = [item for item in RUN if item.startswith(("data.", "trainer.", "callbacks."))]
    for stage, name in (("float", "multitask"), ("calibrate", "multitask"), ("qat", "mixed")):
        text = run(*evaluate, f"stage={stage}", f"run_name={name}", f"out={root / stage}", program="evaluate")
        assert "mIoU" in text


def test_without_a_learning_rate_qat_is_the_calibrated_network(root, tmp_path):
    start = f"stage.start={published(root, 'calibrate-best')}"
    trained = train(tmp_path, root / "packed", (*RUN, *SHORT, "stage=qat", start, "optimizer.lr=0"))
    calibrated = state(published(root, "calibrate-best"))
    assert trained.state.keys() == calibrated.keys()
    assert all(torch.equal(trained.state[name], value) for name, value in calibrated.items())
    assert len(trained.losses) == 2


@torch.no_grad()
def test_with_rounding_off_the_calibrated_network_is_the_float_one(root):
    expected = load_module(published(root, "float-best")).net
    net = load_module(published(root, "calibrate-best")).net
    rounded = tree_leaves(net.forward_pillars(pillars()))
    set_mode(net, "float")
    found = tree_leaves(net.forward_pillars(pillars()))
    for one, other, third in zip(found, tree_leaves(expected.forward_pillars(pillars())), rounded, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5 * float(other.abs().max()))
        assert not torch.equal(one, third)


def launch(root, monkeypatch, program, *overrides, status=0):
    """What a program prints in a process of its own, which several ranks need; nobody of its group is left."""
    surround(monkeypatch, root)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    command = [sys.executable, "-m", f"lidar_mt.{program}", *overrides]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    out, err = process.communicate(timeout=300)
    assert process.returncode == status, err
    assert is_gone(process.pid)
    return out + err


def is_gone(group, wait_s=60.0):
    """Whether no process of a group is left, soon: rank 0 does not wait for the end of the others."""
    end = time.monotonic() + wait_s
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_two_ranks_choose_the_scales_of_one(root, monkeypatch):
    start = f"stage.start={published(root, 'float-best')}"
    launch(root, monkeypatch, "train", *RUN, *SHORT, "stage=calibrate", start, *TWO, "run_name=two")
    left, right = state(published(root, "calibrate-last")), state(published(root, "calibrate-last", "two"))
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


def calibration(root, run_name, batch=None):
    """Overrides of a calibration that gets a signal, see `SignalAt`, or none."""
    keys = (*RUN, *SHORT, "stage=calibrate", f"stage.start={published(root, 'float-best')}", f"run_name={run_name}")
    if batch is not None:
        keys += (f"callbacks.pictures={{_target_: tests.helpers.own_parts.SignalAt, batch: {batch}}}",)
    return keys


@pytest.mark.parametrize(
    "batch", [pytest.param(2, id="observing"), pytest.param(3, marks=pytest.mark.slow, id="validating")]
)
def test_a_calibration_that_is_stopped_publishes_nothing_and_is_started_again(root, run, batch):
    name = f"stopped{batch}"
    text = run(*calibration(root, name, batch=batch), status=143)
    assert "SIGTERM: stopped while calibrating; nothing was saved or published, start it again" in text
    assert "the whole command: python -m lidar_mt.train stage=calibrate " in text
    assert not published(root, "", name).parent.exists()
    assert not list((root / "runs" / name).rglob("*.ckpt"))
    run(*calibration(root, name))
    assert sorted(path.name for path in published(root, "", name).parent.iterdir()) == PUBLISHED


@pytest.mark.slow
def test_a_signal_while_a_calibration_is_saved_lets_it_publish_all(root, run):
    run(*calibration(root, "late", batch=0))
    assert sorted(path.name for path in published(root, "", "late").parent.iterdir()) == PUBLISHED


@pytest.mark.slow
def test_a_calibration_on_two_ranks_stops_at_the_next_batch(root, monkeypatch):
    longer = ("data.calibration_batches=5", "++trainer.limit_train_batches=5")  # three and two for the ranks
    text = launch(root, monkeypatch, "train", *calibration(root, "pair", batch=1), *longer, *TWO, status=143)
    assert "start it again" in text
    assert "observed" not in text, "the ranks have finished observing"
    assert not published(root, "", "pair").parent.exists()


@pytest.mark.slow
@pytest.mark.parametrize("momentum", [0.0, 0.1])
def test_two_ranks_train_as_one_with_twice_the_batch(root, monkeypatch, tmp_path, momentum):
    # Segmentation alone: boxes and heatmaps are divided by the objects of a rank's own batch.
    keys = (*RUN, *SHORT, "stage=qat", f"stage.start={published(root, 'calibrate-best')}", "task.detection.weight=0")
    keys += ("optimizer.lr=1e-3", f"quant.moving_momentum={momentum}")
    states = {}
    for name, ranks in (("one", ("data.batch_size=2",)), ("two", TWO)):
        run_name, kept = f"run_name={name}_{momentum}", f"+callbacks.kept.folder={tmp_path / name}"
        target = "+callbacks.kept._target_=tests.helpers.own_parts.KeepRanks"
        launch(root, monkeypatch, "train", *keys, *ranks, run_name, target, kept)
        states[name] = [torch.load(path, weights_only=True) for path in sorted((tmp_path / name).iterdir())]
    (one,), (left, right) = states["one"], states["two"]
    assert one.keys() == left.keys() == right.keys()
    assert all(torch.equal(left[key], right[key]) for key in left)  # of both ranks
    saved = state(published(root, "qat-last", f"two_{momentum}"))
    assert all(torch.equal(left[key], saved[key]) for key in saved)
    before = state(published(root, "calibrate-best"))
    moved = max(float((one[key] - before[key]).abs().max()) for key in before)
    apart = max(float((one[key] - left[key]).abs().max()) for key in before)
    assert moved > 1e-3
    assert apart < 1e-4 * moved
    assert momentum == 0 or any(not torch.equal(before[key], one[key]) for key in before if key.endswith("scale"))


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["calibrate", "qat"])
def test_two_ranks_score_a_quantized_network_as_one(root, run, monkeypatch, tmp_path, stage):
    if stage == "qat":
        keys = ("stage=qat", f"stage.start={published(root, 'calibrate-best')}", "run_name=both")
        launch(root, monkeypatch, "train", *RUN, *SHORT, *TWO, *keys)
    checkpoint = published(root, f"{stage}-best", "both" if stage == "qat" else "multitask")
    scores = []
    for name, ranks in (("one", ()), ("two", TWO)):
        out, keys = tmp_path / name, (f"stage={stage}", f"checkpoint={checkpoint}")
        launch(root, monkeypatch, "evaluate", *EVALUATE, *ranks, *keys, f"out={out}")
        scores.append(json.loads((out / "metrics.json").read_text()))
    assert scores[0]["detection"]["num_samples"] == 5
    assert scores[0] == scores[1]


@pytest.mark.parametrize(
    "stop",
    [
        pytest.param({"train": 1}, marks=pytest.mark.slow, id="first step"),
        pytest.param({"train": 3}, id="within an epoch"),
        pytest.param({"train": 5}, marks=pytest.mark.slow, id="end of an epoch"),
        pytest.param({"val": 2}, marks=pytest.mark.slow, id="within a validation"),
    ],
)
def test_a_stopped_qat_goes_on_exactly(root, tmp_path, stop, through):
    overrides = (*RUN, *QUICK, "stage=qat", f"stage.start={published(root, 'calibrate-best')}", "optimizer.lr=1e-3")
    overrides += ("+trainer.limit_val_batches=2",)
    part = train(tmp_path / "part", root / "packed", overrides, Stop(**stop))
    assert part.stopped
    end = train(tmp_path / "end", root / "packed", overrides, resume=part.last)
    assert not end.stopped
    reference = through(overrides)
    assert part.losses + end.losses == reference.losses
    assert difference(reference, end) == 0.0
    assert end.scores == reference.scores


@pytest.fixture(scope="module")
def through(root, tmp_path_factory):
    """Uninterrupted runs, each made once."""
    made = {}

    def get(overrides):
        if overrides not in made:
            made[overrides] = train(tmp_path_factory.mktemp("through"), root / "packed", overrides)
        return made[overrides]

    return get


def test_another_backbone_by_configuration(root, run):
    name = ("run_name=plain", "model.backbone._target_=tests.helpers.plain_backbone.PlainBackbone")
    run(*RUN, *SHORT, *name, "stage=float")
    text = run(*RUN, *SHORT, *name, "stage=calibrate")
    assert "never called   backbone.never" in text
    assert "not fused: backbone.operation, backbone.operation1" in text
    run(*RUN, *SHORT, *name, "stage=qat")
    before, after = state(published(root, "calibrate-best", "plain")), state(published(root, "qat-best", "plain"))
    assert not torch.equal(before["net.body.backbone.stem.0.weight"], after["net.body.backbone.stem.0.weight"])


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["stage=qat", "run_name=none"],
            ["qat starts from", "python -m lidar_mt.train stage=calibrate", "run_name=none"],
        ),
        (["stage=calibrate", "run_name=none"], ["calibrate starts from", "python -m lidar_mt.train stage=float"]),
        (["stage=qat", "quant.scheme=s8_symmetric"], ["quant.scheme: u8 -> s8_symmetric"]),
        (["stage=calibrate", "model.backbone.stem_channels=32"], ["model.backbone.stem_channels: 16 -> 32"]),
        (["stage=float", "quant=default"], ["quant", "stage=calibrate"]),
        (["stage=calibrate", "quant.scheme=u7"], ["quant.scheme=u7", "s8_affine"]),
        (
            ["stage=calibrate", "quant.exceptions=[{pattern: nowhere, precision: int16}]"],
            ["no module is named nowhere"],
        ),
        (["stage=qat", "stage.start={float}"], ["holds a float network"]),
        (["stage=calibrate", "resume=last"], ["no unfinished run"]),
    ],
)
def test_what_does_not_fit_is_named(root, run, overrides, words):
    overrides = [item.replace("{float}", str(published(root, "float-best"))) for item in overrides]
    text = run(*RUN, *QUICK, *overrides, status=2)
    assert "Traceback" not in text
    for word in words:
        assert word in text


@pytest.fixture
def exported(root, run):
    """The artefact of the calibrated network, written once."""
    folder = root / "runs/multitask/published/int8"
    if not folder.is_dir():
        text = run("stage=calibrate", program="export")
        assert "onnxruntime: 178 operators" in text or "operators in int8" in text
        assert "python -m lidar_mt.evaluate stage=int8" in text
    return folder


EVALUATE = [item for item in RUN if item.startswith(("data.", "trainer.", "callbacks."))]


def scores_of(text, name):
    """Scores of a row of the comparison by column, without the differences."""
    (row,) = (line for line in text.splitlines() if re.match(rf" *{name}  ", line))
    return row.split()[len(name.split()) :]


@pytest.fixture
def compared(root, run, exported, monkeypatch):
    """Scores by network, after an evaluation of float, calibrate and others."""

    def get(*others):
        monkeypatch.setenv("COLUMNS", "250")
        for keys in (["stage=float"], ["stage=calibrate"], *others):
            text = run(*EVALUATE, *keys, f"out={root / 'scored'}", program="evaluate")
        assert "in brackets the difference to float" in text
        return lambda name: list(map(float, scores_of(text, name)))

    return get


def test_the_exported_network_has_the_scores_of_the_calibrated_one(compared, root, run):
    scores = compared(["stage=int8", "runtime=onnxruntime"])
    assert len(scores("calibrate")) > 5
    assert scores("float") != scores("calibrate")
    assert scores("int8 onnxruntime") == pytest.approx(scores("calibrate"), abs=0.0 if adds_exactly() else 0.5)
    told = run(f"out={root / 'report.html'}", program="report")
    assert "no compile estimate yet; python -m lidar_mt.compile target=ethos_u85 run_name=multitask" in told
    for command in re.findall(r"no (?:parity|sensitivity) yet; python -m lidar_mt\.(.*)", told):
        program, *words = shlex.split(command)
        run(*words, "--cfg", "job", program=program)
        assert set(RUN[:1]) <= set(words), "what the run was trained with"
    page = (root / "report.html").read_text(encoding="utf-8")
    assert ">Scores on " in page
    assert "int8 onnxruntime" in page
    assert ">Configuration<" in page


def test_evaluation_takes_the_sweeps_of_training_and_keeps_scores_with_others_apart(root, run):
    own = [item for item in EVALUATE if not item.startswith("data.num_sweeps")]  # 9 by default, trained with 1
    keys = [*own, "stage=float", "+trainer.limit_test_batches=1", f"out={root / 'swept'}"]
    assert "the network was trained with" not in run(*keys, program="evaluate")
    folder = root / "runs/multitask/published/scores"
    first = json.loads((folder / f"float_{VERSION}_val_limit_1.json").read_text())
    text = run(*keys, "data.num_sweeps=2", program="evaluate")
    assert "data.num_sweeps=2, but the network was trained with 1" in text
    other = json.loads((folder / f"float_{VERSION}_val_limit_1_2_sweeps.json").read_text())
    assert json.loads((folder / f"float_{VERSION}_val_limit_1.json").read_text()) == first
    assert other["data"] == f"{first['data']}, 2 sweeps"
    again = run(*keys, "data.num_sweeps=1", program="evaluate")
    assert "trained with" not in again
    assert json.loads((folder / f"float_{VERSION}_val_limit_1.json").read_text())["values"] == first["values"]


@pytest.mark.slow
def test_so_has_every_other_runtime(compared):
    scores = compared(["stage=int8"], ["stage=calibrate", "runtime=integer"], ["stage=int8", "runtime=openvino"])
    assert scores("int8 integer") == scores("calibrate integer") == scores("calibrate")
    assert scores("int8 openvino") == pytest.approx(scores("calibrate"), abs=3.0)  # an untrained network


def test_the_exported_network_detects_in_single_files(root, run, exported):
    frame = next((root / "nuscenes/samples/LIDAR_TOP").glob("*.pcd.bin"))
    for stage, runtime in (("calibrate", "torch"), ("int8", "integer"), ("int8", "openvino")):
        keys = (f"points={frame}", f"stage={stage}", f"runtime={runtime}", "score_threshold=0.0")
        run(*keys, f"out={root / stage / runtime}", program="infer")
    name = f"{frame.name.split('.')[0]}.json"
    both = [json.loads((root / folder / name).read_text()) for folder in ("calibrate/torch", "int8/integer")]
    made_with = [result.pop("made_with") for result in both]
    assert both[0] == both[1]
    assert made_with[0] != made_with[1]
    assert json.dumps(both[0]).count('"score"') > 10


def test_a_checkpoint_is_exported_for_a_runtime_only_where_a_frame_is_left(root, run, monkeypatch):
    frame = next((root / "nuscenes/samples/LIDAR_TOP").glob("*.pcd.bin"))
    keys = (f"points={frame}", "stage=calibrate", "runtime=integer", f"out={root / 'again'}")
    exported = []
    build = networks.build_artefact
    monkeypatch.setattr(networks, "build_artefact", lambda *a, **k: exported.append(a) or build(*a, **k))
    assert "1 frames, 0 left out, 0 skipped" in run(*keys, program="infer")
    assert "0 frames, 0 left out, 1 skipped" in run(*keys, program="infer")
    assert len(exported) == 1


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (("stage=float", "runtime=onnxruntime"), ["stage=float runtime=onnxruntime", "runs in torch"]),
        (("stage=int8", "runtime=torch"), ["stage=int8 runtime=torch", "integer, onnxruntime, openvino"]),
        (("stage=int8", "runtime=tensorflow"), ["tensorflow", "integer, onnxruntime, openvino"]),
        (("stage=int8", "artefact=nowhere"), ["no artefact at nowhere", "python -m lidar_mt.export"]),
    ],
)
def test_networks_that_are_not_there_are_named(run, keys, words):
    text = run(*keys, program="evaluate", status=2)
    assert all(word in text for word in words)


def test_what_cannot_be_exported_or_trained_is_named(root, run, exported):
    assert "stage=float has no integers" in run("stage=float", program="export", status=2)
    text = run("stage=calibrate", program="export", status=2)
    assert "exists already" in text
    assert "overwrite=true" in text
    before = (exported / "signature.json").stat().st_mtime_ns
    run("stage=calibrate", "overwrite=true", program="export")
    assert (exported / "signature.json").stat().st_mtime_ns > before
    assert "python -m lidar_mt.train stage=qat" in run("run_name=other", program="export", status=2)
    assert "python -m lidar_mt.export" in run(*RUN, "stage=int8", status=2)


def test_another_backbone_goes_the_whole_road_by_configuration(root, run):
    name = ("run_name=swapped", "model.backbone._target_=tests.helpers.plain_backbone.IntegerBackbone")
    for stage in ("float", "calibrate", "qat"):
        text = run(*RUN, *SHORT, *name, f"stage={stage}")
        assert stage == "float" or "not fused: none" in text
    assert "operators in int8" in run("run_name=swapped", program="export")
    data = [item for item in RUN if item.startswith("data.")]
    run(*data, "run_name=swapped", "samples=1", "require_equal=true", f"out={root / 'swapped'}", program="parity")
