"""A GT database as plain files, written and read by the shortest code that does it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


class JsonObjects:
    """Reads what `write_objects` wrote."""

    def load_dbinfos(self, folder):
        infos = json.loads((Path(folder) / "dbinfos.json").read_text())
        for objects in infos.values():
            for info in objects:
                info["box3d_lidar"] = np.array(info["box3d_lidar"], dtype=np.float64)
        return infos

    def read_object_points(self, folder, info):
        return np.fromfile(Path(folder) / info["path"], dtype=np.float32).reshape(-1, 5)


def write_objects(folder: Path, counts: dict[str, int], seed: int = 0, spread_m: float = 50.0) -> dict:
    """Objects of each class, 3 to 30 points each, all inside their boxes."""
    rng = np.random.default_rng(seed)
    (folder / "nuscenes_gt_database").mkdir(parents=True)
    infos: dict[str, list] = {}
    for name, count in counts.items():
        for i in range(count):
            size = rng.uniform(0.5, 6, 3)
            yaw = rng.uniform(-np.pi, np.pi)
            place, speed = rng.uniform(-spread_m, spread_m, 2), rng.normal(size=2)
            box = np.array([*place, rng.uniform(-2, 1), *size, yaw, *speed])
            points = rng.uniform(-0.49, 0.49, (int(rng.integers(3, 30)), 5)) * [size[1], size[0], size[2], 100, 0]
            cos, sin = np.cos(yaw), np.sin(yaw)
            points[:, :2] = points[:, :2] @ np.array([[cos, sin], [-sin, cos]])
            points[:, 4] = rng.uniform(0, 0.5, len(points))
            path = f"nuscenes_gt_database/{i:032d}_{name}_{i}.bin"
            points.astype(np.float32).tofile(folder / path)
            info = {"name": name, "path": path, "image_idx": f"{i:032d}", "gt_idx": i, "box3d_lidar": box.tolist()}
            infos.setdefault(name, []).append({**info, "num_points_in_gt": len(points)})
    (folder / "dbinfos.json").write_text(json.dumps(infos))
    return infos
