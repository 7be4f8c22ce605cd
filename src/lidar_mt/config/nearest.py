"""What was probably meant by a key that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

from lidar_mt.config.parameters import parameters_of
from lidar_mt.config.types import Referred

#: Names less alike than this share of letters are not suggested.
_CUTOFF = 0.5


def nearest(name: str, known: Iterable[str], cutoff: float = _CUTOFF) -> str:
    """The known name that is most like `name`, or an empty string."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)), "")


def unknown_key(path: str, content: dict[str, Any]) -> str:
    """The message about an unknown key: the nearest known one, or all that are known in its place.

    Args:
        path: dotted key.
        content: the whole configuration, as plain containers.

    Example:
        >>> unknown_key("trainer.max_epoch", {"trainer": {"max_epochs": 20}})
        "unknown key 'trainer.max_epoch'. Did you mean 'trainer.max_epochs'?"
    """
    found, node, left = _walk(path, content)
    if not left:
        return f"'{path}' only refers to '{'.'.join(found)}'; change it there"
    where = ".".join(found)
    if node is None and found:
        return f"unknown key '{path}': '{where}' is null here; choose an option of its group that sets it"
    if not isinstance(node, dict | list):
        return f"unknown key '{path}': '{where}' holds a single value"
    siblings = _names(node)
    if left[0] in siblings:
        return f"'{path}' is not set here; '+{path}=VALUE' adds it"
    meant = nearest(left[0], siblings)
    elsewhere = "" if found else _elsewhere(path, content, better_than=_alike(left[0], meant))
    if meant and not elsewhere:
        elsewhere = _repair([*found, meant], left[1:], content)
    if elsewhere:
        return f"unknown key '{path}'. Did you mean '{elsewhere}'?"
    return f"unknown key '{path}'. Keys {'of ' + where if where else 'there'}: {', '.join(siblings)}."


def _elsewhere(path: str, content: dict[str, Any], better_than: float) -> str:
    """The dotted key of a whole configuration that is meant by one with a dot too few, or without its group."""
    everything = list(_paths(content, ""))
    by_name = {full.rpartition(".")[2]: full for full in reversed(everything)}
    whole, name = nearest(path, everything, 0.8), nearest(path.rpartition(".")[2], by_name, 0.6)
    if _alike(path, whole) > better_than:
        return whole
    return by_name[name] if "." not in path and _alike(path, name) > better_than else ""


def _alike(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, other, one).ratio() if other else 0.0


def _walk(path: str, content: Any) -> tuple[list[str], Any, list[str]]:
    """Follows a dotted key as far as it exists: the part that does, what is there, and the part that does not.

    The part that exists is given by the place where it stands, not by what refers to it.
    """
    found: list[str] = []
    left = path.split(".")
    node = content
    while left and isinstance(node, dict) and left[0] in node:
        node = node[left[0]]
        found.append(left.pop(0))
        if isinstance(node, Referred) and node.owner:
            found = node.owner.split(".")
    return found, node, left


def _repair(start: list[str], rest: list[str], content: dict[str, Any]) -> str:
    """A dotted key that begins with `start` and follows `rest` as nearly as the configuration allows."""
    path = list(start)
    for name in rest:
        _, node, left = _walk(".".join(path), content)
        meant = nearest(name, _names(node)) if isinstance(node, dict) and not left else ""
        if not meant:
            break
        path.append(meant)
    return ".".join(path)


def _names(node: dict[str, Any] | list[Any]) -> list[str]:
    if isinstance(node, list):
        return [str(index) for index in range(len(node))]
    taken = list(parameters_of(node["_target_"]).hints) if "_target_" in node else []
    return [str(name) for name in dict.fromkeys([*node, *taken]) if not str(name).startswith("_")]


def _paths(node: dict[str, Any], prefix: str) -> Iterator[str]:
    for name, value in node.items():
        if not str(name).startswith("_"):
            yield f"{prefix}{name}"
            if isinstance(value, dict) and not isinstance(value, Referred):
                yield from _paths(value, f"{prefix}{name}.")
