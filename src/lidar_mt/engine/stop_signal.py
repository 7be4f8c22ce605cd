"""SIGTERM and Ctrl-C as a request to stop at the next good place."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(BaseException):
    """Training was asked to stop and has saved what a later run needs.

    Attributes:
        signum: the signal.
        message: where it stands and how to go on.
    """

    def __init__(self, signum: int, message: str) -> None:
        super().__init__(message)
        self.signum = signum
        self.message = message

    @property
    def status(self) -> int:
        """Exit status: 143 for SIGTERM, 130 for Ctrl-C."""
        return 128 + self.signum


class StopSignal:
    """Notes the first SIGTERM or SIGINT; a second one ends the process at once.

    Attributes:
        received: number of the signal, 0 while none came.
    """

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        """Takes the signals over; without effect outside the main thread, which alone may."""
        if threading.current_thread() is not threading.main_thread():
            return
        for signum in _SIGNALS:
            before = signal.signal(signum, self._note)
            if before != self._note:
                self._before.setdefault(signum, before)

    def remove(self) -> None:
        """Gives the signals back."""
        if threading.current_thread() is threading.main_thread():
            for signum, handler in self._before.items():
                signal.signal(signum, handler)
        self._before = {}

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self.received:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        self.received = signum
