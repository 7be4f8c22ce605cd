"""How checkpoints reach the disk and come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import CheckpointIO

from lidar_mt.engine.checkpoint import read_checkpoint
from lidar_mt.engine.files import previous_of, write_whole


class WholeCheckpointIO(CheckpointIO):
    """Checkpoints that survive a kill or a full disk at any time, and hold nothing that can run code.

    A file is written beside its target, flushed and renamed; the one before is kept as `<name>.previous.ckpt` and
    stands in, with a warning, where the newer one turns out to be damaged. (Lightning's own writes into the system's
    temporary folder and moves the file, which is no rename across file systems.)
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Writes a checkpoint of tensors and plain containers.

        Raises:
            CheckpointError: the file cannot be written; "disk full" where that is why.
        """
        write_whole(Path(path), lambda file: torch.save(checkpoint, file), keep_previous=True)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Reads a checkpoint onto the CPU; always restricted to tensors and plain containers.

        Raises:
            CheckpointError: neither the file nor the one before it can be read.
        """
        return read_checkpoint(path)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Removes a checkpoint and the one before it."""
        for file in (Path(path), previous_of(Path(path))):
            file.unlink(missing_ok=True)
