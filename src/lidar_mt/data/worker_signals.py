"""Loader processes live until their parent ends them, also when a signal goes to all processes of a job."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading

from lidar_mt.data.memory import keep_freed_memory


def start_worker(worker_id: int) -> None:
    """What a loader process does first: it keeps freed memory, as its arrays are alike, and other's signals away."""
    keep_freed_memory()
    shield_worker(worker_id)


def shield_worker(worker_id: int) -> None:  # noqa: ARG001 - the loader gives it
    """Set-up of a loader process: keeps signals of others away.

    Ctrl-C and a cluster's SIGTERM reach every process of a job. The training process finishes its step and saves;
    for that it needs the batches that its loaders still hold. Only the SIGTERM that the parent itself sends ends one.

    Args:
        worker_id: number of the loader process; not needed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid is None or sys.platform in ("win32", "darwin"):
        return
    # Blocked, the signal waits for the thread below, which alone can ask who sent it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_wait_for_parent, args=(parent.pid,), daemon=True, name="sigterm").start()


def _wait_for_parent(parent: int) -> None:
    while True:
        if signal.sigwaitinfo({signal.SIGTERM}).si_pid == parent:
            os._exit(128 + signal.SIGTERM)
