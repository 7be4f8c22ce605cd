"""The frame around every program: compose its configuration, run it, turn expected errors into one line."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lidar_mt.config import resolvers, schema
from lidar_mt.config.changes import report_changes
from lidar_mt.config.check import Compose, check_config
from lidar_mt.config.explain import explain, groups
from lidar_mt.config.run_folder import discarded_on_error
from lidar_mt.structures.errors import ConfigError, LidarMtError

_PACKAGE = Path(__file__).resolve().parents[1]
_CHECKOUT_CONF = _PACKAGE.parents[1] / "conf"
#: Absolute path of the Hydra tree: the checkout's `conf/`, or the copy that the wheel carries.
CONF_DIR = str(_PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _CHECKOUT_CONF)

#: Exit status of a program that stops with an expected error.
EXIT_ERROR = 2

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
            with _errors_in_one_line(config_name), discarded_on_error(cfg):
                check_config(cfg, config_name, HydraConfig.get().overrides.task, _composer(config_name))
                if HydraConfig.get().output_subdir is not None:  # this program has a run folder
                    defaults = _composer(config_name)([])
                    OmegaConf.copy_cache(cfg, defaults)  # the time in a folder's name is that of one moment
                    report_changes(defaults, cfg, Path(HydraConfig.get().runtime.output_dir))
                main(cfg)

        run = hydra.main(config_path=CONF_DIR, config_name=config_name, version_base="1.3")(guarded)

        @functools.wraps(main)
        def entry() -> None:
            # Hydra swallows exceptions and prints its own text unless this is set; the errors are ours to word.
            os.environ["HYDRA_FULL_ERROR"] = "1"
            if {"--help", "-h"} & set(sys.argv[1:]):
                print(_help(main, config_name))
                return
            with _errors_in_one_line(config_name):
                _check_choices(sys.argv[1:])
                run()

        return entry

    return decorate


@contextlib.contextmanager
def _errors_in_one_line(config_name: str) -> Iterator[None]:
    try:
        yield
    except LidarMtError as error:
        _stop(_message(error))
    except (HydraException, OmegaConfBaseException) as error:
        compose_again = functools.partial(_compose, config_name)
        _stop(explain(error, config_name, sys.argv[1:], compose_again, CONF_DIR))
    except OSError as error:
        _stop(_explain_system(error))
    except KeyboardInterrupt:
        _interrupted()


def compose(config_name: str, overrides: list[str] | None = None) -> DictConfig:
    """Composes a program's configuration without running it.

    Args:
        config_name: name of the top-level config file, without `.yaml`.
        overrides: command-line style overrides.

    Raises:
        ConfigError: a key is unknown, or a value has a wrong type.
    """
    _check_choices(overrides or [])
    cfg = _compose(config_name, overrides or [])
    check_config(cfg, config_name, overrides or [], functools.partial(_compose, config_name))
    return cfg


def _compose(config_name: str, overrides: list[str]) -> DictConfig:
    _register()
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(CONF_DIR, version_base="1.3"):
        return hydra.compose(config_name, overrides=overrides)


def _register() -> None:
    resolvers.register()
    store = ConfigStore.instance()
    for name, node in schema.SCHEMAS.items():
        store.store(name=f"{name}_schema", node=node)


def _composer(config_name: str) -> Compose:
    """Composes the program's configuration anew, from within the program."""
    return functools.partial(hydra.compose, config_name)


def _check_choices(arguments: list[str]) -> None:
    """Refuses `group=null`, `group=3` and `=value`, which Hydra answers with a traceback."""
    known = groups(CONF_DIR)
    for name, equals, value in (item.partition("=") for item in arguments):
        if equals and not name:
            raise ConfigError(f"'={value}' lacks its key; an override reads key=value")
        if name in known and (value == "null" or not value.lstrip("[")[:1].isalpha()):
            options = ", ".join(sorted(path.stem for path in Path(CONF_DIR, name).glob("*.yaml")))
            raise ConfigError(f"{name}={value}: the group {name} takes one of its options: {options}")


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
    chosen = _choosable(config_name)
    options: dict[str, list[str]] = {}
    for path in sorted(Path(CONF_DIR).rglob("*.yaml")):
        group = path.parent.relative_to(CONF_DIR).as_posix()
        if group in chosen:
            options.setdefault(group, []).append(path.stem)
    groups = "\n".join(f"    {group:18} {', '.join(names)}" for group, names in options.items())
    usage = (sys.modules[main.__module__].__doc__ or "").strip()
    return f"{usage}\n\nGroups (group=option):\n{groups}\n\nAdd `--cfg job` to see every key and its value."


def _choosable(config_name: str) -> set[str]:
    """The groups that a program's defaults choose; one that stands at another place (`model/head@...`) is not alone."""
    _register()
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(CONF_DIR, version_base="1.3"):
        cfg = hydra.compose(config_name, return_hydra_config=True)
    return {name for name in cfg.hydra.runtime.choices if "@" not in name and not name.startswith("hydra")}


def _interrupted() -> None:
    print("stopped by Ctrl-C; programs that say so in --help go on where they were", file=sys.stderr)
    sys.exit(128 + signal.SIGINT)


def _stop(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(EXIT_ERROR)
