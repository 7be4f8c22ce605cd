"""Runs independent tasks in other processes and gives their results in the order of the tasks."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Protocol, TypeVar

from lidar_mt.structures.errors import ConfigError, DataError

Task = TypeVar("Task")
Result = TypeVar("Result")

#: What each worker process is started with, where the user has not set it: it has one core, and memory that it gave
#: back to the system after every sweep would have to be cleared again for the next (glibc; a third of the time of
#: packing otherwise).
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 26),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 27),
}


class Executor(Protocol):
    """Where independent tasks run. A task may be tried again after its process died, so it must not mind."""

    @property
    def workers(self) -> int:
        """How many tasks run at a time."""
        ...

    def run(self, function: Callable[[Task], Result], tasks: Iterable[Task], count: int) -> Iterator[Result]:
        """Maps a function over tasks.

        Only a few more tasks than workers are under way at a time, so memory and unread results stay bounded however
        many tasks there are.

        Args:
            function: of a module, so that another process can import it.
            tasks: what to do; they and the results are pickled.
            count: number of tasks, or more.

        Yields:
            The results, in the order of the tasks.

        Raises:
            DataError: a process died, or whatever the function raised.
        """
        ...


class LocalExecutor:
    """Processes of this machine.

    Args:
        workers: processes; 1 works in this one, None takes one per core.

    Raises:
        ConfigError: `workers` is no positive number.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._workers = checked_workers(len(os.sched_getaffinity(0)) if workers is None else workers)

    @property
    def workers(self) -> int:
        """Number of processes."""
        return self._workers

    def run(self, function: Callable[[Task], Result], tasks: Iterable[Task], count: int) -> Iterator[Result]:
        """See `Executor.run`."""
        workers = min(self._workers, count)
        if workers <= 1:
            yield from map(function, tasks)
            return
        # Spawned, not forked: the caller may hold threads and open stores.
        context = multiprocessing.get_context("spawn")
        with worker_environment(), ProcessPoolExecutor(workers, context, initializer=_end_with_parent) as pool:
            try:
                yield from in_order(lambda task: pool.submit(function, task), Future.result, tasks, workers)
            except BrokenProcessPool as error:
                raise DataError(
                    f"one of {workers} worker processes was killed, likely for want of memory; what is finished is "
                    "kept: run the command again to go on, with a smaller workers= if it happens again"
                ) from error
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


Handle = TypeVar("Handle")


def in_order(
    submit: Callable[[Task], Handle], result: Callable[[Handle], Result], tasks: Iterable[Task], workers: int
) -> Iterator[Result]:
    """Submits tasks as results are read, and gives the results in the order of the tasks.

    Args:
        submit: starts a task and gives a handle to it.
        result: waits for a task.
        tasks: what to do.
        workers: how many run at a time; twice as many wait.
    """
    waiting: deque[Handle] = deque()
    for task in tasks:
        waiting.append(submit(task))
        if len(waiting) > 2 * workers:
            yield result(waiting.popleft())
    while waiting:
        yield result(waiting.popleft())


def checked_workers(workers: int) -> int:
    """The number itself. Raises ConfigError when it is not positive."""
    if workers < 1:
        raise ConfigError(f"workers={workers}; expected 1 or more, or null for one per core")
    return workers


@contextmanager
def worker_environment() -> Iterator[None]:
    """Sets what processes started meanwhile shall find."""
    added = {name: value for name, value in WORKER_ENVIRONMENT.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _end_with_parent() -> None:
    """Ends this worker when its parent is killed; it would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_wait_and_end, args=(parent.sentinel,), daemon=True).start()


def _wait_and_end(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
