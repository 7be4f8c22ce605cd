"""The frame around every program: compose its configuration, run it, turn expected errors into one line."""

from __future__ import annotations

import dataclasses
import difflib
import errno
import functools
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lidar_mt.config import resolvers, schema
from lidar_mt.structures.errors import ConfigError, LidarMtError

_PACKAGE = Path(__file__).resolve().parents[1]
_CHECKOUT_CONF = _PACKAGE.parents[1] / "conf"
#: Absolute path of the Hydra tree: the checkout's `conf/`, or the copy that the wheel carries.
CONF_DIR = str(_PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _CHECKOUT_CONF)

#: Exit status of a program that stops with an expected error.
EXIT_ERROR = 2

# Lines of Hydra's messages that mean nothing to the reader of one.
_NOISE = ("set HYDRA", "full_key", "object_type", "reference_type")

#: Programs that compose conf/recipe.yaml and so have experiments.
_WITH_RECIPE = ("train", "evaluate")

Main = Callable[[DictConfig], None]


def program(config_name: str) -> Callable[[Main], Callable[[], None]]:
    """Decorates the `main(cfg)` of a program.

    The program composes `conf/<config_name>.yaml` with the command line's `key=value` overrides, checked against
    the schema of the same name. A `LidarMtError` or a mistake in an override is printed as one `error:` line, with
    the nearest key where a key is unknown, and the process exits with status 2.

    Args:
        config_name: name of the top-level config file, without `.yaml`.
    """
    _register()

    def decorate(main: Main) -> Callable[[], None]:
        @functools.wraps(main)
        def guarded(cfg: DictConfig) -> None:
            # Inside Hydra's frame, which would print a line of its own about any other exception.
            try:
                _check_keys(cfg, config_name)
                main(cfg)
            except LidarMtError as error:
                _stop(_message(error))
            except (HydraException, OmegaConfBaseException) as error:
                _stop(_explain(error, config_name))
            except OSError as error:
                _stop(_explain_system(error))

        run = hydra.main(config_path=CONF_DIR, config_name=config_name, version_base="1.3")(guarded)

        @functools.wraps(main)
        def entry() -> None:
            # Hydra swallows exceptions and prints its own text unless this is set; the errors are ours to word.
            os.environ["HYDRA_FULL_ERROR"] = "1"
            if {"--help", "-h"} & set(sys.argv[1:]):
                print(_help(main, config_name))
                return
            try:
                run()
            except (HydraException, OmegaConfBaseException) as error:
                _stop(_explain(error, config_name))

        return entry

    return decorate


def compose(config_name: str, overrides: list[str] | None = None) -> DictConfig:
    """Composes a program's configuration without running it.

    Args:
        config_name: name of the top-level config file, without `.yaml`.
        overrides: command-line style overrides.
    """
    _register()
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(CONF_DIR, version_base="1.3"):
        return hydra.compose(config_name, overrides=overrides or [])


def _register() -> None:
    resolvers.register()
    store = ConfigStore.instance()
    for name, node in schema.SCHEMAS.items():
        store.store(name=f"{name}_schema", node=node)


def _check_keys(cfg: DictConfig, config_name: str) -> None:
    """Refuses top-level keys that `+key=value` added: Hydra takes them, and nothing would read them."""
    known = [item.name for item in dataclasses.fields(schema.SCHEMAS[config_name])]
    for name in set(cfg) - set(known):
        nearest = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
        hint = f" Did you mean '{nearest[0]}'?" if nearest else ""
        raise ConfigError(f"unknown key '{name}'.{hint} Run `python -m lidar_mt.{config_name} --help` for the keys.")


def _message(error: LidarMtError) -> str:
    """The error's own words; a loader process hands them over at the end of its traceback."""
    text = str(error)
    return text.rsplit(f"{type(error).__name__}: ", 1)[-1].strip() if "Original Traceback" in text else text


def _explain_system(error: OSError) -> str:
    """A full disk, a folder without permission, a file where a folder should be; others are raised again."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"disk full: {error}; make room and run the command again"
    if error.filename is None:
        raise error
    return f"{error.filename}: {error.strerror}; choose another place or make room"


def _help(main: Main, config_name: str) -> str:
    """The program's own docstring, then the config groups that it has and their options."""
    known = {item.name for item in dataclasses.fields(schema.SCHEMAS[config_name])} | {"experiment", "debug"}
    if config_name not in _WITH_RECIPE:
        known -= {"experiment", "debug"}
    options: dict[str, list[str]] = {}
    for path in sorted(Path(CONF_DIR).rglob("*.yaml")):
        group = path.parent.relative_to(CONF_DIR).as_posix()
        if group.split("/")[0] in known:
            options.setdefault(group, []).append(path.stem)
    groups = "\n".join(f"    {group:18} {', '.join(names)}" for group, names in options.items())
    usage = (sys.modules[main.__module__].__doc__ or "").strip()
    return f"{usage}\n\nGroups (group=option):\n{groups}\n\nAdd `--cfg job` to see every key and its value."


def _stop(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(EXIT_ERROR)


def _explain(error: Exception, config_name: str) -> str:
    """Words a composition error: the key, the nearest known key, and the command that lists them all."""
    reason = " ".join(str(part).strip() for part in (error, error.__cause__) if part)
    reason = reason.split("Config search path")[0]
    reason = " ".join(line.strip() for line in reason.splitlines() if not line.strip().startswith(_NOISE)).strip()
    key = re.search(r"[Kk]ey '([^']+)'|Could not override '([^']+)'|Could not find '([^']+)'", reason)
    unknown = next((name for name in key.groups() if name), "") if key else ""
    nearest = difflib.get_close_matches(unknown, sorted(_known_names(config_name)), n=1, cutoff=0.5) if unknown else []
    hint = f" Did you mean '{nearest[0]}'?" if nearest and nearest[0] != unknown else ""
    more = f"Run `python -m lidar_mt.{config_name} --help` for the useful keys, or add `--cfg job` to see all of them."
    if "mismatched input" in reason or "LexerNoViableAlt" in reason or "no viable alternative" in reason:
        hint = " A value with '=', ',', brackets or quotes needs quotes of its own, such as 'out=\"a=b\"'."
    return f"{reason}{hint}\n{more}"


def _known_names(config_name: str) -> set[str]:
    """Every key and dotted key of the program's default configuration, and every group option."""
    names = {str(path.relative_to(CONF_DIR).with_suffix("")) for path in Path(CONF_DIR).rglob("*.yaml")}
    try:
        config = compose(config_name)
    except (HydraException, OmegaConfBaseException):
        return names
    return names | set(_keys(OmegaConf.to_container(config, resolve=False), ""))


def _keys(node: Any, prefix: str) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            yield str(name)
            yield f"{prefix}{name}"
            yield from _keys(value, f"{prefix}{name}.")
