"""Every command that README, docs and scripts show is one that its program takes."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from tests.helpers.documented import PAGES, ROOT, Documented, commands, compose_quickly, makefile_targets, parse

from lidar_mt.structures.errors import ConfigError

WRITTEN = list({command.text: command for page in PAGES for command in commands(page)}.values())
PROGRAMS = [command for command in WRITTEN if command.program != "make"]
#: Commands whose configuration another command writes first.
NEED_A_FILE = [command for command in PROGRAMS if "--config-dir" in command.words]
WORKING = [command for command in PROGRAMS if not command.refusal and command not in NEED_A_FILE]
REFUSED = [command for command in PROGRAMS if command.refusal]
#: The Makefile's and the scripts' variables, which a user may set.
VARIABLES = re.compile(r"^([A-Z]+) \?=|: \"\$\{([A-Z]+):=|\"\$\{([A-Z]+):=", re.MULTILINE)


def name(command: Documented) -> str:
    return f"{command.page}: {command.text}"


def refused(command: Documented) -> bool:
    try:
        compose_quickly(command.program, command.job())
    except (ConfigError, HydraException, OmegaConfBaseException):
        return True
    return False


def test_the_pages_are_read():
    pages = {command.page for command in WRITTEN}
    assert {"README.md", "tutorial.md", "deploy.md", "inference.md", "quantization.md", "training.md"} <= pages
    raw = sum(len(re.findall(r"python -m lidar_mt\.\w", page.read_text(encoding="utf-8"))) for page in PAGES)
    assert sum(c.program != "make" for page in PAGES for c in commands(page)) == raw, "a command was overlooked"


@pytest.mark.parametrize("command", WORKING, ids=name)
def test_every_documented_command_composes(command):
    compose_quickly(command.program, command.job())


@pytest.mark.parametrize("command", REFUSED, ids=name)
def test_a_documented_mistake_is_answered_as_documented(programs, command):
    outcome = programs(command.program, *command.job())
    assert outcome.status == 2
    assert outcome.err.splitlines()[0] == command.refusal


def test_a_file_that_another_command_writes_is_the_only_exception():
    assert [command.text.split()[-1].split("/")[2] for command in NEED_A_FILE] == ["sensitivity_calibrate"]


@pytest.mark.parametrize(
    "line",
    [
        "python -m lidar_mt.infer points=FOLDER recursiv=true",
        "python -m lidar_mt.evaluate stage=int8 run_time=openvino",
        "python -m lidar_mt.train -m optimizer.lrr=1e-4,2e-4",
        "python -m lidar_mt.train stage=flaot",
        "python -m lidar_mt.pack_data src=DIR versoin=... split=train out=DIR",
        "python -m lidar_mt.parity a=float b=qat samples=many",
    ],
)
def test_a_misspelt_command_would_be_found(line):
    assert refused(parse("page.md", line))


def test_configuration_that_a_page_shows_is_that_of_the_file():
    blocks = [
        (page.name, *block.groups())
        for page in PAGES
        for block in re.finditer(r"^```yaml\n# (conf/\S+)\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    ]
    assert len(blocks) >= 7
    for page, path, shown in blocks:
        assert shown in (ROOT / path).read_text(encoding="utf-8"), f"{page} shows {path} as it was"


def test_documented_targets_and_variables_are_those_of_the_makefile():
    sources = [ROOT / "Makefile", *(ROOT / "scripts").glob("*.sh")]
    found = {one for path in sources for match in VARIABLES.findall(path.read_text(encoding="utf-8")) for one in match}
    for command in WRITTEN:
        if command.program == "make":
            target, *variables = command.words
            assert target in makefile_targets(), command
            assert {item.partition("=")[0] for item in variables} <= found, command


@pytest.mark.parametrize("script", sorted((ROOT / "scripts").glob("*.sh")), ids=lambda path: path.name)
def test_every_command_of_a_script_composes(script, tmp_path):
    stub = tmp_path / "python"
    stub.write_text('#!/bin/sh\n[ "$1" = -m ] || exit 0\nshift\nprintf "%s\\n" "$@" "" >>"$CALLS"\n')
    stub.chmod(0o755)
    frame = tmp_path / "out/data/nuscenes/samples/LIDAR_TOP/scene-0003.pcd.bin"
    frame.parent.mkdir(parents=True)
    frame.touch()  # which the script looks for
    environment = {**os.environ, "PYTHON": str(stub), "CALLS": str(tmp_path / "calls"), "DEMO": str(tmp_path / "out")}
    environment |= {
        "BENCHMARK": environment["DEMO"],
        "TASKS": "multitask detection",
        "STAGES": "float calibrate qat int8",
    }
    subprocess.run(["bash", str(script)], env=environment, cwd=tmp_path, check=True, capture_output=True)
    calls = Path(environment["CALLS"]).read_text().strip().split("\n\n")
    assert len(calls) >= 7
    for call in calls:
        module, *overrides = call.splitlines()
        compose_quickly(module.removeprefix("lidar_mt."), overrides)
