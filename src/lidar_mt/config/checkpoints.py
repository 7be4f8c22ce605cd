"""Reading a checkpoint that a program was given: where it is damaged, what stands in for it and what makes it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lidar_mt.engine.checkpoint import read_checkpoint
from lidar_mt.structures.errors import DamagedCheckpointError

#: Folder of a run that holds its published checkpoints, `<stage>-best.ckpt` and `<stage>-last.ckpt`.
PUBLISHED = "published"


def read_or_tell(path: Path, command: str = "") -> dict[str, Any]:
    """What `read_checkpoint` returns.

    Args:
        path: of the checkpoint.
        command: that makes a published one again; empty where none is known.

    Raises:
        CheckpointError: see `read_checkpoint`; of a damaged published one the message goes on with the copy that its
            training kept, and with the command.
    """
    try:
        return read_checkpoint(path)
    except DamagedCheckpointError as error:
        copy, again = _copy_of(path), f"\nTo make it again:\n{command}" if command and is_published(path) else ""
        kept = (
            f"\nIts training kept {copy}, which can be copied over it or named in its place" if copy is not None else ""
        )
        raise DamagedCheckpointError(f"{error}{kept}{again}") from error


def is_published(path: Path) -> bool:
    """Whether a run published it."""
    return path.parent.name == PUBLISHED and "-" in path.stem


def stage_of(path: Path) -> str:
    """The stage in the name of a published checkpoint."""
    return path.stem.rpartition("-")[0]


def _copy_of(path: Path) -> Path | None:
    """The checkpoint of the newest run of its stage that was published as this one; None where it is gone."""
    if not is_published(path):
        return None
    name = path.stem.rpartition("-")[2] + path.suffix
    copies = sorted(path.parent.parent.glob(f"{stage_of(path)}/*/checkpoints/{name}"))
    return copies[-1] if copies else None
