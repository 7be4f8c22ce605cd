"""What one program tells or starts of another: with the folder of own options, and in an order that Hydra reads."""

from __future__ import annotations

import shlex

import pytest

from lidar_mt.config.commands import told_command


@pytest.fixture
def own_options(tmp_path):
    """A folder of own configuration files with a space in its name."""
    folder = tmp_path / "my conf"
    (folder / "optimizer").mkdir(parents=True)
    (folder / "optimizer/mine.yaml").write_text("_target_: torch.optim.AdamW\nlr: 3e-4\n", encoding="utf-8")
    return folder


def test_options_come_behind_all_overrides():
    command = told_command("train", ["stage=qat", "--config-dir=some dir", "seed=1"])
    assert shlex.split(command) == ["python", "-m", "lidar_mt.train", "stage=qat", "seed=1", "--config-dir=some dir"]


@pytest.mark.parametrize(
    ("program", "arguments", "asked"),
    [
        ("evaluate", ["stage=qat", "split=val"], "lidar_mt.train"),
        ("infer", ["stage=int8", "points=FILE.bin"], "lidar_mt.export"),
        ("export", [], "lidar_mt.train"),
        ("parity", ["b=int8:integer"], "lidar_mt.train"),
        ("train", ["stage=qat"], "lidar_mt.train"),
    ],
)
def test_a_missing_network_is_made_by_a_command_that_runs(
    program, arguments, asked, own_options, tmp_path, monkeypatch, programs
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE.bin").write_bytes(b"")
    done = programs(program, "--config-dir", str(own_options), "optimizer=mine", *arguments)
    assert done.status == 2, done.err
    (told,) = (line for line in done.err.splitlines() if line.startswith("python -m "))
    words = shlex.split(told)
    assert words[2] == asked
    assert words[-1] == f"--config-dir={own_options}"
    again = programs(asked.rpartition(".")[2], *words[3:], "--cfg", "job")
    assert again.status == 0, again.err
