"""Object creation from configuration, limited to what this project names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import hydra.errors
import hydra.utils
from omegaconf import DictConfig, ListConfig, OmegaConf

from lidar_mt.structures.errors import ConfigError, LidarMtError

#: `_target_` values start with one of these; all else (torch.load, os.system, ...) is refused before anything runs.
ALLOWED_PREFIXES = (
    "lidar_mt.",
    "torch.nn.",
    "torch.optim.",
    "torchmetrics.",
    "pytorch_lightning.Trainer",
    "pytorch_lightning.callbacks.",
    "pytorch_lightning.loggers.",
    "pytorch_lightning.profilers.",
    "pytorch_lightning.strategies.",
    "pytorch_lightning.plugins.",
)

#: Packages of the user's own that `_target_` may name too, separated by commas.
TRUSTED_VARIABLE = "LIDAR_MT_TRUSTED_PACKAGES"


def instantiate(config: Any, **kwargs: Any) -> Any:
    """Builds the object that a config node describes, after checking every `_target_` in it.

    Args:
        config: a config node with `_target_`, possibly nested.
        **kwargs: more arguments for the outermost object.

    Returns:
        The object, or a partial where the node says `_partial_: true`. Containers arrive as plain lists and dicts.

    Raises:
        ConfigError: a `_target_` is not on the allow-list.
        LidarMtError: whatever the constructor raised.
    """
    for target in _targets(config):
        check_target(target)
    try:
        return hydra.utils.instantiate(config, _convert_="all", **kwargs)
    except hydra.errors.InstantiationException as error:
        # Hydra wraps what a constructor raised; our own errors are worded for the user already.
        if isinstance(error.__cause__, LidarMtError):
            raise error.__cause__ from None
        raise


def check_target(target: str) -> None:
    """Raises ConfigError unless `target` is a dotted path that configuration may name."""
    trusted = tuple(f"{name.strip()}." for name in os.environ.get(TRUSTED_VARIABLE, "").split(",") if name.strip())
    parts = target.split(".") if isinstance(target, str) else []
    plain = all(part.isidentifier() and not part.startswith("_") for part in parts)
    allowed_path = plain and target.startswith(ALLOWED_PREFIXES + trusted)
    if not allowed_path or not _is_own_class(target):
        allowed = ", ".join(prefix + ("*" if prefix.endswith(".") else "") for prefix in ALLOWED_PREFIXES)
        raise ConfigError(
            f"the configuration names the object {target!r}; allowed are classes of {allowed}, "
            f"and your own packages once {TRUSTED_VARIABLE}=package lists them"
        )


def _is_own_class(target: str) -> bool:
    """Whether the path leads to a class that is defined in the package it starts with.

    A module reached through another one's imports (`lidar_mt.engine.checkpoint.torch.load`) has an allowed beginning
    too; what it leads to is defined elsewhere.
    """
    try:
        found = hydra.utils.get_object(target)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"the configuration names the object {target!r}, which cannot be found: {error}") from error
    parts = target.split(".")
    home = ".".join(parts[:2]) if parts[0] == "torch" else parts[0]
    return isinstance(found, type) and f"{found.__module__}.".startswith(f"{home}.")


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, DictConfig | ListConfig):
        node = OmegaConf.to_container(node, resolve=True)
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _targets(value)
