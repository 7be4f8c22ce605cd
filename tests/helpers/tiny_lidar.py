"""Gives the tables of `tiny_nuscenes` LiDAR sweeps, point files and lidarseg labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pyquaternion import Quaternion

from tests.helpers.tiny_nuscenes import SCENES, write_tiny_nuscenes

VERSION = "v1.0-tiny-mini"
KEYFRAME_GAP_US = 500_000


def write_raw_nuscenes(
    root: Path,
    keyframes: int = 4,
    between: int = 4,
    lidarseg: bool = True,
    seed: int = 0,
    scenes: Sequence[str] = SCENES,
) -> Path:
    """A raw data root with `between` sweeps before every keyframe but the first of a scene."""
    write_tiny_nuscenes(root, VERSION, keyframes, seed, scenes)
    rng = np.random.default_rng(seed)
    rows, poses = read_table(root, "sample_data"), read_table(root, "ego_pose")
    chains: dict[str, list[dict[str, Any]]] = {}
    scene_of = {row["token"]: row["scene_token"] for row in read_table(root, "sample")}
    for row in sorted(rows, key=lambda row: row["timestamp"]):
        chain = chains.setdefault(scene_of[row["sample_token"]], [])
        if chain:
            chain.extend(_sweeps(row, between, poses, rng))
        chain.append(row)
    for chain in chains.values():
        for i, row in enumerate(chain):
            row["prev"] = chain[i - 1]["token"] if i else ""
            row["next"] = chain[i + 1]["token"] if i + 1 < len(chain) else ""
    table = [row for chain in chains.values() for row in chain]
    write_table(root, "sample_data", table)
    write_table(root, "ego_pose", poses)
    for row in table:
        _write_points(root / row["filename"], rng)
    if lidarseg:
        _write_lidarseg(root, table, rng)
    return root


def read_table(root: Path, name: str) -> list[dict[str, Any]]:
    return json.loads((root / VERSION / f"{name}.json").read_text())


def write_table(root: Path, name: str, rows: list[dict[str, Any]]) -> None:
    (root / VERSION / f"{name}.json").write_text(json.dumps(rows))


def _sweeps(keyframe: dict[str, Any], between: int, poses: list[dict[str, Any]], rng: np.random.Generator):
    key_pose = next(pose for pose in poses if pose["token"] == keyframe["ego_pose_token"])
    for i in range(between, 0, -1):
        token = f"{keyframe['token'][:12]}sweep{i:02d}-".ljust(32, "0")
        time = keyframe["timestamp"] - i * KEYFRAME_GAP_US // (between + 1) + int(rng.integers(-900, 900))
        turn = Quaternion(axis=rng.normal(size=3), radians=0.03)
        poses.append(
            {
                "token": token,
                "timestamp": time,
                "rotation": list(Quaternion(key_pose["rotation"]) * turn),
                "translation": (np.array(key_pose["translation"]) + rng.normal(size=3)).tolist(),
            }
        )
        filename = f"sweeps/LIDAR_TOP/{token}.pcd.bin"
        yield {
            **keyframe,
            "token": token,
            "ego_pose_token": token,
            "timestamp": time,
            "is_key_frame": False,
            "filename": filename,
        }


def _write_points(path: Path, rng: np.random.Generator) -> None:
    count = int(rng.integers(200, 300))
    points = rng.uniform([-60, -60, -3, 0, 0], [60, 60, 3, 255, 31], (count, 5)).astype(np.float32)
    points[:20, :2] = rng.uniform(-2, 2, (20, 2))  # some of them from the own roof
    points[:, 3:] = np.round(points[:, 3:])
    path.parent.mkdir(parents=True, exist_ok=True)
    points.tofile(path)


def _write_lidarseg(root: Path, table: list[dict[str, Any]], rng: np.random.Generator) -> None:
    categories = read_table(root, "category")
    for index, row in enumerate(categories):
        row["index"] = index + 1
    categories.append({"token": "c-road", "name": "flat.driveable_surface", "description": "", "index": 24})
    write_table(root, "category", categories)
    labels = []
    for row in (row for row in table if row["is_key_frame"]):
        count = (root / row["filename"]).stat().st_size // 20
        filename = f"lidarseg/{VERSION}/{row['token']}_lidarseg.bin"
        labels.append({"token": row["token"], "sample_data_token": row["token"], "filename": filename})
        (root / filename).parent.mkdir(parents=True, exist_ok=True)
        rng.choice([1, 24, 30], count).astype(np.uint8).tofile(root / filename)
    write_table(root, "lidarseg", labels)
