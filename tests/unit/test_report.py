"""The page about a run: what it shows, what it leaves out, and what it says of that."""

from __future__ import annotations

import html
import re
import shutil
from pathlib import Path

import pytest
from torch.utils.tensorboard import SummaryWriter

from lidar_mt.config.origin import NETWORKS, origin_of
from lidar_mt.config.places import Place
from lidar_mt.metrics.json_files import write_json
from lidar_mt.metrics.scoreboard import SCORES, Score, digest, told_folder, write_score
from lidar_mt.visualization.figure import new_figure, save_figure


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run with two published checkpoints."""
    monkeypatch.setenv("LIDAR_MT_RUNS", str(tmp_path / "runs"))
    published = tmp_path / "runs/demo/published"
    published.mkdir(parents=True)
    for stage in ("float", "calibrate"):
        (published / f"{stage}-best.ckpt").write_bytes(stage.encode())
    return published.parent


@pytest.fixture
def page(programs, run):
    """Writes the page; gives back its words, without pictures."""

    def write(at: Path = run) -> str:
        outcome = programs("report", "run_name=demo", f"paths.runs={at.parent}")
        assert outcome.status == 0, outcome.err
        text = re.sub(r"data:image/png;base64,[^\"]+|<wbr>", "", (at / "report.html").read_text(encoding="utf-8"))
        return html.unescape(" ".join(re.sub(r"<style>.*?</style>|<[^>]+>", " ", text, flags=re.S).split()))

    return write


def scored(run: Path, stage: str, data: str = "mini val") -> Path:
    """A score with a picture; gives back the folder of pictures."""
    folder, pictures = run / "published" / SCORES, run / f"evaluate_{stage}/1/pictures"
    save_figure(new_figure(40, 40), pictures / "best_0.png")
    source = run / "published" / f"{stage}-best.ckpt"
    told = told_folder(pictures, folder)
    write_score(folder, Score(stage, data, digest(source), source.name, {"NDS": 0.5}, 9, told, {"best_0": "token"}))
    return pictures


def studied(run: Path, kind: str, name: str, stage: str = "calibrate") -> None:
    """A result of parity or sensitivity."""
    folder = run / kind / name
    folder.mkdir(parents=True)
    title = kind.partition("_")[0]
    (folder / f"{title}.txt").write_text(f"found by {name}\n\nrows\n")
    place = Place(stage, stage, "torch", run / "published" / f"{stage}-best.ckpt")
    write_json(folder / f"{title}.json", {NETWORKS: {stage: origin_of(place, run / "published")}})


@pytest.mark.parametrize("kind", ["parity", "sensitivity_calibrate"])
def test_what_is_of_another_network_is_not_shown(run, page, kind) -> None:
    studied(run, kind, "first")
    assert "found by first" in page()
    (run / "published/calibrate-best.ckpt").write_bytes(b"trained again")
    text = page()
    assert "found by" not in text
    assert f"{kind}/first is of another network" in text
    program = kind.partition("_")[0]
    assert f"python -m lidar_mt.{program}" in text
    studied(run, kind, "second")
    text = page()
    assert "found by second" in text
    assert "another network" not in text
    (run / kind / "third").mkdir()
    shutil.copy(run / kind / "first" / f"{program}.json", run / kind / "third")  # newer, and of the network before
    assert "found by second" in page()


def test_missing_parts_and_their_commands_stand_on_the_page(run, page) -> None:
    text = page()
    for part, command in (
        ("scores", "evaluate stage=float run_name=demo"),
        ("parity", "parity run_name=demo"),
        ("sensitivity", "sensitivity stage=calibrate run_name=demo"),
        ("compile estimate", "compile target=ethos_u85 run_name=demo"),
        ("configuration", "train stage=float run_name=demo"),
    ):
        assert f"{part} python -m lidar_mt.{command}" in text
    scored(run, "float")
    assert "scores python" not in page()


def test_commands_take_what_the_training_was_given_and_nothing_of_other_programs(run, page) -> None:
    for folder, words in (("float/2026-01-01", "[data.version=v1.0-mini]"), ("evaluate_float/2026-02-02", "[seed=7]")):
        (run / folder / ".hydra").mkdir(parents=True)
        (run / folder / ".hydra/overrides.yaml").write_text(words)
    assert "python -m lidar_mt.parity data.version=v1.0-mini run_name=demo" in page()


def test_a_difference_to_float_is_explained_where_there_is_one(run, page) -> None:
    scored(run, "calibrate")
    assert "difference to float" not in page()
    scored(run, "float")
    assert "small: the difference to float" in page()


def test_pictures_move_with_the_run_and_are_missed_where_they_are_gone(run, page, tmp_path) -> None:
    pictures = {stage: scored(run, stage) for stage in ("float", "calibrate")}
    moved = Path(shutil.move(run, tmp_path / "moved/demo"))
    text = page(moved)
    assert "found best, 1 float calibrate" in text
    assert "no more" not in text
    lost = moved / pictures["float"].relative_to(run)
    shutil.rmtree(lost)
    text = page(moved)
    assert "found best, 1 calibrate" in text
    assert f"The pictures of float were in {lost}, which is no more" in text
    shutil.rmtree(moved / pictures["calibrate"].relative_to(run))
    assert "pictures python -m lidar_mt.evaluate" in page(moved)


def test_pictures_are_of_one_kind_of_data(run, page) -> None:
    scored(run, "float")
    scored(run, "float", "mini val, 9 sweeps")
    text = page()
    assert "Scores on mini val, 9 sweeps" in text
    assert text.count("found best, 1 float") == 1
    assert "found best, 1 float float" not in text


def test_what_a_training_did_not_log_is_said(run, page) -> None:
    writer = SummaryWriter(str(run / "float/1/tensorboard"))
    for step in range(3):
        writer.add_scalar("train/loss", 1.0, step)
    writer.close()
    assert "float: 1 run; nothing was logged for validation, learning rate" in page()
    writer = SummaryWriter(str(run / "float/2/tensorboard"))
    writer.add_scalar("val/NDS", 0.4, 3)  # a single one
    writer.close()
    assert "float: 2 runs; nothing was logged for learning rate" in page()
