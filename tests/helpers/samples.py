"""Random samples for tests of transforms and collation."""

from __future__ import annotations

import numpy as np

from lidar_mt.structures.sample import Sample


def random_sample(seed: int, boxes: int = 6, lidarseg: bool = True, keyframe_points: int = 300) -> Sample:
    """Boxes around the sensor with points inside each, and points everywhere."""
    rng = np.random.default_rng(seed)
    table = np.column_stack(
        [
            rng.uniform(-60, 60, (boxes, 2)),
            rng.uniform(-3, 1, boxes),
            rng.uniform(0.4, 10, (boxes, 3)),
            rng.uniform(-np.pi, np.pi, boxes),
            rng.normal(size=(boxes, 2)) * 5,
        ]
    ).astype(np.float32)
    if boxes:
        table[0, 7:] = np.nan
    points = rng.uniform([-60, -60, -5, 0, 0], [60, 60, 3, 255, 0.5], (3 * keyframe_points, 5)).astype(np.float32)
    for i, box in enumerate(table.astype(np.float64)):
        along, across, up = (rng.uniform(-0.49, 0.49, 10) * box[k] for k in (4, 3, 5))
        cos, sin = np.cos(box[6]), np.sin(box[6])
        inside = np.column_stack([along * cos - across * sin, along * sin + across * cos, up]) + box[:3]
        points[10 * i : 10 * i + 10, :3] = inside
    points[:keyframe_points, 4] = 0
    return Sample(
        token=f"{seed:032d}",
        timestamp_us=seed,
        points=points,
        num_keyframe_points=keyframe_points,
        boxes=table,
        labels=rng.integers(-1, 10, boxes),
        lidarseg=rng.choice([1, 24], keyframe_points).astype(np.uint8) if lidarseg else None,
        ego_from_lidar=np.eye(4),
        global_from_ego=np.diag([1.0, 1.0, 1.0, 1.0]),
    )
