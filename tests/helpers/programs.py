"""Runs the project's programs in this process, as their command lines would."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass

import pytest
from hydra.core.global_hydra import GlobalHydra


@dataclass
class Outcome:
    """What a program left behind: exit status, standard output and standard error."""

    status: int
    out: str
    err: str


class Programs:
    """Runs programs and captures what they print.

    Args:
        monkeypatch: replaces the command line for the call.
        capsys: captures both outputs.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, name: str, *overrides: str) -> Outcome:
        module = importlib.import_module(f"lidar_mt.{name}")
        GlobalHydra.instance().clear()
        self._monkeypatch.setattr(sys, "argv", [f"lidar_mt.{name}", *overrides])
        self._capsys.readouterr()
        _keep_stderr()
        status = 0
        try:
            module.main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        captured = self._capsys.readouterr()
        return Outcome(status, captured.out, captured.err)


def _keep_stderr() -> None:
    """Takes the captured standard error away from absl, which openvino imports.

    Its handler closes the stream that it was made with, once logging is configured anew, unless that is the real one.
    """
    absl = sys.modules.get("absl.logging")
    if absl is not None:
        absl.get_absl_handler().python_handler.stream = sys.__stderr__
