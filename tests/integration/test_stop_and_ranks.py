"""The training program under signals, on two ranks, and in awkward surroundings."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

from lidar_mt.data.packing import pack_split
from lidar_mt.engine.checkpoint import read_checkpoint
from tests.helpers.tiny_lidar import VERSION, write_raw_nuscenes
from tests.helpers.training import SMALL_NETWORK

RUN = (
    *SMALL_NETWORK,
    f"data.version={VERSION}",
    "data.batch_size=1",
    "trainer.max_epochs=2",
    "trainer.precision=32-true",
    "trainer.accelerator=cpu",
    "callbacks.pictures=null",
    "+callbacks.progress.interval_s=0",
)
ONE = ("trainer.devices=1", "data.num_workers=1")
TWO = ("trainer.devices=2", "trainer.strategy=ddp", "data.num_workers=0")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Five training and five validation keyframes, in a folder whose name is no ASCII."""
    root = tmp_path_factory.mktemp("ranks") / "größe und so"
    write_raw_nuscenes(root / "raw", keyframes=5, between=1, scenes=("scene-0103", "scene-0061"))
    for split in ("train", "val"):
        pack_split(root / "raw", VERSION, split, root / "packed")
    return root


def start(data, runs, *overrides, program="train"):
    """The program in a process group of its own, with next to nothing in its environment."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "LIDAR_MT_DATA": str(data),
        "LIDAR_MT_RUNS": str(runs),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "LIDAR_MT_TRUSTED_PACKAGES": "tests",
    }
    return subprocess.Popen(
        [sys.executable, "-m", f"lidar_mt.{program}", *overrides],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def stop(process, step, signum, group=False):
    """Waits for a step's line, sends the signal, and returns the exit status and what was printed."""
    before = ""
    for line in process.stdout:
        before += line
        if f"step {step}/" in line:
            break
    (os.killpg if group else os.kill)(process.pid, signum)
    out, err = process.communicate(timeout=300)
    return process.returncode, before + out + err


def weights(runs, name):
    return read_checkpoint(runs / name / "published/float-last.ckpt")["state_dict"]


def assert_same_weights(left, right):
    assert left.keys() == right.keys()
    assert max(float((left[key].double() - right[key].double()).abs().max()) for key in left) == 0.0


def test_ctrl_c_saves_and_the_next_run_goes_on(data, tmp_path):
    status, text = stop(start(data, tmp_path, *RUN, *ONE, "run_name=a"), 2, signal.SIGINT, group=True)
    assert status == 130, text
    assert "SIGINT: stopped after step" in text
    assert "python -m lidar_mt.train" in text
    (last,) = (tmp_path / "a").rglob("last.ckpt")
    assert f"resume={last}" in text
    assert 2 <= read_checkpoint(last)["global_step"] < 10
    assert not (tmp_path / "a/published").exists()
    finish(start(data, tmp_path, *RUN, *ONE, "run_name=a", "resume=last"))
    assert read_checkpoint(tmp_path / "a/published/float-last.ckpt")["global_step"] == 10
    again = start(data, tmp_path, *RUN, *ONE, "run_name=a", "resume=last")
    assert "no unfinished run" in again.communicate(timeout=300)[1]
    assert again.returncode == 2


def test_two_ranks_train_and_stop_by_configuration(data, tmp_path):
    process = start(data, tmp_path, *RUN, *TWO, "run_name=b")
    status, text = stop(process, 2, signal.SIGTERM)
    assert status == 143, text
    assert "each normalises over its own samples" in text
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # nobody is left of its group
    (last,) = (tmp_path / "b").rglob("last.ckpt")
    stopped = read_checkpoint(last)
    assert 2 <= stopped["global_step"] < 6
    assert len(stopped["random_state"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("group", [False, True], ids=["main process", "all processes"])
@pytest.mark.parametrize("ranks", [ONE, TWO], ids=["one rank", "two ranks"])
def test_stopped_and_resumed_programs_end_with_the_same_weights(data, tmp_path, ranks, group):
    finish(start(data, tmp_path, *RUN, *ranks, "run_name=through"))
    name, step = "run_name=parts", 1
    for resume in ((), ("resume=last",)):
        status, text = stop(start(data, tmp_path, *RUN, *ranks, name, *resume), step, signal.SIGTERM, group)
        assert status == 143, text
        step = 4
    finish(start(data, tmp_path, *RUN, *ranks, name, "resume=last"))
    assert_same_weights(weights(tmp_path, "through"), weights(tmp_path, "parts"))


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [ONE, TWO], ids=["one rank", "two ranks"])
def test_a_loss_that_is_no_number_on_one_rank_stops_all(data, tmp_path, ranks):
    bad = "task.segmentation.loss._target_=tests.helpers.own_parts.NanOnLastRank"
    process = start(data, tmp_path, *RUN, *ranks, bad, "callbacks.nan_guard.max_in_a_row=1", "run_name=d")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 2, err
    (message,) = re.findall(r"^error: (loss or gradients of step .*)$", err, re.MULTILINE)
    samples = (2 if ranks is TWO else 1) * r" scene-0061-[0-9]+"
    wanted = rf"loss or gradients of step 2 are not finite; samples:{samples}\. 2 steps in a row; lower optimizer"
    assert re.match(wanted, message)
    assert out.count("The step is left out (1 in a row)") == 1
    assert "Traceback" not in err
    assert not (tmp_path / "d/published").exists()
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # nobody is left of its group


@pytest.mark.slow
def test_two_ranks_give_the_scores_of_one(data, tmp_path):
    finish(start(data, tmp_path, *RUN, *ONE, "run_name=c"))
    scores = []
    for name, ranks in (("one", ONE), ("two", TWO)):
        out = tmp_path / f"out_{name}"
        overrides = ["run_name=c", f"data.version={VERSION}", f"out={out}", "trainer.accelerator=cpu"]
        network = ["trainer.precision=32-true", "data.batch_size=1"]
        finish(start(data, tmp_path, *overrides, *network, *ranks, program="evaluate"))
        scores.append(json.loads((out / "metrics.json").read_text()))
    assert scores[0]["detection"]["num_samples"] == 5
    assert scores[0] == scores[1]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare to mount disks")
@pytest.mark.parametrize("megabytes", [1, 3, 6])
def test_a_disk_that_fills_up_while_training_is_called_by_its_name(data, tmp_path, megabytes):
    script = f"mount -t tmpfs -o size={megabytes}m tmpfs {tmp_path} && exec {sys.executable} -m lidar_mt.train "
    script += " ".join(f"'{item}'" for item in (*RUN, *ONE))
    environment = {**os.environ, "LIDAR_MT_DATA": str(data), "LIDAR_MT_RUNS": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if "mount" in done.stderr.split("\n")[0]:
        pytest.skip(f"cannot mount a small disk here: {done.stderr[:100]}")
    assert done.returncode not in (0, -signal.SIGKILL)
    assert "disk full" in done.stdout + done.stderr
