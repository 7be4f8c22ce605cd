"""Commands that a program tells or starts: another program, with what the running job was given."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from hydra.core.hydra_config import HydraConfig


def command_line() -> list[str]:
    """The overrides of the running job, of it alone in a multirun, and `--config-dir=DIR` where it was given."""
    job = HydraConfig.get()
    folders = [
        source.path.removeprefix("file://")
        for source in job.runtime.config_sources
        if source.provider == "command-line"
    ]
    return [*job.overrides.task, *(f"--config-dir={folder}" for folder in folders)]


def program_words(program: str, arguments: Iterable[str]) -> list[str]:
    """What stands behind `python`; options come last, since Hydra wants all overrides in one piece.

    Args:
        program: `train`, `evaluate`, ...
        arguments: overrides, and options in one word each.
    """
    return ["-m", f"lidar_mt.{program}", *sorted(arguments, key=lambda item: item.startswith("--"))]


def told_command(program: str, arguments: Iterable[str]) -> str:
    """The command as a shell reads it."""
    return shlex.join(["python", *program_words(program, arguments)])
