"""Scene names of the official splits."""

from __future__ import annotations

from lidar_mt.structures.errors import DataError
from lidar_mt.structures.nuscenes_splits import official_scenes


def scene_names(version: str) -> dict[str, list[str]]:
    """Official scene names by split.

    Args:
        version: nuScenes version name; what counts is how it ends, so custom sets may be called `v1.0-<name>-mini`.

    Returns:
        The scene names of `train` and `val`; of `test` in a version that ends in test.

    Raises:
        DataError: no official split goes with the version.
    """
    if version.endswith("mini"):
        return {"train": official_scenes("mini_train"), "val": official_scenes("mini_val")}
    if version.endswith("trainval"):
        return {"train": official_scenes("train"), "val": official_scenes("val")}
    if version.endswith("test"):
        return {"test": official_scenes("test")}
    raise DataError(f"version={version} has no official splits; use one whose name ends in mini, trainval or test")
