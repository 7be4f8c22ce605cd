"""What a run does differently from the defaults, and a resumed run from the run that it goes on with."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from omegaconf import DictConfig, OmegaConf

from lidar_mt.config.check import plain
from lidar_mt.config.types import UNKNOWN
from lidar_mt.structures.errors import CheckpointError

#: Written into each run folder.
CHANGES_NAME = "changes.yaml"
#: The resolved configuration that training writes into its run folder.
CONFIG_NAME = "config.yaml"
#: Differ between any two runs and say nothing.
_OWN_FOLDERS = ("paths.run", "paths.published", "resume")
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")
_SHOWN = 12
_WIDTH = 80
#: Stands for the value of a key that is not there.
ABSENT = "(absent)"

log = logging.getLogger("lidar_mt.config")


class Change(NamedTuple):
    """A key that differs.

    Attributes:
        before: its value there, `ABSENT` where it had none.
        after: its value now, `ABSENT` where it has none.
    """

    before: Any
    after: Any


def changed_keys(before: Mapping[str, Any], after: DictConfig) -> dict[str, Change]:
    """Keys whose values differ, each where it is owned.

    A value that another key refers to (`${grid}` appears a dozen times) is listed once, under the key that holds it.

    Args:
        before: the other configuration, as plain containers.
        after: this configuration.

    Returns:
        Change by dotted key, sorted.
    """
    differing = dict(_differences(before, plain(after), ""))
    raw = OmegaConf.to_container(after, resolve=False)
    return {
        path: change
        for path, change in sorted(differing.items())
        if path not in _OWN_FOLDERS and not _is_derived(path, change, raw, differing)
    }


def report_changes(defaults: DictConfig, cfg: DictConfig, folder: Path) -> None:
    """Writes `changes.yaml` into a run folder, and says in short what it holds.

    Args:
        defaults: the program's configuration without any override.
        cfg: the run's.
        folder: the run folder.
    """
    changes = changed_keys(plain(defaults), cfg)
    folder.mkdir(parents=True, exist_ok=True)
    content = {path: {"default": change.before, "here": change.after} for path, change in changes.items()}
    (folder / CHANGES_NAME).write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    log.info("%s", describe(changes, "differ from the defaults"))


def changes_since(checkpoint: str | Path, cfg: DictConfig) -> dict[str, Change]:
    """Keys that changed since the run that a checkpoint belongs to.

    Args:
        checkpoint: `<run>/checkpoints/NAME.ckpt`, or a published copy: beside that lies a description of the network
            alone, so only its keys are compared.
        cfg: the configuration of the run that goes on.

    Raises:
        CheckpointError: the run's configuration is damaged.
    """
    folder = Path(checkpoint).resolve().parent
    whole = folder.parent / CONFIG_NAME
    path = whole if whole.is_file() else folder / CONFIG_NAME
    if not path.is_file():
        return {}
    try:
        before = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is damaged, so the runs cannot be compared; restore or remove it") from error
    if not isinstance(before, dict):
        raise CheckpointError(f"{path} holds no configuration, so the runs cannot be compared; restore or remove it")
    shared = {str(key) for key in cfg if key in before}
    changes = changed_keys(before, cfg)
    return {path: change for path, change in changes.items() if path.split(".", maxsplit=1)[0] in shared}


def report_changes_since(checkpoint: str | Path, cfg: DictConfig) -> None:
    """Says which keys changed since the run that a checkpoint belongs to; see `changes_since`."""
    changes = changes_since(checkpoint, cfg)
    log.log(
        logging.WARNING if changes else logging.INFO,
        "%s",
        describe(changes, f"changed since the run of {checkpoint}", shown=len(changes)),
    )


def describe(changes: Mapping[str, Change], what: str, shown: int = _SHOWN) -> str:
    """One line per change after a heading.

    Args:
        changes: by dotted key.
        what: rest of the heading, such as "differ from the defaults".
        shown: largest number of lines.

    Example:
        >>> print(describe({"seed": Change(0, 1)}, "differ from the defaults"))
        keys that differ from the defaults (1):
          seed: 0 -> 1
    """
    if not changes:
        return f"no keys that {what}"
    lines = [f"  {path}: {_show(change.before)} -> {_show(change.after)}" for path, change in changes.items()]
    more = [f"  and {len(lines) - shown} more in {CHANGES_NAME}"] if len(lines) > shown else []
    return "\n".join([f"keys that {what} ({len(lines)}):", *lines[:shown], *more])


def _differences(before: Any, after: Any, path: str) -> Iterator[tuple[str, Change]]:
    """Dotted keys that differ; a list is compared as a whole, since its elements have no names."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in dict.fromkeys([*before, *after]):
            inner = f"{path}.{name}" if path else str(name)
            yield from _differences(before.get(name, ABSENT), after.get(name, ABSENT), inner)
    elif before != after and UNKNOWN not in (before, after):
        yield path, Change(_without_unknown(before), _without_unknown(after))


def _without_unknown(node: Any) -> Any:
    if isinstance(node, dict):
        return {name: _without_unknown(value) for name, value in node.items() if value is not UNKNOWN}
    return node


def _is_derived(path: str, change: Change, raw: Any, differing: Mapping[str, Change]) -> bool:
    """Whether a key only follows what changed where it refers to."""
    start, text = _nearest_text(path, raw)
    references = [_absolute(reference, start) for reference in _REFERENCE.findall(text)]
    if len(references) == 1 and _REFERENCE.fullmatch(text):
        return differing.get(references[0] + path[len(start) :]) == change
    return any(reference in differing for reference in references)


def _nearest_text(path: str, raw: Any) -> tuple[str, str]:
    """The unresolved text on the way to a dotted key, and its own key; empty where there is none."""
    names = path.split(".")
    for depth, name in enumerate(names, start=1):
        raw = raw.get(name) if isinstance(raw, dict) else None
        if isinstance(raw, str):
            return ".".join(names[:depth]), raw
    return path, ""


def _absolute(reference: str, path: str) -> str:
    """A reference as a dotted key; `.name` is a sibling of the key at `path`, `..name` one of its parent."""
    dots = len(reference) - len(reference.lstrip("."))
    if not dots:
        return reference
    above = path.split(".")[:-dots]
    return ".".join([*above, reference[dots:]])


def _show(value: Any) -> str:
    if isinstance(value, dict) and "_target_" in value:
        name = str(value["_target_"]).rpartition(".")[2]
        inner = ", ".join(f"{key}={_show(each)}" for key, each in value.items() if not str(key).startswith("_"))
        text = f"{name}({inner})"
    else:
        text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."
