from __future__ import annotations

import os
import signal
import time

import pytest

from lidar_mt.data.executor import WORKER_ENVIRONMENT, LocalExecutor
from lidar_mt.structures.errors import ConfigError, DataError


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


def environment(name: str) -> str | None:
    return os.environ.get(name)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_are_in_the_order_of_the_tasks(workers):
    got = list(LocalExecutor(workers).run(slow_first, range(20), 20))
    assert [task for task, _ in got] == list(range(20))
    assert (os.getpid() in {pid for _, pid in got}) == (workers == 1)


def test_a_single_task_needs_no_process_and_none_gives_nothing():
    assert list(LocalExecutor(4).run(slow_first, [7], 1)) == [(7, os.getpid())]
    assert list(LocalExecutor(4).run(slow_first, [], 0)) == []


def test_tasks_are_taken_as_results_are_read():
    taken = []
    results = LocalExecutor(2).run(fails_on_three, (taken.append(i) or 0 for i in range(100)), 100)
    next(results)
    assert len(taken) < 10
    results.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_task_arrives_as_it_is(workers):
    with pytest.raises(DataError, match=r"^no file for three$"):
        list(LocalExecutor(workers).run(fails_on_three, range(30), 30))


def test_a_killed_worker_is_named():
    with pytest.raises(DataError, match=r"one of 2 worker processes was killed.*run the command again"):
        list(LocalExecutor(2).run(dies_on_three, range(30), 30))


def test_workers_have_one_thread_each_unless_the_user_says_otherwise(monkeypatch):
    for name in WORKER_ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    names = list(WORKER_ENVIRONMENT)
    found = dict(zip(names, LocalExecutor(2).run(environment, names, len(names)), strict=True))
    assert found == WORKER_ENVIRONMENT | {"OMP_NUM_THREADS": "3"}
    assert [name for name in names if name in os.environ] == ["OMP_NUM_THREADS"]


def test_numbers_of_workers():
    assert LocalExecutor().workers == len(os.sched_getaffinity(0))
    with pytest.raises(ConfigError, match="workers=0; expected 1 or more"):
        LocalExecutor(0)
