"""Progress of long data jobs: a bar on a terminal, a line in the log now and then elsewhere."""

from __future__ import annotations

import logging
import time
from types import TracebackType

from tqdm import tqdm

log = logging.getLogger(__name__)


class Progress:
    """Context manager that shows count, rate and time left.

    Args:
        what: what is going on, such as 'packing v1.0-mini val'.
        unit: what is counted.
        total: how many there are.
        done: how many of them an earlier run did.
        every_s: seconds between lines of the log, where there is no terminal [s].
    """

    def __init__(self, what: str, unit: str, total: int, done: int = 0, every_s: float = 30.0) -> None:
        # disable=None: no bar where there is no terminal.
        self._bar = tqdm(total=total, initial=done, desc=what, unit=unit, disable=None, smoothing=0.05)
        self._what, self._unit, self._total = what, unit, total
        self._first = self._done = done
        self._every_s = every_s
        self._start = self._last = time.monotonic()

    def update(self, count: int) -> None:
        """Counts `count` more."""
        self._done += count
        self._bar.update(count)
        now = time.monotonic()
        if self._bar.disable and now - self._last >= self._every_s:
            self._last = now
            rate = (self._done - self._first) / (now - self._start)
            left_s = (self._total - self._done) / rate if rate else float("inf")
            log.info(
                "%s: %d of %d %ss, %.1f/s, %.0f s left", self._what, self._done, self._total, self._unit, rate, left_s
            )

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
