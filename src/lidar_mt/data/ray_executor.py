"""Runs tasks on a Ray cluster: the one module that imports ray, which the extra `cluster` installs."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from lidar_mt.data.executor import Result, Task, checked_workers, in_order, worker_environment
from lidar_mt.structures.errors import ConfigError, DataError

#: Of a Ray instance of our own: tasks and results are paths and table rows, the points go through files.
_OBJECT_STORE_BYTES = 1 << 27
_CONNECT_S = 10.0


class RayExecutor:
    """Worker processes of a Ray cluster; a task whose worker or machine dies is tried again.

    Tasks name files by their paths: all machines need the data at the same paths, on a file system that they share,
    and the same version of this program.

    Args:
        workers: tasks at a time; None takes one per core of the cluster.
        address: of the head of a running cluster, 'host:6379' or 'auto'; None starts an instance on this machine for
            the time of the work.
        retries: how often a task is tried again.

    Raises:
        ConfigError: Ray is not installed, or a number is out of range.
    """

    def __init__(self, workers: int | None = None, address: str | None = None, retries: int = 3) -> None:
        if retries < 0:
            raise ConfigError(f"executor.retries={retries}; expected 0 or more")
        self._wanted = None if workers is None else checked_workers(workers)
        self._address = address
        self._retries = retries
        self._ray = _import_ray()

    @property
    def workers(self) -> int:
        """Tasks at a time; an estimate before the cluster has been asked."""
        if self._wanted is None and self._ray.is_initialized():
            return max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        return self._wanted or len(os.sched_getaffinity(0))

    def run(self, function: Callable[[Task], Result], tasks: Iterable[Task], count: int) -> Iterator[Result]:
        """See `Executor.run`."""
        with self._connected(count):
            name = getattr(function, "__name__", "task")
            remote = self._ray.remote(num_cpus=1, max_retries=self._retries)(_call).options(name=name)
            workers = min(self.workers, max(1, count))
            yield from in_order(lambda task: remote.remote(function, task), self._result, tasks, workers)

    def _result(self, handle: Any) -> Any:
        """Result of a task; an error of the task arrives as it was raised there."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(handle)
        except errors.RayTaskError as error:
            # Ray gives it a class of its own making, whose text is the whole remote traceback.
            raise error.cause from error
        except errors.RayError as error:
            raise DataError(
                f"Ray lost a task and {self._retries} repetitions of it: {type(error).__name__}: "
                f"{str(error).splitlines()[0]}. What is finished is kept: run the command again to go on, with a "
                "smaller workers= if memory is short"
            ) from error

    @contextmanager
    def _connected(self, count: int) -> Iterator[None]:
        """A connection, which is left alone where the caller has made one."""
        if self._ray.is_initialized():
            yield
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        settings: dict[str, Any] = {"address": self._address}
        if self._address is None:
            settings = {
                "address": "local",
                "num_cpus": min(self.workers, max(1, count)),
                "object_store_memory": _OBJECT_STORE_BYTES,
                "include_dashboard": False,
            }
        try:
            _knock(self._address)
            with worker_environment():
                self._ray.init(logging_level="WARNING", **settings)
        except (OSError, ValueError, RuntimeError) as error:
            raise ConfigError(
                f"no Ray cluster answers at executor.address={self._address}: {error}; start one with "
                "`ray start --head`, or leave the address out to start one on this machine"
            ) from error
        try:
            yield
        finally:
            self._ray.shutdown()


def _call(function: Callable[[Task], Result], task: Task) -> Result:
    return function(task)


def _knock(address: str | None) -> None:
    """Raises OSError when nothing listens at 'host:port'; Ray itself would wait for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            "executor=ray needs Ray, which the extra `cluster` installs: `pip install 'lidar-mt[cluster]'`; "
            "executor=local needs nothing"
        ) from error
    return ray
