"""Reading checkpoints: weights only, with errors that say what to do."""

from __future__ import annotations

import logging
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lidar_mt.engine.files import previous_of
from lidar_mt.structures.errors import CheckpointError, DamagedCheckpointError

_NET_PREFIX = "net."
#: Describes the network, beside its checkpoints.
CONFIG_NAME = "config.yaml"

log = logging.getLogger("lidar_mt.checkpoint")


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Reads a Lightning checkpoint onto the CPU; the one before it, with a warning, where it is damaged.

    Args:
        path: a `.ckpt` file.

    Returns:
        Its plain containers and tensors.

    Raises:
        CheckpointError: the file is missing, damaged, no Lightning checkpoint, or holds anything but tensors and
            plain containers.
    """
    path = Path(path)
    check_there(path)
    previous = previous_of(path)
    try:
        return read_file(path)
    except CheckpointError as error:
        if not previous.is_file():
            raise
        log.warning("%s; going back to the one before it, %s", error, previous.name)
        return read_file(previous)


def check_there(path: Path) -> None:
    """Raises CheckpointError, with the command that makes one, where neither a checkpoint nor its predecessor is."""
    if not path.is_file() and not previous_of(path).is_file():
        stage = next((name for name in ("calibrate", "qat") if path.name.startswith(f"{name}-")), "float")
        raise CheckpointError(
            f"no checkpoint at {path}; run `python -m lidar_mt.train stage={stage}` or name one with checkpoint=FILE"
        )


def read_file(path: Path) -> dict[str, Any]:
    """One file, restricted to tensors and plain containers; its checksums are compared, which torch.load does not.

    Raises:
        DamagedCheckpointError: see `read_checkpoint`; the message names the others of its training.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
        if broken:
            raise DamagedCheckpointError(f"{path} is damaged: {broken} does not fit its checksum{_others(path)}")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (
        zipfile.BadZipFile,
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        KeyError,
        NotImplementedError,
    ) as error:
        # torch's own text would advise to load it unsafely.
        raise DamagedCheckpointError(
            f"{path} is damaged, or holds more than weights and plain values{_others(path)}"
        ) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise DamagedCheckpointError(f"{path} is no training checkpoint: it has no 'state_dict'{_others(path)}")
    return checkpoint


def _others(path: Path) -> str:
    """The other checkpoints of the same training in a folder: `float-last.ckpt` for `float-best.ckpt`."""
    training = path.stem.rpartition("-")[0]
    found = sorted(other.name for other in path.parent.glob("*.ckpt") if other.name != path.name)
    own = [name for name in found if Path(name).stem.rpartition("-")[0] == training]
    return f"; beside it: {', '.join(own)}" if own else ""


def config_beside(checkpoint: Path) -> Path:
    """The file that describes a checkpoint's network: `qat-config.yaml` for `qat-best.ckpt`, else `config.yaml`."""
    own = checkpoint.with_name(f"{checkpoint.stem.rpartition('-')[0]}-{CONFIG_NAME}")
    return own if own.is_file() else checkpoint.with_name(CONFIG_NAME)


def load_network(net: nn.Module, checkpoint: dict[str, Any], path: str | Path) -> None:
    """Copies the network's weights out of a checkpoint.

    Args:
        net: the network, built as it was trained.
        checkpoint: what `read_checkpoint` returned.
        path: named in errors.

    Raises:
        CheckpointError: a weight is missing, left over or of another shape.
    """
    state = {
        key[len(_NET_PREFIX) :]: value for key, value in checkpoint["state_dict"].items() if key.startswith(_NET_PREFIX)
    }
    own = net.state_dict()
    wrong = sorted(own.keys() ^ state.keys()) + sorted(
        key for key in own.keys() & state.keys() if own[key].shape != state[key].shape
    )
    if wrong:
        raise CheckpointError(
            f"{path} was trained with another network: {len(wrong)} weights differ, among them {wrong[:3]}"
        )
    net.load_state_dict(state)
