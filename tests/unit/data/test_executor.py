from __future__ import annotations

import os
import signal
import time

import pytest

from lidar_mt.data.executor import run_in_order
from lidar_mt.structures.errors import DataError


def slow_first(task: int) -> tuple[int, int]:
    time.sleep(0.2 if task == 0 else 0)
    return task, os.getpid()


def fails_on_three(task: int) -> int:
    if task == 3:
        raise DataError("no file for three")
    return task


def dies_on_three(task: int) -> int:
    if task == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


@pytest.mark.parametrize("workers", [1, 2])
def test_results_are_in_the_order_of_the_tasks(workers):
    got = list(run_in_order(slow_first, range(20), workers))
    assert [task for task, _ in got] == list(range(20))
    assert (os.getpid() in {pid for _, pid in got}) == (workers == 1)


def test_tasks_are_taken_as_results_are_read():
    taken = []
    results = run_in_order(fails_on_three, (taken.append(i) or 0 for i in range(100)), 2)
    next(results)
    assert len(taken) < 10
    results.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_task_arrives_as_it_is(workers):
    with pytest.raises(DataError, match=r"^no file for three$"):
        list(run_in_order(fails_on_three, range(30), workers))


def test_a_killed_worker_is_named():
    with pytest.raises(DataError, match=r"one of 2 worker processes was killed.*run the command again"):
        list(run_in_order(dies_on_three, range(30), 2))
