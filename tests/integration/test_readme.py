"""Every command of the README, in its order, on a small simulated data set."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import lidar_mt
from tests.helpers.documented import MORE, README, ROOT, Documented, commands

VERSION = "data.version=v1.0-mini"
#: Commands that do not run here, and why; test_documented.py holds that they compose.
NOT_RUN = {
    "make demo": "takes 16 minutes; its commands are those of the tutorial, which run small",
    "make test": "runs these tests",
    "python -m lidar_mt.train resume=last": "needs a run that was stopped, see test_exact_resume.py",
}
WRITTEN = list({command.text: command for command in commands(README)}.values())
COMMANDS = [command for command in WRITTEN if command.text not in NOT_RUN]
#: What stands for the README's capitals and dots.
PLACES = {
    "src=DIR": "src=data/nuscenes",
    "packed=DIR": "packed=data/packed",
    "data_root=DIR": "data_root=data/nuscenes",
    "run_name=NAME": "run_name=multitask",
    "version=...": "version=v1.0-mini",
}
#: What makes a command short, or goes on where the README means another folder.
HERE = {
    "simulate": ("out=data/again", "scenes=1", "keyframes=2", "sweeps=0"),
    "pack_data": ("out=data/packed", "overwrite=true"),
    "create_data": ("overwrite=true",),
    "train": (VERSION, "trainer.max_epochs=1", "+trainer.limit_train_batches=4"),
    "evaluate": (VERSION,),
    "export": (VERSION,),
    "sensitivity": (VERSION, "samples=1"),
    "parity": (VERSION,),
    "search": (*MORE["train"], VERSION, "trainer.max_epochs=1", "hparams_search.trials=1"),
}


def run_make(words: tuple[str, ...], folder: Path) -> None:
    """Runs a target in a folder that looks like the checkout, with this interpreter in the place of a set-up .venv."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(ROOT / name)
    stamp = folder / "installed"
    stamp.touch()
    sources = os.pathsep.join([str(Path(lidar_mt.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        ["make", *words, f"PY={sys.executable}", f"STAMP={stamp}"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": sources},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"


def arguments(command: Documented, frame: Path) -> list[str]:
    words = [PLACES.get(word, word).replace("<name>", frame.name.removesuffix(".pcd.bin")) for word in command.words]
    words = [word.replace("points=FILE", f"points={frame}") for word in words]
    if "results=FILE" in words:
        file = next(Path("runs/multitask/evaluate_float").glob("*/nuscenes_eval/results_nusc.json"))
        return [word.replace("results=FILE", f"results={file}").replace("out=DIR", "out=scores") for word in words]
    more = (*MORE.get(command.program, ()), *HERE.get(command.program, ()))
    if "model=detection" in words:
        more = tuple(item for item in more if not item.startswith("model.head.segmentation"))
    changed = {item.partition("=")[0] for item in more}
    return [*(word for word in words if word.partition("=")[0] not in changed - {"data.version"}), *more]


def test_a_reason_is_given_for_commands_that_are_there():
    assert set(NOT_RUN) <= {command.text for command in WRITTEN}


@pytest.mark.slow
def test_the_readme_runs_as_written(programs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert programs("simulate", "out=data/nuscenes", "scenes=10", "keyframes=4", "sweeps=1").status == 0
    frame = next((tmp_path / "data/nuscenes/samples/LIDAR_TOP").iterdir())
    for command in COMMANDS:
        print(command.text)
        if command.program == "make":
            run_make(command.words, tmp_path)
            continue
        done = programs(command.program, *arguments(command, frame))
        assert done.status == 0, f"{command.text}\n{done.err}"
