"""A tiny made-up data set in the official nuScenes layout: all 13 tables, three scenes, no sensor data.

Two scenes bear the names of mini_val and one a name of mini_train. Each has boxes of all ten classes, some moving, a
box without points, one beyond every class range, one of no detection class and a bicycle rack with a bicycle in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pyquaternion import Quaternion

SCENES = ("scene-0103", "scene-0916", "scene-0061")
LIDAR_TRANSLATION = [0.985793, 0.0, 1.84019]
LIDAR_ROTATION = list(Quaternion(axis=[0.02, -0.01, 1.0], degrees=-90.0))

# category, attribute at rest, attribute when moving, w l h [m]
KINDS = {
    "vehicle.car": ("vehicle.parked", "vehicle.moving", (1.9, 4.6, 1.7)),
    "vehicle.truck": ("vehicle.parked", "vehicle.moving", (2.5, 7.0, 2.9)),
    "vehicle.bus.rigid": ("vehicle.stopped", "vehicle.moving", (2.9, 11.0, 3.4)),
    "vehicle.trailer": ("vehicle.parked", "vehicle.moving", (2.6, 9.0, 3.6)),
    "vehicle.construction": ("vehicle.parked", "vehicle.moving", (2.7, 6.0, 3.1)),
    "human.pedestrian.adult": ("pedestrian.standing", "pedestrian.moving", (0.6, 0.7, 1.8)),
    "vehicle.motorcycle": ("cycle.without_rider", "cycle.with_rider", (0.8, 2.1, 1.4)),
    "vehicle.bicycle": ("cycle.without_rider", "cycle.with_rider", (0.6, 1.7, 1.3)),
    "movable_object.trafficcone": ("", "", (0.4, 0.4, 1.1)),
    "movable_object.barrier": ("", "", (2.5, 0.6, 1.0)),
    "static_object.bicycle_rack": ("", "", (4.0, 6.0, 1.5)),
    "animal": ("", "", (0.3, 0.8, 0.5)),
}


def write_tiny_nuscenes(
    root: Path, version: str = "v1.0-tiny-mini", keyframes: int = 4, seed: int = 0, scenes: Sequence[str] = SCENES
) -> Path:
    """Writes the tables and map mask below `root` and returns `root`."""
    writer = _Writer(np.random.default_rng(seed))
    for number, name in enumerate(scenes):
        writer.scene(number, name, keyframes)
    folder = root / version
    folder.mkdir(parents=True)
    for table, records in writer.tables.items():
        (folder / f"{table}.json").write_text(json.dumps(records))
    (root / "maps").mkdir()
    (root / "maps" / "mask.png").write_bytes(b"")  # the devkit asks only whether it exists
    return root


class _Writer:
    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        attributes = sorted({name for kind in KINDS.values() for name in kind[:2] if name})
        self.tables: dict[str, list[dict[str, Any]]] = {
            "category": [{"token": f"c-{n}", "name": n, "description": ""} for n in KINDS],
            "attribute": [{"token": f"a-{n}", "name": n, "description": ""} for n in attributes],
            "visibility": [{"token": "4", "level": "v80-100", "description": ""}],
            "sensor": [{"token": "lidar", "channel": "LIDAR_TOP", "modality": "lidar"}],
            "calibrated_sensor": [
                {
                    "token": "calibrated",
                    "sensor_token": "lidar",
                    "translation": LIDAR_TRANSLATION,
                    "rotation": LIDAR_ROTATION,
                    "camera_intrinsic": [],
                }
            ],
            "log": [{"token": "log", "logfile": "", "vehicle": "", "date_captured": "", "location": "nowhere"}],
            "map": [{"token": "map", "log_tokens": ["log"], "category": "", "filename": "maps/mask.png"}],
            **{name: [] for name in ("scene", "sample", "sample_data", "ego_pose", "instance", "sample_annotation")},
        }

    def scene(self, number: int, name: str, keyframes: int) -> None:
        samples = [f"{name}-{i}".ljust(32, "0") for i in range(keyframes)]
        self.tables["scene"].append(
            {
                "token": name,
                "log_token": "log",
                "nbr_samples": keyframes,
                "first_sample_token": samples[0],
                "last_sample_token": samples[-1],
                "name": name,
                "description": "",
            }
        )
        origin = np.array([600.0 + 300 * number, 1600.0, 0.0])
        for i, token in enumerate(samples):
            self._sample(name, samples, i, token, origin)
        for index, (category, first, velocity) in enumerate(self._objects(origin)):
            self._instance(f"{name}-{index}", category, first, velocity, samples)

    def _sample(self, scene: str, samples: list[str], i: int, token: str, origin: np.ndarray) -> None:
        time = 1_500_000_000_000_000 + 500_000 * i
        links = {"prev": samples[i - 1] if i else "", "next": samples[i + 1] if i + 1 < len(samples) else ""}
        pose = Quaternion(axis=[0.01, 0.02, 1.0], degrees=30.0 + 5 * i)
        self.tables["sample"].append({"token": token, "timestamp": time, "scene_token": scene, **links})
        self.tables["ego_pose"].append(
            {
                "token": token,
                "timestamp": time,
                "rotation": list(pose),
                "translation": (origin + np.array([2.0 * i, 1.0 * i, 0.0])).tolist(),
            }
        )
        self.tables["sample_data"].append(
            {
                "token": token,
                "sample_token": token,
                "ego_pose_token": token,
                "calibrated_sensor_token": "calibrated",
                "timestamp": time,
                "fileformat": "pcd",
                "is_key_frame": True,
                "height": 0,
                "width": 0,
                "filename": f"samples/LIDAR_TOP/{token}.pcd.bin",
                **links,
            }
        )

    def _objects(self, origin: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Category, first position and velocity of each object of a scene."""
        for category in KINDS:
            for count in range(3):
                angle, distance = self.rng.uniform(0, 2 * np.pi), self.rng.uniform(5, 28)
                first = origin + np.array([distance * np.cos(angle), distance * np.sin(angle), 1.0])
                speed = self.rng.uniform(2, 6) if count == 0 and "static" not in category else 0.0
                heading = self.rng.uniform(0, 2 * np.pi)
                yield category, first, speed * np.array([np.cos(heading), np.sin(heading), 0.0])
                if category == "static_object.bicycle_rack" and count == 0:
                    yield "vehicle.bicycle", first, np.zeros(3)
        yield "vehicle.car", origin + np.array([90.0, 0.0, 1.0]), np.zeros(3)

    def _instance(self, token: str, category: str, first: np.ndarray, velocity: np.ndarray, samples: list[str]) -> None:
        rest, moving, size = KINDS[category]
        moves = bool(velocity.any())
        # Every seventh object is seen once only, so its velocity is unknown.
        seen = samples[:1] if self.rng.integers(7) == 0 else samples
        yaw = np.arctan2(velocity[1], velocity[0]) if moves else self.rng.uniform(-np.pi, np.pi)
        name = moving if moves else rest
        self.tables["instance"].append(
            {
                "token": token,
                "category_token": f"c-{category}",
                "nbr_annotations": len(seen),
                "first_annotation_token": f"{token}-0",
                "last_annotation_token": f"{token}-{len(seen) - 1}",
            }
        )
        for i, sample in enumerate(seen):
            self.tables["sample_annotation"].append(
                {
                    "token": f"{token}-{i}",
                    "sample_token": sample,
                    "instance_token": token,
                    "visibility_token": "4",
                    "attribute_tokens": [f"a-{name}"] if name else [],
                    "translation": (first + 0.5 * i * velocity).tolist(),
                    "size": list(size),
                    "rotation": list(Quaternion(axis=[0, 0, 1], radians=yaw)),
                    "prev": f"{token}-{i - 1}" if i else "",
                    "next": f"{token}-{i + 1}" if i + 1 < len(seen) else "",
                    "num_lidar_pts": int(self.rng.integers(0, 30)),
                    "num_radar_pts": 0,
                }
            )
