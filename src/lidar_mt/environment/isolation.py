"""Looks at things in a child process: a library built for another processor, or a truncated store, ends that alone."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

_TIMEOUT_S = 300.0
_RAISED = re.compile(r"[\w.]+(Error|Exception)(:|$)")
_MARK = "lidar_mt-probe "


class Answer(NamedTuple):
    """What a probe said.

    Attributes:
        value: what it returned, None where it failed.
        error: why it failed, empty where it did not.
    """

    value: Any
    error: str


def ask(probes: Iterable[list[str]]) -> list[Answer]:
    """Runs probes one after another in a child process; where one ends it, the next child goes on with the rest.

    Args:
        probes: name of a function in `environment.probes` and its arguments.

    Returns:
        One answer per probe.
    """
    left = list(probes)
    answers: list[Answer] = []
    while left:
        values, error = _run(left)
        answers += [Answer(value, "") for value in values]
        left = left[len(values) :]
        if left:
            answers.append(Answer(None, error))
            left = left[1:]
    return answers


def _run(probes: list[list[str]]) -> tuple[list[Any], str]:
    command = [sys.executable, "-m", "lidar_mt.environment.probes"]
    try:
        # Through standard input: paths may be long, and hold anything.
        child = subprocess.run(
            command,
            input=json.dumps(probes),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
        output, errors, status = child.stdout, child.stderr, child.returncode
    except subprocess.TimeoutExpired as error:
        output = error.stdout.decode(errors="replace") if isinstance(error.stdout, bytes) else error.stdout or ""
        errors, status = f"no answer within {_TIMEOUT_S:.0f} s", 1
    answered = [line.removeprefix(_MARK) for line in output.splitlines() if line.startswith(_MARK)]
    return [json.loads(line) for line in answered], _reason(errors, status)


def _reason(errors: str, status: int) -> str:
    """The error at the end of a traceback, or the signal that ended the process."""
    if status < 0:
        return f"the process died by {signal.Signals(-status).name}"
    lines = [line for line in errors.splitlines() if line.strip()]
    # A message of several lines begins with the name of its error.
    raised = [line for line in lines if _RAISED.match(line)]
    return (raised or lines or [f"exit status {status}"])[-1][:300]


def answer(value: Any) -> None:
    """Writes the answer of a probe, from within the child process."""
    print(_MARK + json.dumps(value), flush=True)
