"""Words for what Hydra and omegaconf refuse while they compose."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from lidar_mt.config.check import Compose, plain
from lidar_mt.config.nearest import nearest, unknown_key

# Lines of their messages that mean nothing to the reader of one.
_NOISE = ("set HYDRA", "full_key", "object_type", "reference_type", "See https", "To append", "provider=")
_UNKNOWN_KEY = re.compile(r"(?:Could not override|Could not delete from config\.) '([^']+)'")
_UNKNOWN_OPTION = re.compile(r"Could not find '([^']+)'")
_GRAMMAR = ("mismatched input", "LexerNoViableAlt", "no viable alternative", "extraneous input", "missing EQUAL")


def explain(error: Exception, config_name: str, arguments: list[str], compose: Compose, conf_dir: str) -> str:
    """Words a composition error: the key, the nearest known key, and the command that lists them all.

    Args:
        error: from Hydra or omegaconf.
        config_name: the program.
        arguments: its command line.
        compose: composes the program's configuration from overrides.
        conf_dir: the folder of all config groups.
    """
    reason = " ".join(str(part).strip() for part in (error, error.__cause__) if part)
    reason = reason.split("Config search path")[0]
    reason = " ".join(line.strip() for line in reason.splitlines() if not line.strip().startswith(_NOISE)).strip()
    more = f"Run `python -m lidar_mt.{config_name} --help` for the useful keys, or add `--cfg job` to see all of them."
    key, option = _UNKNOWN_KEY.search(reason), _UNKNOWN_OPTION.search(reason)
    merging = re.match(r"Error merging override (\S+) (.*)", reason)
    if key:
        reason = _explain_key(key.group(1), arguments, compose, conf_dir)
    elif option:
        group, _, name = option.group(1).rpartition("/")
        meant = nearest(name, (path.stem for path in Path(conf_dir, group).glob("*.yaml")))
        reason += f" Did you mean '{group}={meant}'?" if meant else ""
    elif merging:
        reason = f"{merging.group(1)}: {merging.group(2)}"
    elif any(word in reason for word in _GRAMMAR):
        reason += " An override reads key=value; a value with '=', ',', brackets or quotes needs quotes of its own, "
        reason += "such as 'out=\"a=b\"'."
    return f"{reason}\n{more}"


def groups(conf_dir: str) -> set[str]:
    """Names of all config groups, such as `model` and `model/voxelizer`."""
    return {path.parent.relative_to(conf_dir).as_posix() for path in Path(conf_dir).rglob("*.yaml")} - {"."}


def _explain_key(key: str, arguments: list[str], compose: Compose, conf_dir: str) -> str:
    name = key.split("@", maxsplit=1)[0]
    if "/" in name:
        if name in groups(conf_dir):
            return _explain_group(name, compose, conf_dir)
        meant = nearest(name, groups(conf_dir))
        return f"unknown group '{name}'." + (f" Did you mean '{meant}'?" if meant else "")
    # Options of groups decide which keys there are, so those of the command line are kept.
    known = groups(conf_dir)
    choices = [item for item in arguments if item.split("=")[0].split("@")[0] in known]
    return unknown_key(key, _compose_plain(compose, choices))


def _explain_group(name: str, compose: Compose, conf_dir: str) -> str:
    """Why a group that exists cannot be chosen: options of the one above choose it, or the program has none of it."""
    above = name.split("/", maxsplit=1)[0]
    if above not in _compose_plain(compose, []):
        return f"there is no group '{name}' in this program"
    options = ", ".join(sorted(path.stem for path in Path(conf_dir, above).glob("*.yaml")))
    return f"the group '{name}' cannot be chosen alone; {above}=... does: {options}"


def _compose_plain(compose: Compose, choices: list[str]) -> dict[str, Any]:
    for overrides in (choices, []):
        try:
            content: dict[str, Any] = plain(compose(overrides))
        except (HydraException, OmegaConfBaseException):
            continue
        return content
    return {}
