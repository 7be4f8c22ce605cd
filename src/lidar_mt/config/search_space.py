"""The values that a search may give to keys of the configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lidar_mt.config.nearest import unknown_key
from lidar_mt.engine.study import Dimension
from lidar_mt.structures.errors import ConfigError

_KEYS = {"low", "high", "log", "choices"}


def dimensions(space: Mapping[str, Any], content: dict[str, Any]) -> list[Dimension]:
    """Reads `hparams_search.space`.

    Args:
        space: nested like the configuration, with `{low, high, log}` or `{choices}` in the place of values.
        content: the configuration, as plain containers.

    Raises:
        ConfigError: a key does not exist, or its range is none.
    """
    found = [_dimension(path, node, content) for path, node in _leaves(space, "")]
    if not found:
        raise ConfigError("hparams_search.space holds no key to vary; give one {low, high} or {choices}")
    return found


def _leaves(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        if isinstance(value, dict) and not _KEYS & set(value):
            yield from _leaves(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name}", value


def _dimension(path: str, node: Any, content: dict[str, Any]) -> Dimension:
    value: Any = content
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            raise ConfigError(f"hparams_search.space: {unknown_key(path, content)}")
        value = value[name]
    where = f"hparams_search.space.{path}"
    if not isinstance(node, dict) or set(node) - _KEYS:
        raise ConfigError(f"{where}={node}: expected {{low, high, log}} or {{choices}}")
    if node.get("choices"):
        return Dimension(path, choices=tuple(node["choices"]))
    low: Any = node.get("low")
    high: Any = node.get("high")
    numbers = isinstance(low, int | float) and isinstance(high, int | float)
    if not (numbers and low < high and (low > 0 or not node.get("log"))):
        raise ConfigError(f"{where}={node}: expected numbers with low < high, and low > 0 with log: true")
    whole = isinstance(value, int) and not isinstance(value, bool)
    return Dimension(path, low=low, high=high, log=bool(node.get("log")), whole=whole)
