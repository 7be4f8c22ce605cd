"""Scene names of the official splits."""

from __future__ import annotations

from lidar_mt.structures.errors import DataError


def scene_names(version: str) -> dict[str, list[str]]:
    """Official scene names by split.

    Args:
        version: nuScenes version name; what counts is how it ends, so custom sets may be called `v1.0-<name>-mini`.

    Returns:
        The scene names of `train` and `val`.

    Raises:
        DataError: no official split goes with the version.
    """
    # Imported here: the devkit takes seconds to load, which every worker process would spend again.
    from nuscenes.utils.splits import create_splits_scenes

    splits = create_splits_scenes()
    if version.endswith("mini"):
        return {"train": list(splits["mini_train"]), "val": list(splits["mini_val"])}
    if version.endswith("trainval"):
        return {"train": list(splits["train"]), "val": list(splits["val"])}
    raise DataError(f"version={version} has no official train and val splits; use one that ends in mini or trainval")
