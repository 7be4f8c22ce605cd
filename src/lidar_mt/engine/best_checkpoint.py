"""The best checkpoint of a run, also when it was reached before a stop."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint

from lidar_mt.engine.files import copy_whole

log = logging.getLogger("lidar_mt.checkpoint")


class BestCheckpoint(ModelCheckpoint):
    """A `ModelCheckpoint` whose best score and file go along when a run is resumed in another folder.

    Lightning's own forgets the score there, and lets the first validation after a resume pass as the best.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._moved: dict[Path, Path] = {}
        self._beside: Path | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Remembers where the checkpoint lies that is resumed: its run's folder may have been moved."""
        super().setup(trainer, pl_module, stage)
        self._beside = Path(trainer.ckpt_path).parent if trainer.ckpt_path else None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over scores and files; the files are copied into this run's folder."""
        state = dict(state_dict)
        best = self._find(Path(str(state.get("best_model_path", ""))))
        if not best.is_file():
            if best.name:
                log.warning("the best checkpoint so far, %s, is gone; the next validation starts the search anew", best)
            return
        before = str(state.get("dirpath", self.dirpath))
        for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
            state[key] = self._move(str(state.get(key, "")), before)
        state["best_k_models"] = {
            self._move(path, before): score for path, score in state.get("best_k_models", {}).items()
        }
        super().load_state_dict({**state, "dirpath": self.dirpath})

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Copies the files of the run that is resumed."""
        super().on_train_start(trainer, pl_module)
        if trainer.is_global_zero:
            for source, target in self._moved.items():
                if source.is_file() and not target.exists():
                    copy_whole(source, target)

    def _move(self, path: str, before: str) -> str:
        if not path or str(Path(path).parent) != before or self.dirpath is None:
            return path
        source = self._find(Path(path))
        target = Path(self.dirpath) / source.name
        if target != source:
            self._moved[source] = target
        return str(target)

    def _find(self, path: Path) -> Path:
        """The file, or the one of its name beside the checkpoint that is resumed."""
        beside = path if self._beside is None or not path.name else self._beside / path.name
        return path if path.is_file() or not beside.is_file() else beside
