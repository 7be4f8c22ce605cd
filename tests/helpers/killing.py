"""Kills a worker process in the middle of its task, once."""

from __future__ import annotations

import functools
import importlib
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from lidar_mt.data.executor import Executor


class KillingExecutor:
    """Runs tasks by another executor; the process that works on one of them is killed the first time.

    Args:
        inner: what runs the tasks.
        marker: file that appears when the kill happened.
        victim: number of the task.
        function: 'module:name' of a function that the task calls often; the task dies in its call number `calls`.
        calls: see `function`.
    """

    def __init__(self, inner: Executor, marker: Path, victim: int, function: str, calls: int) -> None:
        self.inner, self.marker, self.victim, self.function, self.calls = inner, marker, victim, function, calls
        self.workers = inner.workers

    def run(self, function: Callable[..., Any], tasks: Iterable[Any], count: int) -> Iterator[Any]:
        dying = functools.partial(_run_or_die, function, self.marker, self.function, self.calls)
        return self.inner.run(dying, ((i == self.victim, task) for i, task in enumerate(tasks)), count)


def _run_or_die(function: Callable[..., Any], marker: Path, killing: str, calls: int, task: tuple[bool, Any]) -> Any:
    is_victim, argument = task
    if is_victim and not marker.exists():
        module, name = killing.split(":")
        _patch(importlib.import_module(module), name, marker, calls)
    return function(argument)


def _patch(module: Any, name: str, marker: Path, calls: int) -> None:
    original, left = getattr(module, name), [calls]

    def counted(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            marker.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(module, name, counted)
