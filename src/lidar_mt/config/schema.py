"""The top-level keys of each program, with their types: a misspelt or mistyped key stops a program at once.

A field typed `Any` is a config group whose files hold its keys; composing adds them, and the command line cannot
add others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class TrainConfig:
    """Keys of `python -m lidar_mt.train`."""

    stage: Any = MISSING
    seed: int = 0
    grid: Any = MISSING
    classes: Any = MISSING
    data: Any = MISSING
    augmentation: Any = MISSING
    model: Any = MISSING
    task: Any = MISSING
    metric: Any = MISSING
    optimizer: Any = MISSING
    scheduler: Any = MISSING
    trainer: Any = MISSING
    callbacks: Any = MISSING
    logger: Any = MISSING
    paths: Any = MISSING
    run_name: str = MISSING
    resume: str | None = None


#: Program name -> schema. Each program's YAML lists `<name>_schema` first.
SCHEMAS: dict[str, type] = {
    "train": TrainConfig,
}
