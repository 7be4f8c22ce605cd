"""How many sweeps are merged into each keyframe that a trained network sees."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from omegaconf import DictConfig, open_dict

_KEY = "data.num_sweeps"

log = logging.getLogger("lidar_mt.config")


def match_sweeps(cfg: DictConfig, trained: int, arguments: Sequence[str]) -> int | None:
    """Takes as many sweeps as in training, unless the command line itself says how many.

    What an experiment or the defaults say does not count: it is easily forgotten, and the scores are others.

    Args:
        cfg: configuration of a program; `data.num_sweeps` is set.
        trained: sweeps that the network's training merged.
        arguments: of the command line.

    Returns:
        The number of sweeps where it is not the network's own, else None.
    """
    if not any(item.lstrip("+").partition("=")[0] == _KEY for item in arguments):
        with open_dict(cfg):
            cfg.data.num_sweeps = trained
        return None
    sweeps = int(cfg.data.num_sweeps)
    if sweeps == trained:
        return None
    log.warning("%s=%d, but the network was trained with %d; its results are others with them", _KEY, sweeps, trained)
    return sweeps
