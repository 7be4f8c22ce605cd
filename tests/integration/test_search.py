"""A search over real, tiny training runs, killed in between."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("optuna")

VERSION = "v1.0-mini"
OVERRIDES = [
    "grid.voxel_size=[3.2,3.2,8.0]",
    f"data.version={VERSION}",
    "data.num_workers=0",
    "data.batch_size=2",
    "model=segmentation",
    "task=segmentation",
    "trainer.precision=32-true",
    "callbacks.pictures=null",
    "logger=none",
    "hparams_search.monitor=val/mIoU",
    "hparams_search.startup_trials=1",
    "hparams_search.warmup_validations=0",
    "hparams_search.trials=3",
]


def search(root: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "LIDAR_MT_DATA": str(root), "LIDAR_MT_RUNS": str(root / "my runs")}
    own = root / "own/experiment"
    own.mkdir(parents=True, exist_ok=True)
    (own / "short.yaml").write_text("# @package _global_\ntrainer:\n  max_epochs: 2\n", encoding="utf-8")
    options = ["experiment=short", "--config-dir", str(own.parent)]
    command = [sys.executable, "-m", "lidar_mt.search", *OVERRIDES, *arguments, *options]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.slow
def test_three_trials_with_a_kill_in_between(programs, tmp_path):
    raw, packed = tmp_path / "nuscenes", tmp_path / "packed"
    simulated = ["scenes=3", "keyframes=2", "sweeps=0", "workers=1"]
    assert programs("simulate", f"out={raw}", f"version={VERSION}", *simulated).status == 0
    for split in ("train", "val"):
        packing = [f"src={raw}", f"version={VERSION}", f"split={split}", f"out={packed}", "workers=1"]
        assert programs("pack_data", *packing).status == 0
    folder = tmp_path / "my runs/multitask/search_optimizer"

    first = search(tmp_path)
    deadline = time.monotonic() + 600
    while not (folder / "trial_001/config.yaml").is_file() and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    first.send_signal(signal.SIGKILL)
    first.wait()

    second = search(tmp_path)
    output, _ = second.communicate()
    assert second.returncode == 0, output
    assert "going on with 1 of 3 trials" in output
    rows = list(csv.DictReader((folder / "trials.csv").open()))
    states = {int(row["trial"]): row["state"] for row in rows}
    assert states[0] == "complete"
    assert states[1] == "fail"
    assert sum(state in ("complete", "pruned") for state in states.values()) == 3
    assert len({row["optimizer.lr"] for row in rows}) == len(rows)
    for row in rows:
        assert row["state"] != "pruned" or int(row["validations"]) <= 2
    assert (folder / "trials.png").stat().st_size > 5000
    assert "optimizer.lr=" in (folder / "best.txt").read_text()


def test_mistakes_are_named_before_a_trial_starts(programs, tmp_path, monkeypatch):
    monkeypatch.setenv("LIDAR_MT_RUNS", str(tmp_path))
    for override, word in [
        ("hparams_search.trails=3", "hparams_search.trials"),
        ("+hparams_search.space.optimizer.lrr={low:1,high:2}", "lr"),
        ("hparams_search.mode=maximum", "max, min"),
        ("hparams_search=loss_weights", "loss"),
    ]:
        outcome = programs("search", override)
        assert outcome.status == 2
        assert word in outcome.err, outcome.err
        assert "Traceback" not in outcome.err
    assert not list(tmp_path.rglob("study.db"))
