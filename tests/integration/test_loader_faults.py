"""Loader workers that raise, are killed or hang: the training process says so instead of waiting."""

from __future__ import annotations

import os
import signal
import time

import pytest
from torch.utils.data._utils import signal_handling

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


@pytest.mark.parametrize(
    ("kind", "error", "words", "timeout_s"),
    [
        ("raises", DataError, f"keyframe {BAD} is bad", 60.0),
        ("is killed", RuntimeError, r"worker \(pid.*\) (is killed by signal: Killed|exited unexpectedly)", 60.0),
        ("hangs", RuntimeError, "timed out after 2", 2.0),
    ],
)
def test_a_worker_that_fails_is_named_soon(tmp_path, monkeypatch, kind, error, words, timeout_s):
    # Torch takes SIGCHLD once per process, and Lightning gives all signals back after a training: in a process that
    # has trained before, as this one may have in another test, torch would hear of dead workers by the timeout alone.
    monkeypatch.setattr(signal_handling, "_SIGCHLD_handler_set", False)
    write_many(tmp_path / "v1.0-many" / "train_lmdb", 8, points=20)
    module = LidarDataModule(
        str(tmp_path),
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
    with pytest.raises(error, match=words):
        list(module.val_dataloader())
    assert time.perf_counter() - start < 30  # not the minute that the timeouts and the sleep take
