"""The commands that README, docs and scripts show, and what makes them short enough for a test."""

from __future__ import annotations

import copy
import functools
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from lidar_mt.config import CONF_DIR, compose
from lidar_mt.config.check import check_config
from lidar_mt.config.explain import groups
from tests.helpers.training import SMALL_NETWORK

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = (README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))

LOADING = ("data.num_workers=0", "data.num_sweeps=1", "trainer.accelerator=cpu", "trainer.devices=1")
SHORT = (
    *(item for item in SMALL_NETWORK if not item.startswith(("optimizer", "data."))),
    *LOADING,
    "data.batch_size=2",
    "data.calibration_batches=2",
    "data.calibration_batch_size=2",
    "float_epochs=1",
    "trainer.log_every_n_steps=2",  # of eight
)
#: What makes a command short; nothing else is changed.
MORE = {
    "train": SHORT,
    "evaluate": LOADING,
    "parity": (*LOADING, "samples=1"),
    "sensitivity": (*LOADING, "calibration_samples=1"),
    "export": ("data.num_sweeps=1",),
    "create_data": ("allow_empty=true",),
}

_FENCED = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
_COMMAND = r"(?:python -m lidar_mt\.|make )"
_LINE = re.compile(rf"^(?:\$ )?({_COMMAND}.*)\n(error: .*)?", re.MULTILINE)
_INLINE = re.compile(rf"`({_COMMAND}[^`]+)`")


@dataclass(frozen=True)
class Documented:
    """A command as it is written.

    Attributes:
        page: file name.
        text: from `python` or `make` on, without prompt and comment.
        program: such as `train`; `make` for the Makefile.
        words: what follows the program's name.
        refusal: the error that the page shows below it; empty where it is meant to work.
    """

    page: str
    text: str
    program: str
    words: tuple[str, ...]
    refusal: str = ""

    def job(self) -> list[str]:
        """The overrides of the first job, with something in the place of `...`."""
        words = [word.replace("=...", "=v1.0-mini") for word in self.words if word not in ("-m", "...")]
        words = [re.sub("<(.*?)>", r"\1", word) for word in words]
        return [word.partition(",")[0] for word in words] if "-m" in self.words else words


def commands(page: Path, inline: bool = True) -> list[Documented]:
    """Every command of a page, in its order.

    Args:
        page: Markdown.
        inline: those between backquotes in text and tables as well, not only those in blocks.
    """
    text = page.read_text(encoding="utf-8")
    found = [
        (block.start(1) + line.start(), line[1], line[2] or "")
        for block in _FENCED.finditer(text)
        for line in _LINE.finditer(block[1])
    ]
    if inline:
        outside = _FENCED.sub(lambda block: " " * len(block[0]), text)  # places stay
        found += [(match.start(), match[1], "") for match in _INLINE.finditer(outside)]
    return [parse(page.name, line, refusal) for _, line, refusal in sorted(found)]


def parse(page: str, line: str, refusal: str = "") -> Documented:
    """Takes a line apart as the shell does."""
    words = shlex.split(line, comments=True)
    made = words[0] == "make"
    program, rest = ("make", words[1:]) if made else (words[2].removeprefix("lidar_mt."), words[3:])
    return Documented(page, shlex.join(words), program, tuple(rest), refusal)


def compose_quickly(program: str, overrides: list[str]) -> DictConfig:
    """Composes and checks a command's configuration as the program does; each set of groups is composed once.

    Raises:
        ConfigError, HydraException, OmegaConfBaseException: the command line is refused.
    """
    if program == "doctor":  # which hands on what it does not know
        program, overrides = "train", [item for item in overrides if item.partition("=")[0] not in ("json", "out")]
    known = {*groups(CONF_DIR), "experiment", "debug", "stage"}
    choices = tuple(item for item in overrides if item.partition("=")[0] in known)
    base = _composed(program, choices)
    cfg = copy.deepcopy(base)
    values = [item for item in overrides if item not in choices]
    # Hydra's own function; a composition takes ten times as long.
    ConfigLoaderImpl._apply_overrides_to_config(OverridesParser.create().parse_overrides(values), cfg)
    check_config(cfg, program, values, lambda _: base)
    return cfg


@functools.cache
def _composed(program: str, choices: tuple[str, ...]) -> DictConfig:
    return compose(program, list(choices))


def makefile_targets() -> set[str]:
    """Names of the Makefile's targets."""
    return set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
