"""The report on installations that are whole, and on ones that are broken on purpose."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lidar_mt.environment.findings import Finding, render
from lidar_mt.environment.isolation import ask
from lidar_mt.environment.packages import declared, probes

#: Put first on the path of the child processes; Python runs it at their start.
SITE = """
import importlib.abc, os, sys

class Broken(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "xxhash":
            raise ImportError("libxxhash.so: cannot open shared object file")
        if name == "rich":
            raise AttributeError("built for another release")
        if name == "msgspec":
            os.kill(os.getpid(), 4)  # an instruction that this processor lacks
        return None

sys.meta_path.insert(0, Broken())
"""


def run(*arguments, folder=None, **changes):
    environment = {**os.environ, **{key: value for key, value in changes.items() if value is not None}}
    for key in [key for key, value in changes.items() if value is None]:
        environment.pop(key, None)
    command = [sys.executable, "-m", "lidar_mt.doctor", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done


def by_name(done):
    return {finding["name"]: finding for finding in json.loads(done.stdout)}


@pytest.fixture
def data(tmp_path):
    """A data root with a truncated store, a folder that is no store, a raw root and a published checkpoint."""
    store = tmp_path / "data/packed/v1.0-mini/val_lmdb"
    store.mkdir(parents=True)
    (store / "data.mdb").write_bytes(b"\0" * 100)
    (store / "manifest.json").write_text("{")
    (tmp_path / "data/packed/v1.0-mini/train_lmdb").mkdir()
    (tmp_path / "data/nuscenes/v1.0-mini").mkdir(parents=True)
    (tmp_path / "data/nuscenes/v1.0-mini/sample.json").write_text("[]")
    (tmp_path / "runs/demo/published").mkdir(parents=True)
    published = tmp_path / "runs/demo/published"
    (published / "float-best.ckpt").write_bytes(b"x")
    for name in ("calibrate-best", "qat-best", "own-best"):
        torch.save({"state_dict": {"net.weight": torch.zeros(1000)}}, published / f"{name}.ckpt")
    (published / "calibrate-config.yaml").write_text("quant: {}\n")
    (published / "qat-config.yaml").write_text("quant: {}\n")
    whole = (published / "qat-best.ckpt").read_bytes()
    kept = tmp_path / "runs/demo/qat/2026-01-01_00-00-00/checkpoints/best.ckpt"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(whole)
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 1  # one bit of a weight, which torch alone would not notice
    (published / "qat-best.ckpt").write_bytes(damaged)
    return tmp_path


def test_a_whole_installation_with_damaged_data(data):
    done = run("json=true", f"out={data / 'report.json'}", folder=data, LIDAR_MT_DATA="data", HOME=None, DISPLAY=None)
    assert done.returncode == 0, done.stdout + done.stderr
    findings = by_name(done)
    assert json.loads((data / "report.json").read_text()) == json.loads(done.stdout)
    for name in ("python", "libc", "memory", "torch", "hydra-core", "numpy", "cpu", "train", "raw"):
        assert findings[name]["state"] == "ok", findings[name]
    assert findings["torch"]["detail"].startswith(torch.__version__.split("+")[0])
    assert "v1.0-mini" in findings["raw"]["detail"]
    assert findings["v1.0-mini/val"]["state"] == "broken"
    assert "manifest.json" in findings["v1.0-mini/val"]["detail"]
    assert "verify_data" in findings["v1.0-mini/val"]["advice"]
    assert "no finished lmdb" in findings["v1.0-mini/train"]["detail"]
    assert findings["demo/float-best"]["state"] == "broken"
    assert "is damaged" in findings["demo/float-best"]["detail"]
    assert "train stage=float run_name=demo" in findings["demo/float-best"]["advice"]
    assert findings["demo/calibrate-best"]["state"] == "ok"
    assert "no config.yaml beside it" in findings["demo/own-best"]["detail"]
    assert "checksum" in findings["demo/qat-best"]["detail"]
    assert findings["demo/qat-best"]["advice"].startswith("cp runs/demo/qat/2026-01-01_00-00-00/checkpoints/best.ckpt ")
    secret = {"SECRET_TOKEN", "HOSTNAME", "USER", "PATH"}
    assert not secret & set(findings)


def test_broken_packages_are_named_and_the_rest_is_still_looked_at(data):
    (data / "site").mkdir()
    (data / "site/sitecustomize.py").write_text(SITE)
    path = os.pathsep.join(filter(None, [str(data / "site"), os.environ.get("PYTHONPATH")]))
    done = run(folder=data, PYTHONPATH=path)
    assert done.returncode == 2
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert "libxxhash.so" in lines["xxhash"]
    assert "FAILED" in lines["xxhash"]
    assert "built for another release" in lines["rich"]
    assert "SIGILL" in lines["msgspec"]
    assert "FAILED" not in lines["zstandard"]
    assert "FAILED" not in lines["torch"]
    # And what is built on them.
    verdict = done.stdout.splitlines()[-1]
    assert verdict.startswith("required and not working: msgspec, ")
    assert {"rich", "xxhash", "train"} <= set(verdict.replace(",", "").split())
    assert "pip install" in done.stdout


def test_what_is_broken_is_not_called_ready():
    fine, broken = Finding("runs", "a", "ok", ""), Finding("runs", "b", "broken", "")
    assert render([fine]).splitlines()[-1] == "ready"
    assert render([fine, broken]).splitlines()[-1] == "broken: b; what does not need them works"
    assert render([fine, broken, Finding("packages", "c", "failed", "")]).endswith("not working: c")


def test_every_installed_package_is_looked_for_under_the_name_it_is_imported_by():
    found = probes(declared())
    assert len(found) > 10
    for distribution, (_, name) in found.items():
        assert importlib.util.find_spec(name) is not None, distribution


def test_a_wrong_key_of_the_configuration_is_told():
    (answer,) = ask([["configuration", "+paths.rot=x"]])
    assert answer.error.endswith("unknown key 'paths.rot'. Did you mean 'paths.root'?")


def test_help_and_mistakes():
    assert "json=true" in run("--help").stdout
    done = run("everything")
    assert done.returncode == 2
    assert "everything" in done.stderr


def test_what_is_required_comes_from_the_package_itself():
    found = {each.name: each for each in declared()}
    assert found["torch"].extra == ""
    assert found["optuna"].extra == "sweep"
    assert "pytest" not in found
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert all(name in text for name in found)


def test_a_probe_that_fails_ends_alone():
    answers = ask([["imports", "json"], ["imports", "no_such_module"], ["imports", "math"]])
    assert [bool(answer.error) for answer in answers] == [False, True, False]
    assert answers[1].error == "ModuleNotFoundError: No module named 'no_such_module'"
