"""Frame by frame through a network, from where an earlier run stopped, until the end or a signal."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lidar_mt.data.frames import Frames
from lidar_mt.data.progress import Progress
from lidar_mt.engine.earlier_results import EarlierResults
from lidar_mt.engine.frame_writer import FrameWriter
from lidar_mt.engine.lit_module import LidarMultiTaskModule
from lidar_mt.engine.stop_signal import StopSignal
from lidar_mt.structures.errors import DataError

log = logging.getLogger("lidar_mt.infer")


@dataclass
class Found:
    """What a run did.

    Attributes:
        computed: frames that went through the network.
        left_out: damaged ones.
        boxes: of all computed frames.
        seconds: of each computed frame in the network [s]; the first one's includes what a runtime sets up then.
        left: frames that a signal left undone.
        stopped: number of that signal, 0 where the run came to its end.
        page: the page that was written, or None.
    """

    computed: int = 0
    left_out: int = 0
    boxes: int = 0
    seconds: list[float] = field(default_factory=list)
    left: int = 0
    stopped: int = 0
    page: Path | None = None

    def speed(self) -> str:
        """Time in the network, the first frame apart."""
        if not self.seconds:
            return "no frame left to compute"
        first, others = self.seconds[0], self.seconds[1:]
        if not others:
            return f"{first:.2f} s of network, its set-up included"
        return f"{sum(others) / len(others):.3f} s of network per frame, {first:.2f} s for the first one"


class InferenceRun:
    """Computes the frames that are not done, and writes their results.

    Args:
        frames: the input.
        earlier: what an earlier run left.
        on_page: indices of the frames that the page shows.
        skip_damaged: leave damaged frames out; else the first one ends the run.
        advice: what to do then, where there are more frames; follows the message about the damaged one.
    """

    def __init__(
        self,
        frames: Frames,
        earlier: EarlierResults,
        on_page: Iterable[int],
        skip_damaged: bool = False,
        advice: str = "",
    ) -> None:
        self._frames, self._earlier = frames, earlier
        self._on_page = set(on_page)
        self._skip_damaged = skip_damaged
        self._advice = advice

    def done(self) -> set[int]:
        """Indices of the frames whose results are there."""
        return {
            index
            for index, name in enumerate(self._frames.names)
            if self._earlier.is_done(name, self._made_with(index), index in self._on_page)
        }

    def compute(
        self, build: Callable[[], LidarMultiTaskModule], open_writer: Callable[[], FrameWriter], done: set[int]
    ) -> Found:
        """Computes all frames but those that are done.

        SIGTERM and Ctrl-C let the frame finish. Whatever ends the run, nothing unfinished stays behind, and the page
        shows the frames so far.

        Args:
            build: loads the network; not called where all frames are done.
            open_writer: writes the results.
            done: indices, see `done`.

        Raises:
            DataError: a frame is damaged, or all are, or a result cannot be written.
        """
        found, signal = Found(), StopSignal()
        signal.install()
        try:
            writer = open_writer()
            try:
                for index in sorted(done & self._on_page):
                    writer.keep(self._earlier.shown(self._frames.names[index]))
                self._all(build, writer, done, signal, found)
            except BaseException:
                with contextlib.suppress(DataError, OSError):  # the first error is the one to tell
                    writer.stop(self._frames.names)
                raise
            if found.left:
                found.stopped = signal.received
                writer.stop(self._frames.names)
            else:
                found.page = writer.finish(self._frames.names)
        finally:
            signal.remove()  # only now: the page may take a while to write
        return found

    def _all(
        self,
        build: Callable[[], LidarMultiTaskModule],
        writer: FrameWriter,
        done: set[int],
        signal: StopSignal,
        found: Found,
    ) -> None:
        wanted = [index for index in range(len(self._frames.names)) if index not in done]
        if not wanted:
            return
        module = build()
        with Progress("inference", "frame", len(self._frames.names), done=len(done)) as progress:
            for number, index in enumerate(wanted):
                if signal.received:
                    found.left = len(wanted) - number
                    return
                self._one(index, module, writer, found)
                progress.update(1)
        if not done and found.left_out == len(wanted):
            raise DataError(f"all {len(wanted)} files are damaged; the warnings above name them")

    def _one(self, index: int, module: LidarMultiTaskModule, writer: FrameWriter, found: Found) -> None:
        try:
            frame = self._frames.read(index)
        except DataError as error:
            if not self._skip_damaged:
                if len(self._frames.names) == 1:
                    raise
                raise DataError(f"{error}{self._advice}") from error
            found.left_out += 1
            log.warning("left out: %s", error)
            return
        made_with = self._made_with(index)
        started = time.perf_counter()
        predictions: dict[str, Any] = module.predict([torch.from_numpy(frame.merged)])
        found.seconds.append(time.perf_counter() - started)
        key, shown = self._earlier.page_key(made_with), index in self._on_page
        found.boxes += writer.write(self._frames.names[index], frame, predictions, shown, made_with, key)
        found.computed += 1

    def _made_with(self, index: int) -> dict[str, Any]:
        return self._earlier.made_with(self._frames.state(index))
