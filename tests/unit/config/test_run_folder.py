"""What stays of a run that ended with an error."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import hydra.core.utils
import pytest

from lidar_mt.config.run_folder import discard

OWN = {".hydra", "train.log", "changes.yaml"}


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIDAR_MT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("LIDAR_MT_DATA", str(tmp_path))
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


def begun(folder: Path) -> Path:
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra/config.yaml").write_text("a: 1")
    (folder / "train.log").write_text("begun")
    return folder


@pytest.mark.parametrize(
    "command",
    [
        ("evaluate",),
        ("train", "stage=qat"),
        ("train", "stage=float", "data.batch_size=0"),
        ("train", "-m", "stage=qat", "seed=1,2"),
        ("parity",),
        ("sensitivity", "stage=calibrate"),
        ("search", "hparams_search.monitor=val/nothing"),
    ],
)
def test_a_program_that_stops_at_once_leaves_no_folder_and_no_run(programs, runs, command) -> None:
    outcome = programs(*command, "run_name=nope")
    assert outcome.status == 2, outcome.err
    assert list(runs.iterdir()) == []
    told = programs("report", "run_name=nope")
    assert (told.status, "error: no run at" in told.err) == (2, True)


def test_a_folder_that_the_command_line_names_stays_and_is_empty(programs, runs, tmp_path) -> None:
    assert programs("evaluate", "run_name=nope", f"out={tmp_path / 'mine'}").status == 2
    assert list((tmp_path / "mine").iterdir()) == []
    (tmp_path / "mine/notes.txt").write_text("mine")
    assert programs("evaluate", "run_name=nope", f"out={tmp_path / 'mine'}").status == 2
    assert "evaluate.log" in {path.name for path in (tmp_path / "mine").iterdir()}, "something of its own lies there"


def test_a_run_that_left_something_keeps_everything(runs) -> None:
    folder = begun(runs / "demo/float/1")
    (folder / "config.yaml").write_text("a: 1")
    discard(folder, OWN, runs)
    assert {path.name for path in folder.iterdir()} == {".hydra", "train.log", "config.yaml"}


def test_folders_above_go_as_long_as_they_are_empty(runs) -> None:
    other = begun(runs / "demo/float/1")
    discard(begun(runs / "demo/qat/2"), OWN, runs)
    assert [path.name for path in (runs / "demo").iterdir()] == ["float"]
    (runs / "demo/float/multirun.yaml").write_text("")
    discard(other, OWN, runs)
    assert list(runs.iterdir()) == [], "what a multirun leaves is nothing of its own"
    discard(runs / "gone", OWN, runs)


def test_a_run_without_any_content_is_no_run(programs, runs) -> None:
    begun(runs / "old/evaluate_float/1")  # of a version that left them
    told = programs("report", "run_name=old")
    assert (told.status, "error: no run at" in told.err) == (2, True)
    assert not (runs / "old/report.html").exists()


def test_the_time_in_a_folder_s_name_is_no_change(programs, runs, monkeypatch) -> None:
    class Ticking(datetime):
        """Each look at the clock is a second later."""

        looks = 0

        @classmethod
        def now(cls, tz=None):
            cls.looks += 1
            return datetime(2026, 1, 1, tzinfo=tz) + timedelta(seconds=cls.looks)

    monkeypatch.setattr(hydra.core.utils, "datetime", Ticking)
    outcome = programs("evaluate")
    assert Ticking.looks > 0
    assert "no keys that differ from the defaults" in outcome.out
