"""A quantization with exceptions, written as a file of the group `quant`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from lidar_mt.config.check import plain

#: Chosen by `quant=exceptions --config-dir FOLDER`.
NAME = "exceptions"


def with_exceptions(quant: DictConfig, rules: Sequence[Mapping[str, str]]) -> DictConfig:
    """A quantization with more exceptions behind its own, where they win."""
    found = plain(quant)
    return OmegaConf.create({**found, "exceptions": [*found.get("exceptions", []), *(dict(rule) for rule in rules)]})


def write_exceptions(
    folder: Path, quant: DictConfig, rules: Sequence[Mapping[str, str]], notes: Mapping[str, str], head: str
) -> Path:
    """Writes `<folder>/quant/exceptions.yaml`.

    Args:
        folder: for `--config-dir`.
        quant: the quantization without them.
        rules: pairs of pattern and precision.
        notes: comment by pattern.
        head: comment at the top, one line.
    """
    whole = plain(with_exceptions(quant, rules))
    others = {key: value for key, value in whole.items() if key != "exceptions"}
    lines = [f"# {head}", OmegaConf.to_yaml(OmegaConf.create(others)).rstrip()]
    every = whole["exceptions"]
    lines.append("exceptions:" if every else "exceptions: []")
    for rule in every:
        note = notes.get(rule["pattern"])
        lines.append(f"  - {_flow(rule)}{f'  # {note}' if note else ''}")
    path = folder / "quant" / f"{NAME}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def override(quant: DictConfig, rules: Sequence[Mapping[str, str]]) -> str:
    """The same exceptions as one argument of a command line."""
    every = with_exceptions(quant, rules).exceptions
    return shlex.quote(f"quant.exceptions=[{', '.join(_flow(rule) for rule in every)}]")


def _flow(rule: Mapping[str, str]) -> str:
    """Read alike by YAML and by Hydra."""
    return f"{{pattern: {json.dumps(rule['pattern'])}, precision: {rule['precision']}}}"
