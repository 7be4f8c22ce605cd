"""The top-level keys of each program, with their types: a misspelt or mistyped key stops a program at once.

A field typed `Any` is a config group. What a group may hold stands in `GROUPS`, or in the signature of the class that
its `_target_` names; `config.check` compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from omegaconf import MISSING

from lidar_mt.config.types import ObjectNode

#: Omegaconf knows no such union; the program checks the value.
NumberOrList = Any


@dataclass
class RecipeConfig:
    """The groups that training and evaluation share, see conf/recipe.yaml.

    What others refer to comes first, so that a mistake is told where it was made.
    """

    stage: Any = MISSING
    grid: Any = MISSING
    classes: Any = MISSING
    paths: Any = MISSING
    bev_labels: Any = MISSING
    augmentation: Any = MISSING
    data: Any = MISSING
    model: Any = MISSING
    task: Any = MISSING
    metric: Any = MISSING
    quant: Any = None
    optimizer: Any = MISSING
    scheduler: Any = MISSING
    trainer: Any = MISSING
    callbacks: Any = MISSING
    logger: Any = None
    run_name: str = MISSING
    seed: int = 0
    #: Length of the float stage; qat takes half of it.
    float_epochs: int = 20


@dataclass
class TrainConfig(RecipeConfig):
    """Keys of `python -m lidar_mt.train`."""

    resume: str | None = None


@dataclass
class SearchConfig(TrainConfig):
    """Keys of `python -m lidar_mt.search`: those of training, and what is searched."""

    hparams_search: Any = MISSING


@dataclass
class EvaluateConfig(RecipeConfig):
    """Keys of `python -m lidar_mt.evaluate`."""

    checkpoint: str = MISSING
    split: str = MISSING
    out: str = MISSING
    runtime: str | None = None
    artefact: str = MISSING
    threads: int | None = None
    results: str | None = None
    data_root: str | None = None
    version: str = MISSING


@dataclass
class SensitivityConfig(RecipeConfig):
    """Keys of `python -m lidar_mt.sensitivity`."""

    checkpoint: str = MISSING
    out: str = MISSING
    by: str = MISSING
    split: str = MISSING
    samples: int = MISSING
    cells: str = MISSING
    top: int = MISSING
    metric_samples: int = MISSING
    measure: str = MISSING
    budget: float | None = None
    precisions: list[str] = MISSING
    calibration_samples: int = MISSING


@dataclass
class InferConfig(RecipeConfig):
    """Keys of `python -m lidar_mt.infer`: those of the recipe, so that a stage or an experiment can be named alike."""

    points: str | None = None
    recursive: bool = False
    on_bad_file: str = "error"
    split: str | None = None
    samples: NumberOrList = None
    #: Names of a point's values, or their number.
    columns: NumberOrList = None
    sensor: Any = MISSING
    checkpoint: str = MISSING
    runtime: str | None = None
    artefact: str = MISSING
    threads: int | None = None
    #: None takes a folder of this stage and runtime.
    out: str | None = None
    score_threshold: float = 0.3
    pictures: bool = True
    page: bool = True
    page_frames: int = 100
    page_points: int = 40_000
    rrd: bool = False
    overwrite: bool = False


@dataclass
class ExportConfig(RecipeConfig):
    """Keys of `python -m lidar_mt.export`."""

    checkpoint: str = MISSING
    out: str = MISSING
    overwrite: bool = False


@dataclass
class ReportConfig:
    """Keys of `python -m lidar_mt.report`."""

    run_name: str = MISSING
    out: str = MISSING
    paths: Any = MISSING


@dataclass
class ParityConfig(RecipeConfig):
    """Keys of `python -m lidar_mt.parity`."""

    a: str = MISSING
    b: str = MISSING
    split: str = MISSING
    samples: int = 4
    points: str | None = None
    columns: int | None = None
    threads: int | None = None
    require_equal: bool = False
    out: str = MISSING


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


@dataclass
class CompileConfig:
    """Keys of `python -m lidar_mt.compile`."""

    target: Any = MISSING
    paths: Any = MISSING
    run_name: str = MISSING
    artefact: str = MISSING
    out: str = MISSING
    overwrite: bool = False


#: Program name -> schema. Each program's YAML lists `<name>_schema` first.
SCHEMAS: dict[str, type] = {
    "calops": CalopsConfig,
    "compile": CompileConfig,
    "create_data": CreateDataConfig,
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "count_classes": CountClassesConfig,
    "export": ExportConfig,
    "report": ReportConfig,
    "infer": InferConfig,
    "parity": ParityConfig,
    "pack_data": PackDataConfig,
    "verify_data": VerifyDataConfig,
    "search": SearchConfig,
    "sensitivity": SensitivityConfig,
    "simulate": SimulateConfig,
}


@dataclass
class PathsConfig:
    """The group `paths`; no other group names a folder."""

    root: str
    raw: str
    map_expansion: str
    packed: str
    runs: str
    published: str
    run: str


@dataclass
class StageConfig:
    """The group `stage`."""

    name: str
    start: str  # checkpoint of the stage before


@dataclass
class SearchSpaceConfig:
    """The group `hparams_search`; `config.search_space` reads the space."""

    name: str
    trials: int
    monitor: str
    mode: Literal["max", "min"]
    startup_trials: int
    warmup_validations: int
    space: Mapping[str, Any]


@dataclass
class ModelConfig:
    """The group `model`: the parts, and the network that is made of them."""

    voxelizer: ObjectNode
    encoder: ObjectNode
    backbone: ObjectNode
    neck: ObjectNode
    head: Mapping[str, ObjectNode]
    net: ObjectNode


#: Group -> what it may hold: objects, objects by name, or the keys of a dataclass.
GROUPS: dict[str, Any] = {
    "augmentation": Mapping[str, ObjectNode | None],
    "bev_labels": ObjectNode,
    "callbacks": Mapping[str, ObjectNode | None],
    "classes": ObjectNode,
    "data": ObjectNode,
    "executor": ObjectNode,
    "grid": ObjectNode,
    "hparams_search": SearchSpaceConfig,
    "logger": ObjectNode | None,
    "metric": Mapping[str, ObjectNode | None],
    "model": ModelConfig,
    "optimizer": ObjectNode,
    "paths": PathsConfig,
    "quant": ObjectNode | None,
    "scheduler": ObjectNode,
    "sensor": ObjectNode,
    "stage": StageConfig,
    "target": ObjectNode,
    "task": Mapping[str, ObjectNode | None],
    "trainer": ObjectNode,
}

#: Smallest value of numbers whose type allows smaller ones, where a failure would come late or in other words.
BOUNDS: dict[str, float] = {
    "trainer.max_epochs": 1,
    "trainer.accumulate_grad_batches": 1,
    "trainer.check_val_every_n_epoch": 1,
    "trainer.log_every_n_steps": 0,
    "trainer.gradient_clip_val": 0,
    "data.batch_size": 1,
    "data.num_workers": 0,
    "data.calibration_batches": 1,
    "data.calibration_batch_size": 1,
    "data.num_sweeps": 0,
    "model.voxelizer.points_per_pillar": 1,
    "model.voxelizer.max_pillars_train": 1,
    "model.voxelizer.max_pillars_eval": 1,
    "optimizer.lr": 0,
    "optimizer.weight_decay": 0,
    "top": 1,
    "metric_samples": 0,
    "calibration_samples": 1,
    "hparams_search.trials": 1,
    "hparams_search.startup_trials": 0,
    "hparams_search.warmup_validations": 0,
    "seed": 0,
    "float_epochs": 1,
    "samples": 1,
    "threads": 1,
    "target.threads": 1,
    "target.repeats": 1,
    "target.arena_cache_size": 0,
    "score_threshold": 0,
}

#: Largest value of numbers, alike.
UPPER_BOUNDS: dict[str, float] = {"score_threshold": 1}

#: Keys that may not be null although their type allows it: the schedule's length comes from them.
NOT_NULL = ("trainer.max_epochs",)

#: Keys whose text, where they take text, is a time.
DURATIONS = ("trainer.val_check_interval", "trainer.max_time")
