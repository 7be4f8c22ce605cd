"""The top-level keys of each program, with their types: a misspelt or mistyped key stops a program at once.

A field typed `Any` is a config group whose files hold its keys; composing adds them, and the command line cannot
add others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING


@dataclass
class RecipeConfig:
    """The groups that training and evaluation share, see conf/recipe.yaml."""

    stage: Any = MISSING
    grid: Any = MISSING
    classes: Any = MISSING
    paths: Any = MISSING
    data: Any = MISSING
    augmentation: Any = MISSING
    bev_labels: Any = MISSING
    model: Any = MISSING
    task: Any = MISSING
    metric: Any = MISSING
    optimizer: Any = MISSING
    scheduler: Any = MISSING
    trainer: Any = MISSING
    callbacks: Any = MISSING
    logger: Any = MISSING
    run_name: str = MISSING
    seed: int = 0


@dataclass
class TrainConfig(RecipeConfig):
    """Keys of `python -m lidar_mt.train`."""

    resume: str | None = None


@dataclass
class EvaluateConfig(RecipeConfig):
    """Keys of `python -m lidar_mt.evaluate`."""

    checkpoint: str = MISSING
    split: str = MISSING
    out: str = MISSING
    results: str | None = None
    data_root: str | None = None
    version: str = MISSING


@dataclass
class InferConfig:
    """Keys of `python -m lidar_mt.infer`."""

    points: str = MISSING
    columns: int | None = None
    run_name: str = MISSING
    checkpoint: str = MISSING
    out: str = MISSING
    score_threshold: float = 0.3
    paths: Any = MISSING
    stage: Any = MISSING


@dataclass
class PackDataConfig:
    """Keys of `python -m lidar_mt.pack_data`."""

    src: str = MISSING
    version: str = MISSING
    split: str = MISSING
    out: str = MISSING
    on_bad_file: str = "error"
    overwrite: bool = False
    workers: int | None = None
    executor: Any = MISSING
    paths: Any = MISSING


@dataclass
class VerifyDataConfig:
    """Keys of `python -m lidar_mt.verify_data`."""

    packed: str = MISSING
    version: str = MISSING
    split: str = MISSING
    store: str | None = None
    paths: Any = MISSING


@dataclass
class CreateDataConfig:
    """Keys of `python -m lidar_mt.create_data`."""

    packed: str = MISSING
    version: str = MISSING
    split: str = MISSING
    out: str = MISSING
    workers: int | None = None
    executor: Any = MISSING
    allow_empty: bool = False
    overwrite: bool = False
    classes: Any = MISSING
    paths: Any = MISSING


@dataclass
class CalopsConfig:
    """Keys of `python -m lidar_mt.calops`."""

    grid: Any = MISSING
    classes: Any = MISSING
    model: Any = MISSING


@dataclass
class CountClassesConfig:
    """Keys of `python -m lidar_mt.count_classes`."""

    packed: str = MISSING
    version: str = MISSING
    split: str = MISSING
    out: str = MISSING
    run_name: str = MISSING
    seed: int = 0
    classes: Any = MISSING
    paths: Any = MISSING


@dataclass
class SimulateConfig:
    """Keys of `python -m lidar_mt.simulate`."""

    out: str = MISSING
    version: str = "v1.0-mini"
    scenes: int = 10
    keyframes: int = 40
    sweeps: int = 10
    seed: int = 0
    workers: int | None = None


#: Program name -> schema. Each program's YAML lists `<name>_schema` first.
SCHEMAS: dict[str, type] = {
    "calops": CalopsConfig,
    "create_data": CreateDataConfig,
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "count_classes": CountClassesConfig,
    "infer": InferConfig,
    "pack_data": PackDataConfig,
    "verify_data": VerifyDataConfig,
    "simulate": SimulateConfig,
}
