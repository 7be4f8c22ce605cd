from __future__ import annotations

import functools
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from lidar_mt.data.ray_executor import RayExecutor
from lidar_mt.structures.errors import ConfigError, DataError

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module", autouse=True)
def instance():
    """Ray with two workers on this machine."""
    ray = pytest.importorskip("ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=1 << 27, logging_level="ERROR")
    yield ray
    ray.shutdown()


def slow_first(task: int) -> tuple[int, int]:
    time.sleep(0.2 if task == 0 else 0)
    return task, os.getpid()


def fails_on_three(task: int) -> int:
    if task == 3:
        raise DataError("no file for three")
    return task


def dies_on_three(marker: Path | None, task: int) -> int:
    if task == 3 and (marker is None or not marker.exists()):
        if marker is not None:
            marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def test_results_are_in_the_order_of_the_tasks():
    got = list(RayExecutor().run(slow_first, range(20), 20))
    assert [task for task, _ in got] == list(range(20))
    assert os.getpid() not in {pid for _, pid in got}


def test_tasks_are_taken_as_results_are_read():
    taken = []
    results = RayExecutor(workers=2).run(fails_on_three, (taken.append(i) or 0 for i in range(100)), 100)
    next(results)
    assert len(taken) < 10
    results.close()


def test_an_error_of_a_task_arrives_as_it_is():
    with pytest.raises(DataError, match=r"^no file for three$") as raised:
        list(RayExecutor().run(fails_on_three, range(30), 30))
    assert type(raised.value) is DataError


def test_the_task_of_a_killed_worker_is_tried_again(tmp_path):
    task = functools.partial(dies_on_three, tmp_path / "killed")
    assert list(RayExecutor().run(task, range(8), 8)) == list(range(8))
    assert (tmp_path / "killed").exists()


def test_a_task_that_kills_every_worker_is_an_error():
    with pytest.raises(DataError, match=r"Ray lost a task and 1 repetitions of it.*run the command again"):
        list(RayExecutor(retries=1).run(functools.partial(dies_on_three, None), range(8), 8))


def test_workers_are_the_cores_of_the_cluster_unless_set():
    assert RayExecutor().workers == 2
    assert RayExecutor(workers=1).workers == 1


def test_numbers_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="workers=0; expected 1 or more"):
        RayExecutor(workers=0)
    with pytest.raises(ConfigError, match="retries=-1; expected 0 or more"):
        RayExecutor(retries=-1)


def test_an_address_where_nothing_listens_is_named(instance, monkeypatch):
    monkeypatch.setattr(instance, "is_initialized", lambda: False)
    with pytest.raises(
        ConfigError, match=r"no Ray cluster answers at executor.address=127.0.0.1:1: .*ray start --head"
    ):
        list(RayExecutor(address="127.0.0.1:1").run(str, [1], 1))


def test_without_ray_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'lidar-mt\[cluster\]'"):
        RayExecutor()
