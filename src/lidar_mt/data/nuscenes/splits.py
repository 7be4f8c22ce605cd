"""Scene names of the official splits."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

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
    lists = _devkit_lists()
    if version.endswith("mini"):
        return {"train": lists["mini_train"], "val": lists["mini_val"]}
    if version.endswith("trainval"):
        return {"train": sorted({*lists["train_detect"], *lists["train_track"]}), "val": lists["val"]}
    if version.endswith("test"):
        return {"test": lists["test"]}
    raise DataError(f"version={version} has no official splits; use one whose name ends in mini, trainval or test")


def _devkit_lists() -> dict[str, list[str]]:
    """The lists of names in the devkit's `nuscenes/utils/splits.py`, by variable.

    They are read, not imported: importing any part of the devkit loads OpenCV and matplotlib with it, which takes
    longer than packing a scene.
    """
    package = importlib.util.find_spec("nuscenes")
    if package is None or package.origin is None:
        raise DataError("the nuscenes-devkit is not installed; run `pip install nuscenes-devkit==1.2.0`")
    tree = ast.parse((Path(package.origin).parent / "utils" / "splits.py").read_text())
    return {
        target.id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
