"""Checks a composed configuration against the signatures of what it describes, before anything is built.

Nothing is declared twice: a mapping with `_target_` may hold what its class's constructor takes, with the types of its
hints, and every other mapping what `config.schema` lists.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from omegaconf import DictConfig, ListConfig, Node
from omegaconf.errors import InterpolationKeyError, InterpolationToMissingValueError, MissingMandatoryValue

from lidar_mt.config import schema
from lidar_mt.config.nearest import nearest, unknown_key
from lidar_mt.config.parameters import Parameters, find_class, parameters_of
from lidar_mt.config.types import UNKNOWN, Referred, misfit
from lidar_mt.structures.errors import ConfigError

#: Keys of Hydra's own in a mapping with `_target_`.
_HYDRA_KEYS = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}
#: A `**kwargs` takes every name; one as near as this to a parameter is taken for its misspelling.
_MISSPELT = 0.75
_MISSPELT_IN_TABLE = 0.6
_DIGITS = "0123456789"
_NO_KEY = re.compile(r"Interpolation key '(\w+)'")
_ALL_KEYS = {item.name for program in schema.SCHEMAS.values() for item in dataclasses.fields(program)}
_REFERENCE = re.compile(r"\$\{(\w[\w.]*)\}")
_DURATION = re.compile(r"\d+:\d{2}:\d{2}:\d{2}")

Compose = Callable[[list[str]], DictConfig]


def check_config(
    cfg: DictConfig, config_name: str, overrides: Iterable[str] = (), compose: Compose | None = None
) -> None:
    """Refuses unknown keys, values of a wrong type and values out of bounds, at every depth.

    Args:
        cfg: the composed configuration; not changed.
        config_name: the program, for its schema.
        overrides: of the command line; what `+key=value` adds to a table is checked against the table's other keys.
        compose: composes the configuration from other overrides, to see what was there before.

    Raises:
        ConfigError: names the key, what was expected, and the nearest key or the allowed ones.
    """
    content = plain(cfg)
    hints = typing.get_type_hints(schema.SCHEMAS[config_name])
    groups = {name: hint for name, hint in schema.GROUPS.items() if name in hints}
    check = _Check(content, config_name)
    check.mapping(content, Parameters(config_name, {**hints, **groups}), "")
    if compose is not None and any(item.startswith("+") for item in overrides):
        check.additions(overrides, compose)
    for name in groups:
        if content.get(name, UNKNOWN) is UNKNOWN:
            raise ConfigError(f"nothing is chosen for the group '{name}'; `--help` lists its options")
    _check_numbers(content)


def plain(node: Any) -> Any:
    """Dicts, lists and scalars of a node, resolved; `UNKNOWN` for what the program fills in later."""
    if isinstance(node, DictConfig):
        return None if node._is_none() else {str(key): _child(node, key) for key in node}
    if isinstance(node, ListConfig):
        return None if node._is_none() else [_child(node, index) for index in range(len(node))]
    return node


def _child(node: DictConfig | ListConfig, key: Any) -> Any:
    try:
        value = plain(node[key])
    except (MissingMandatoryValue, InterpolationToMissingValueError):
        return UNKNOWN
    except InterpolationKeyError as error:
        # `paths` serves programs that have no `run_name` as well, and do not ask for what depends on it.
        if _NO_KEY.findall(str(error))[:1] in ([name] for name in _ALL_KEYS):
            return UNKNOWN
        raise
    inner = node._get_node(key)
    if isinstance(value, dict) and isinstance(inner, Node) and inner._is_interpolation():
        owner = _REFERENCE.fullmatch(str(inner._value()))
        return Referred(value, owner.group(1) if owner else "")
    return value


class _Check:
    """Walks through a configuration.

    Args:
        content: all of it, for suggestions.
        program: whose help says more.
    """

    def __init__(self, content: dict[str, Any], program: str) -> None:
        self._content = content
        self._program = program

    def mapping(self, found: Mapping[str, Any], allowed: Parameters, prefix: str) -> None:
        """Checks keys and values of a mapping, and of everything in it."""
        for name, value in found.items():
            if name in _HYDRA_KEYS and "_target_" in found:
                continue
            path = f"{prefix}{name}"
            if name not in allowed.hints and (allowed.closed or nearest(str(name), allowed.hints, _MISSPELT)):
                self._refuse(path)
            self._value(value, allowed.hints.get(name, Any), path)

    def additions(self, overrides: Iterable[str], compose: Compose) -> None:
        """Refuses a key that the command line adds to a table where a key much like it stands already.

        The tables' own classes know what is allowed in them, but are built only after the data is opened.
        """
        before = plain(compose([item for item in overrides if not item.startswith("+")]))
        for item in overrides:
            names = item.lstrip("+").partition("=")[0].split(".") if item.startswith("+") else []
            for depth in range(1, len(names) + 1):
                path = ".".join(names[:depth])
                if _at(before, path) is UNKNOWN and _like_a_sibling(self._content, path):
                    self._refuse(path)

    def _refuse(self, path: str) -> None:
        more = f"Run `python -m lidar_mt.{self._program} --help` for the useful keys."
        raise ConfigError(f"{unknown_key(path, without(self._content, path))}\n{more}")

    def _value(self, value: Any, hint: Any, path: str) -> None:
        if dataclasses.is_dataclass(hint) and isinstance(value, dict) and "_target_" not in value:
            self.mapping(value, Parameters(path, typing.get_type_hints(hint)), f"{path}.")
            return
        wrong = misfit(value, hint, path, find_class)
        if wrong is not None:
            if wrong.expected.startswith("an object") and _like_a_sibling(self._content, wrong.path):
                self._refuse(wrong.path)
            raise ConfigError(f"{wrong.path}={_show(wrong.value)}: expected {wrong.expected}")
        self._objects(value, path)

    def _objects(self, value: Any, path: str) -> None:
        """Checks every object in a value against its own class."""
        if isinstance(value, Referred):
            return
        if isinstance(value, dict) and "_target_" in value:
            self.mapping(value, parameters_of(value["_target_"]), f"{path}.")
        elif isinstance(value, dict | list):
            for name, each in value.items() if isinstance(value, dict) else enumerate(value):
                self._objects(each, f"{path}.{name}")


def _like_a_sibling(content: dict[str, Any], path: str) -> bool:
    """Whether a key in a table (a mapping without `_target_`) is a likely misspelling of another one there."""
    parent, _, name = path.rpartition(".")
    table = _at(content, parent) if parent else {}
    if not isinstance(table, dict) or "_target_" in table or name not in table:
        return False
    others = [str(other) for other in table if other != name]
    near = nearest(name, others, _MISSPELT_IN_TABLE)
    numbered = any(letter.isdigit() for letter in name)  # level6 is no misspelling of level5
    return bool(near) and not (numbered and near.strip(_DIGITS) == name.strip(_DIGITS))


def without(content: dict[str, Any], path: str) -> dict[str, Any]:
    """A configuration without one dotted key."""
    first, _, rest = path.partition(".")
    inner = content[first]
    others = {name: value for name, value in content.items() if name != first}
    if rest:
        others[first] = without(inner, rest) if isinstance(inner, dict) else inner
    return others


def _check_numbers(content: dict[str, Any]) -> None:
    for path, low in schema.BOUNDS.items():
        value = _at(content, path)
        if isinstance(value, int | float) and not value >= low:
            raise ConfigError(f"{path}={value}: expected a number >= {low}")
    for path, high in schema.UPPER_BOUNDS.items():
        value = _at(content, path)
        if isinstance(value, int | float) and not value <= high:
            raise ConfigError(f"{path}={value}: expected a number <= {high}")
    for path in schema.NOT_NULL:
        if _at(content, path) is None:
            raise ConfigError(f"{path}=null: expected a number")
    for path in schema.DURATIONS:
        value = _at(content, path)
        if isinstance(value, str) and not _DURATION.fullmatch(value):
            raise ConfigError(f"{path}={value}: expected a number, or a time as days:hours:minutes:seconds")


def _at(content: Any, path: str) -> Any:
    """The value of a dotted key, or `UNKNOWN` where there is none."""
    for name in path.split("."):
        if not isinstance(content, dict) or name not in content:
            return UNKNOWN
        content = content[name]
    return content


def _show(value: Any) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
