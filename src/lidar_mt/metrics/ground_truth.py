"""The nuScenes tables that the evaluation needs, checked before the devkit fails on them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nuscenes import NuScenes
from nuscenes.eval.detection.utils import category_to_detection_name
from nuscenes.utils.splits import create_splits_scenes, get_scenes_of_split, is_predefined_split

from lidar_mt.structures.errors import ConfigError, DataError
from lidar_mt.structures.nuscenes_tables import TABLE_NAMES

_VERSION_ENDING = {"mini_train": "mini", "mini_val": "mini", "test": "test"}  # the other predefined splits: trainval
_NAMED = 3


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
    if is_predefined_split(eval_set) and not version.endswith(ending):
        raise ConfigError(
            f"split {split} belongs to versions named *{ending}, not to {version}; "
            "a version ending in trainval has the splits train and val, one ending in mini has its own train and val"
        )
    return eval_set


def check_tables(data_root: str | Path, version: str) -> None:
    """Checks, without reading them, that the files are there which the devkit opens.

    Args:
        data_root: folder of the official layout, which holds maps/ and the version's folder.
        version: nuScenes version.

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
    missing = [f"{table}.json" for table in TABLE_NAMES if not (folder / f"{table}.json").is_file()]
    if missing:
        raise DataError(f"{folder} lacks {', '.join(missing)}; copy the version's 13 tables there")


def load_tables(data_root: str | Path, version: str) -> NuScenes:
    """Loads the tables through the devkit.

    Args:
        data_root: folder of the official layout.
        version: nuScenes version.

    Returns:
        The devkit's database object. The full trainval version takes about a minute and several GB.

    Raises:
        DataError: tables or map masks are missing or inconsistent.
    """
    check_tables(data_root, version)
    hint = f"check the tables under {Path(data_root) / version}"
    try:
        return NuScenes(version=version, dataroot=str(data_root), verbose=False)
    except json.JSONDecodeError as error:
        raise DataError(f"a table of {version} is not JSON ({error}); {hint}") from error
    except LookupError as error:  # a record that another table names, or an empty table
        raise DataError(
            f"the tables of {version} name a token or field that does not exist: {error}; {hint}"
        ) from error
    except (AssertionError, OSError) as error:  # the devkit reports a missing map mask by an assertion
        raise DataError(f"the nuScenes devkit refuses {version}: {error}; {hint} and {data_root}/maps") from error


def split_tokens(tables: NuScenes, eval_set: str) -> list[str]:
    """Tokens of the samples that a split has in these tables, in the tables' order.

    Args:
        tables: loaded tables.
        eval_set: as `resolve_eval_set` returns it.

    Raises:
        ConfigError: unknown split.
        DataError: no scene of the tables belongs to the split.
    """
    try:
        scenes = set(get_scenes_of_split(eval_set, tables))
    except ValueError as error:  # neither predefined nor in <version>/splits.json
        known = ", ".join(create_splits_scenes())
        raise ConfigError(f"unknown split {eval_set} ({error}); known: {known}") from error
    tokens = [s["token"] for s in tables.sample if tables.get("scene", s["scene_token"])["name"] in scenes]
    if not tokens:
        there = ", ".join(scene["name"] for scene in tables.scene[:_NAMED])
        raise DataError(
            f"no scene of {tables.version} belongs to split {eval_set} "
            f"(it has {len(tables.scene)} scenes: {there}, ...); choose another split=NAME or version=NAME"
        )
    return tokens


def check_ground_truth(tables: NuScenes, tokens: Sequence[str]) -> None:
    """Checks the annotations that the evaluator reads; it stops at a bad one without naming it.

    Args:
        tables: loaded tables.
        tokens: samples that will be scored.

    Raises:
        DataError: a sample without a LiDAR keyframe, or an annotation of a detection class with several or unknown
            attributes or with a size that is not positive.
    """
    attributes = {record["token"] for record in tables.attribute}
    faults = [fault for token in tokens for fault in _faults(tables.get("sample", token), tables, attributes)]
    if faults:
        more = f" and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        raise DataError(f"{tables.version} cannot be scored: {'; '.join(faults[:_NAMED])}{more}; repair the tables")


def has_ground_truth(tables: NuScenes, tokens: Sequence[str]) -> bool:
    """Whether any of the samples has an annotation of a detection class, counted in the scores or not."""
    return any(
        category_to_detection_name(tables.get("sample_annotation", annotation)["category_name"]) is not None
        for token in tokens
        for annotation in tables.get("sample", token)["anns"]
    )


def _faults(sample: dict[str, Any], tables: NuScenes, attributes: set[str]) -> Iterator[str]:
    if "LIDAR_TOP" not in sample["data"]:
        yield f"sample {sample['token']} has no LIDAR_TOP keyframe in sample_data.json"
    for token in sample["anns"]:
        record = tables.get("sample_annotation", token)
        if category_to_detection_name(record["category_name"]) is None:
            continue
        if len(record["attribute_tokens"]) > 1:
            yield f"sample_annotation {token} has {len(record['attribute_tokens'])} attributes, at most one is allowed"
        elif not attributes.issuperset(record["attribute_tokens"]):
            yield f"sample_annotation {token} has an attribute that attribute.json does not list"
        if not all(math.isfinite(size) and size > 0 for size in record["size"]):
            yield f"sample_annotation {token} has the size {record['size']}"
