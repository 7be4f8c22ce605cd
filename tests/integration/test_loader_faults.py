"""Loader workers that raise, are killed or hang: the training process says so instead of waiting."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import time
from concurrent.futures import ProcessPoolExecutor

import pytest

from lidar_mt.data.datamodule import LidarDataModule
from lidar_mt.structures.classes import DETECTION_CLASSES, Classes
from lidar_mt.structures.errors import DataError
from tests.helpers.many_keyframes import token, write_many

CLASSES = Classes(DETECTION_CLASSES, (DETECTION_CLASSES,), ("others", "driveable_surface"))
BAD = token(5)


class Fault:
    """Does something terrible at one keyframe."""

    def __init__(self, kind):
        self.kind = kind

    def __call__(self, sample, _rng):
        if sample.token == BAD:
            if self.kind == "raises":
                raise DataError(f"keyframe {sample.token} is bad")
            if self.kind == "is killed":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
        return sample


def load(root, kind, timeout_s):
    """Name and text of the error that loading ends with, and seconds until then."""
    module = LidarDataModule(
        root,
        "v1.0-many",
        "train",
        "train",
        CLASSES,
        eval_transforms=[Fault(kind)],
        batch_size=2,
        num_workers=2,
        timeout_s=timeout_s,
    )
    start = time.perf_counter()
    try:
        list(module.val_dataloader())
    except (DataError, RuntimeError) as error:
        return type(error).__name__, str(error), time.perf_counter() - start
    return "", "", 0.0


@pytest.mark.parametrize(
    ("kind", "error", "words", "timeout_s"),
    [
        ("raises", "DataError", f"keyframe {BAD} is bad", 60.0),
        ("is killed", "RuntimeError", r"worker \(pid.*\) (is killed by signal: Killed|exited unexpectedly)", 60.0),
        ("hangs", "RuntimeError", "timed out after 2", 2.0),
    ],
)
def test_a_worker_that_fails_is_named_soon(tmp_path, kind, error, words, timeout_s):
    write_many(tmp_path / "v1.0-many" / "train_lmdb", 8, points=20)
    # In a process of its own: Ray and Lightning, which other tests may have run in this one, keep or give back SIGCHLD,
    # by which torch hears of dead workers.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        found, text, seconds = pool.submit(load, str(tmp_path), kind, timeout_s).result()
    assert found == error
    assert re.search(words, text)
    assert seconds < 30  # not the minute that the timeouts and the sleep take
