from __future__ import annotations

import os
import subprocess
import sys

import pytest

# In a process of its own, which the watcher would kill.
SCRIPT = """
import os, subprocess, sys, time
from types import SimpleNamespace
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.strategies.launchers.subprocess_script import _ChildProcessObserver
from pytorch_lightning.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from lidar_mt.engine.ranks import end_children

launcher = _SubprocessScriptLauncher(LightningEnvironment(), 2, 1)
launcher.procs = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])]
child = launcher.procs[0]
_ChildProcessObserver(os.getpid(), launcher.procs, sleep_period=0.05).start()
trainer = SimpleNamespace(strategy=SimpleNamespace(launcher=launcher))
if sys.argv[1] == "lives":
    end_children(trainer)
else:
    launcher.kill(9)
time.sleep(1)
print("lives on", child.returncode)
"""


@pytest.mark.parametrize(
    ("how", "status", "text"),
    [("lives", 0, "lives on -9"), pytest.param("is killed", -9, "", marks=pytest.mark.slow)],
)
def test_a_rank_that_ends_the_others_lives_long_enough_to_say_why(how, status, text) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", SCRIPT, how]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == status, done.stderr
    assert text in done.stdout
