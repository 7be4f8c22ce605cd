"""A callback that draws the frames of an evaluation whose boxes were found best and worst."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from lidar_mt.engine.pictures import draw_sample
from lidar_mt.metrics.frame_score import FrameScore, score_frame
from lidar_mt.structures.classes import Classes
from lidar_mt.structures.grid import Grid
from lidar_mt.structures.outputs import Detections
from lidar_mt.structures.sample import Batch
from lidar_mt.visualization.bev import save_figure

#: Frames with fewer boxes are not chosen: one mistake would be half of them.
_MIN_BOXES = 5


@dataclass(frozen=True)
class _Frame:
    score: FrameScore
    boxes: int
    sample: Batch
    outputs: dict[str, Any]

    @property
    def token(self) -> str:
        return self.sample.tokens[0]


class ExtremeFrames(Callback):
    """Draws `best_0.png` ... and `worst_0.png` ... into the folder `pictures` of a test.

    Args:
        count: frames of each kind; no more than so many are held in memory.
        grid: the pillar grid.
        classes: class names.
        score_threshold: detections below it do not count and are not drawn.
    """

    def __init__(self, count: int, grid: Grid, classes: Classes, score_threshold: float = 0.3) -> None:
        self.count = count
        self.grid = grid
        self.classes = classes
        self.score_threshold = score_threshold
        #: Tokens by name of the picture, best_0 first: those of a test, or set before it to draw the same again.
        self.chosen: dict[str, str] = {}
        self._given = False
        self._best: list[_Frame] = []
        self._worst: list[_Frame] = []

    def choose(self, tokens: dict[str, str]) -> None:
        """Takes frames that were chosen before, by name of the picture, in place of its own choice."""
        self.chosen, self._given = dict(tokens), bool(tokens)

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Looks at each sample, and keeps it while it is among the extreme ones."""
        if not trainer.is_global_zero or "detection" not in outputs:
            return
        for index in range(len(batch)):
            frame = self._frame(outputs, batch, index)
            if self._given:
                self._best += [frame] * (frame.token in self.chosen.values())
            elif frame.boxes >= _MIN_BOXES:
                self._best = _first(self._best, frame, self.count, best=True)
                self._worst = _first(self._worst, frame, self.count, best=False)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws what was kept."""
        folder = Path(trainer.default_root_dir) / "pictures"
        if self._given:
            frames = {frame.token: frame for frame in self._best}
            named = {name: frames[token] for name, token in self.chosen.items() if token in frames}
        else:
            kinds: tuple[tuple[str, Sequence[_Frame]], ...] = (("best", self._best), ("worst", self._worst))
            named = {f"{kind}_{number}": frame for kind, kept in kinds for number, frame in enumerate(kept)}
            self.chosen = {name: frame.token for name, frame in named.items()}
        for name, frame in named.items():
            self._draw(frame, folder / f"{name}.png")
        self._best, self._worst = [], []

    def _frame(self, outputs: Any, batch: Batch, index: int) -> _Frame:
        keep = outputs["detection"][index].scores >= self.score_threshold
        detections = Detections(*(value[keep].cpu() for value in outputs["detection"][index]))
        known = batch.labels[index] >= 0
        boxes, labels = batch.boxes[index][known].cpu(), batch.labels[index][known].cpu()
        parts = (boxes, labels, detections.boxes, detections.labels, detections.scores)
        score = score_frame(*(part.float().numpy() if part.is_floating_point() else part.numpy() for part in parts))
        # On the processor: a GPU's memory is not the place to keep them in.
        kept: dict[str, Any] = {"detection": [detections]}
        if "segmentation" in outputs:
            kept["segmentation"] = [outputs["segmentation"][index].cpu()]
        return _Frame(score, len(boxes), batch.one(index), kept)

    def _draw(self, frame: _Frame, path: Path) -> None:
        score = frame.score
        title = f"{frame.token}  found {score.found}, missed {score.missed}, false alarms {score.false_alarms}"
        figure = draw_sample(frame.outputs, frame.sample, 0, self.grid, self.classes, title, self.score_threshold)
        save_figure(figure, path)


def _first(kept: list[_Frame], frame: _Frame, count: int, *, best: bool) -> list[_Frame]:
    """The extreme ones among those kept and one more; of equal ones those with more boxes."""
    sign = -1 if best else 1
    return sorted([*kept, frame], key=lambda each: (sign * each.score.f1, -each.boxes))[:count]
