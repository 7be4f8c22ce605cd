"""Checks the keys that name a metric (`monitor`) against what the configured tasks and metrics log."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytorch_lightning
from omegaconf import DictConfig
from pytorch_lightning.callbacks import ModelCheckpoint

import lidar_mt
from lidar_mt.config.build import instantiate_metrics
from lidar_mt.config.instantiate import instantiate
from lidar_mt.config.nearest import nearest
from lidar_mt.config.parameters import find_class
from lidar_mt.engine.logged_names import logged_names
from lidar_mt.engine.ranks import is_first_process
from lidar_mt.structures.errors import ConfigError

#: What a `ModelCheckpoint` counts by itself.
_COUNTED = ("epoch", "step")
#: Packages whose callbacks log nothing beyond `logged_names`.
_KNOWN_PACKAGES = (lidar_mt.__name__, pytorch_lightning.__name__)
_SHOWN = 12
#: Less alike is nothing that could be meant: val/NDS is no misspelling of val/loss.
_ALIKE = 0.75

log = logging.getLogger("lidar_mt.config")


def check_monitors(cfg: DictConfig) -> None:
    """Refuses a `monitor` of a callback or of a search that nothing logs; Lightning would notice after a validation.

    Tasks and metrics tell their names. Where one of the user's own does not, or a callback of the user's own may log
    anything, a name that could be theirs passes with a warning.

    Args:
        cfg: a configuration with the groups task, metric and callbacks; no data is touched.

    Raises:
        ConfigError: names the key and the nearest name that is logged.
    """
    keys = list(_monitors(cfg))
    if not keys:
        return
    tasks = {name: instantiate(node) for name, node in cfg.task.items() if node is not None}
    names, untold = logged_names(tasks, instantiate_metrics(cfg))
    if _has_own_callbacks(cfg):
        untold = ("",)
    for key, monitor, more in keys:
        if monitor in names or monitor in more:
            continue
        meant = _meant(monitor, [*names, *more])
        if any(monitor.startswith(beginning) for beginning in untold):
            hint = f"; is '{meant}' meant?" if meant else ""
            if is_first_process():
                log.warning("%s=%s: only the first validation will show whether this is logged%s", key, monitor, hint)
            continue
        known = sorted(names, key=lambda name: (name.count("/"), not name.startswith("val/")))
        there = ", ".join(known[:_SHOWN]) + (", ..." if len(known) > _SHOWN else "")
        raise ConfigError(
            f"{key}={monitor}: nothing of that name is logged. "
            + (f"Did you mean '{meant}'?" if meant else f"There are {there}.")
        )


def _monitors(cfg: DictConfig) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Key, value, and other values that it may have, of every key that names a metric."""
    for name, node in cfg.callbacks.items():
        if node is not None and node.get("monitor") is not None:
            counts = issubclass(find_class(node["_target_"]), ModelCheckpoint)
            yield f"callbacks.{name}.monitor", str(node["monitor"]), _COUNTED if counts else ()
    if cfg.get("hparams_search") is not None:
        yield "hparams_search.monitor", str(cfg.hparams_search.monitor), ()


def _has_own_callbacks(cfg: DictConfig) -> bool:
    nodes = [node for node in cfg.callbacks.values() if node is not None]
    return any(find_class(node["_target_"]).__module__.split(".")[0] not in _KNOWN_PACKAGES for node in nodes)


def _meant(monitor: str, names: list[str]) -> str:
    """The name most like it, whatever its letters' case and with or without `val/`."""
    by_lower = {name.lower(): name for name in reversed(names)}
    wanted = monitor.lower()
    found = nearest(wanted, by_lower, _ALIKE) or nearest(f"val/{wanted}", by_lower, _ALIKE)
    return by_lower.get(found, "")
