"""Scene names of the official splits."""

from __future__ import annotations

from lidar_mt.structures.errors import DataError


def scene_names(version: str) -> dict[str, list[str]]:
    """Official scene names by split.

    Args:
        version: nuScenes version name; what counts is how it ends, so custom sets may be called `v1.0-<name>-mini`.

    Returns:
        The scene names of `train` and `val`; of `test` in a version that ends in test.

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
    if version.endswith("test"):
        return {"test": list(splits["test"])}
    raise DataError(f"version={version} has no official splits; use one whose name ends in mini, trainval or test")
