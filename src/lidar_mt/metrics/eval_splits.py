"""Splits of the evaluation: their names in each kind of version, and their scenes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from lidar_mt.structures.errors import ConfigError, DataError
from lidar_mt.structures.nuscenes_splits import official_scenes, official_splits
from lidar_mt.structures.nuscenes_tables import TABLE_NAMES

_VERSION_ENDING = {"mini_train": "mini", "mini_val": "mini", "test": "test"}  # the other official splits: trainval


def resolve_eval_set(version: str, split: str) -> str:
    """The evaluator's name of a split: `train` and `val` of a mini version are `mini_train` and `mini_val`.

    Args:
        version: nuScenes version, the name of the tables' folder.
        split: train, val, one of the devkit's other splits, or a custom one from the version's splits.json.

    Raises:
        ConfigError: a predefined split that belongs to another kind of version.

    Example:
        >>> resolve_eval_set("v1.0-complete-mini", "val"), resolve_eval_set("v1.0-trainval", "val")
        ('mini_val', 'val')
    """
    eval_set = f"mini_{split}" if version.endswith("mini") and split in ("train", "val") else split
    ending = _VERSION_ENDING.get(eval_set, "trainval")
    if eval_set in official_splits() and not version.endswith(ending):
        raise ConfigError(
            f"split {split} belongs to versions named *{ending}, not to {version}; "
            "a version ending in trainval has the splits train and val, one ending in mini has its own train and val"
        )
    return eval_set


def check_tables(data_root: str | Path, version: str, names: Sequence[str] = TABLE_NAMES) -> None:
    """Checks, without reading them, that the tables of a version are there.

    Args:
        data_root: folder of the official layout, which holds maps/ and the version's folder.
        version: nuScenes version.
        names: of the tables that are needed.

    Raises:
        DataError: the version's folder or some of its tables are missing.
    """
    folder = Path(data_root) / version
    if not folder.is_dir():
        others = sorted(path.parent.name for path in Path(data_root).glob("*/sample_annotation.json"))
        there = f"there: {', '.join(others)}" if others else "no version there"
        raise DataError(
            f"no nuScenes tables at {folder} ({there}); run `make pack-data`, "
            "or name the folder of the tables with data_root=DIR version=NAME"
        )
    missing = [f"{table}.json" for table in names if not (folder / f"{table}.json").is_file()]
    if missing:
        raise DataError(f"{folder} lacks {', '.join(missing)}; copy the version's 13 tables there")


def scenes_of_split(data_root: str | Path, version: str, eval_set: str) -> list[str]:
    """Scene names of an official split, or of a custom one from the version's splits.json.

    Args:
        data_root: folder of the official layout.
        version: nuScenes version.
        eval_set: as `resolve_eval_set` returns it.

    Raises:
        ConfigError: unknown split.
        DataError: splits.json cannot be read or does not map names to lists of scenes.
    """
    if eval_set in official_splits():
        return official_scenes(eval_set)
    path = Path(data_root) / version / "splits.json"
    known = ", ".join(official_splits())
    if not path.is_file():
        raise ConfigError(f"unknown split {eval_set}; known: {known}, and those of {path}, which is not there")
    try:
        splits = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); it maps names of splits to lists of scene names") from error
    scenes = splits.get(eval_set) if isinstance(splits, dict) else None
    if scenes is None:
        raise ConfigError(f"unknown split {eval_set}; known: {known}, and those of {path}")
    if not isinstance(scenes, list) or not all(isinstance(scene, str) for scene in scenes):
        raise DataError(f"{path}: split {eval_set} is no list of scene names; write it like scene-0061")
    return scenes
