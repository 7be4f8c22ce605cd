"""Runs independent tasks in worker processes and gives their results in the order of the tasks."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from lidar_mt.structures.errors import DataError

Task = TypeVar("Task")
Result = TypeVar("Result")


def run_in_order(function: Callable[[Task], Result], tasks: Iterable[Task], workers: int) -> Iterator[Result]:
    """Maps a function over tasks.

    Only a few more tasks than workers are under way at a time, so memory and unread results stay bounded however
    long `tasks` is.

    Args:
        function: of a module, so that a spawned process can import it.
        tasks: what to do; they and the results are pickled.
        workers: processes; 1 works in this one.

    Yields:
        The results, in the order of the tasks.

    Raises:
        DataError: a worker process died.
    """
    if workers <= 1:
        yield from map(function, tasks)
        return
    # Spawned, not forked: the caller may hold threads and open stores.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_end_with_parent) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for task in tasks:
                waiting.append(pool.submit(function, task))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise DataError(
                f"one of {workers} worker processes was killed, likely for want of memory; run the command again to go "
                "on, with a smaller workers= if it happens again"
            ) from error
        finally:
            for future in waiting:
                future.cancel()


def _end_with_parent() -> None:
    """Ends this worker when its parent is killed; it would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_wait_and_end, args=(parent.sentinel,), daemon=True).start()


def _wait_and_end(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
