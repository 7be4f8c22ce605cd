"""What each loader worker holds for itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class WorkerMemory(NamedTuple):
    """Of one worker at one batch.

    Attributes:
        pid: the worker.
        private_mb: pages that it wrote itself. Not the mapped store: its pages belong to the system's page cache, and
            count as private only as long as no other process has read the same ones.
        resident_mb: everything in memory, shared pages included.
    """

    pid: int
    private_mb: float
    resident_mb: float


def measure(_samples: object = None) -> WorkerMemory:
    """This process's memory; as a `collate_fn`, the worker's instead of its batch."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return WorkerMemory(os.getpid(), kilobytes["Private_Dirty"] / 1024, kilobytes["Rss"] / 1024)
