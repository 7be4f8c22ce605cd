"""Of which network a result is: written into its JSON file, and compared with the network that is there now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lidar_mt.config.places import Place
from lidar_mt.engine.files import previous_of
from lidar_mt.metrics.scoreboard import digest, is_source

#: Key of the JSON file that holds the networks.
NETWORKS = "networks"


def place_digest(place: Place) -> str:
    """SHA-256 of a checkpoint, or of an artefact; of the checkpoint before it where there is only that."""
    return digest(place.path if place.path.exists() else previous_of(place.path))


def origin_of(place: Place, published: Path) -> dict[str, str]:
    """File or folder, and digest, of the network that a result is of.

    Args:
        place: of the network.
        published: folder that the path is given from where it lies in it, so that both may move together.
    """
    path, root = place.path.resolve(), published.resolve()
    inside = path.relative_to(root) if path.is_relative_to(root) else path
    return {"path": str(inside), "sha256": place_digest(place)}


def origin_line(name: str, origin: Mapping[str, str]) -> str:
    """The same for people."""
    return f"{name}: {origin['path']}, SHA-256 {origin['sha256']}"


def is_current(result: Path, published: Path) -> bool:
    """Whether the networks that a result is of are the ones that lie at their places now.

    Args:
        result: JSON file.
        published: as for `origin_of`.

    Returns:
        False as well where the file is missing or does not say.
    """
    try:
        networks: dict[str, Any] = json.loads(result.read_bytes())[NETWORKS]
        return bool(networks) and all(_fits(published / one["path"], one["sha256"]) for one in networks.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _fits(path: Path, sha256: str) -> bool:
    return is_source(path if path.exists() else previous_of(path), sha256)
