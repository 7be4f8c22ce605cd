"""The nuScenes tables as the devkit loads them, checked before its evaluator fails on them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nuscenes import NuScenes
from nuscenes.eval.detection.utils import category_to_detection_name
from nuscenes.utils.splits import create_splits_scenes, get_scenes_of_split

from lidar_mt.metrics.eval_splits import check_tables
from lidar_mt.structures.errors import ConfigError, DataError

_NAMED = 3


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
