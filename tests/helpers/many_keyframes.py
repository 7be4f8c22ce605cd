"""Packed stores of any number of keyframes, made in seconds: real records, tiny sweeps that keyframes share."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lidar_mt.data.lmdb_store.codec import INDEX_KEY, keyframe_key, sweep_key
from lidar_mt.data.lmdb_store.points import PackedPoints
from lidar_mt.data.lmdb_store.records import Array, IndexRecord, KeyframeRecord, Pose, SweepRecord, SweepRef
from lidar_mt.data.lmdb_store.writer import StoreWriter

#: Keyframes that share their sweeps, as if they were one scene.
SCENE = 40
BOXES = 30
POSE = Pose((1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0))


def token(index: int) -> str:
    return f"{index:032x}"


def write_many(path: Path, keyframes: int, points: int = 200) -> Path:
    """A store of `keyframes` records with 30 boxes each; every 40 of them share 10 sweeps of `points` points."""
    rng = np.random.default_rng(0)
    boxes, counts = Array.pack(rng.normal(size=(BOXES, 9))), Array.pack(np.full(BOXES, 5, np.int32))
    with StoreWriter(path) as writer:
        for index in range(keyframes):
            scene = index // SCENE
            if index % SCENE == 0:
                for i in range(10):
                    cloud = rng.normal(0, 20, (points, 5)).astype(np.float32)
                    writer.put(sweep_key(f"{scene}-{i}"), SweepRecord(PackedPoints.pack(cloud)))
            record = KeyframeRecord(
                sample_token=token(index),
                scene_token=str(scene),
                prev_token="",
                next_token="",
                timestamp_us=1_000_000 * index,
                lidar_token=f"{scene}-0",
                ego_from_lidar=POSE,
                global_from_ego=POSE,
                sweeps=[
                    SweepRef(f"{scene}-{i}", 1_000_000 * index - 50_000 * i, Array.pack(np.eye(4)))
                    for i in range(1, 10)
                ],
                boxes=boxes,
                categories=["vehicle.car"] * BOXES,
                detection_names=["car"] * BOXES,
                num_lidar_pts=counts,
                num_radar_pts=counts,
                valid=Array.pack(np.ones(BOXES, dtype=bool)),
                lidarseg=None,
            )
            writer.put(keyframe_key(record.sample_token), record)
        tokens = np.array([token(index).encode() for index in range(keyframes)], dtype="S32")
        writer.put(INDEX_KEY, IndexRecord(sample_tokens=Array.pack(tokens)))
        scenes = -(-keyframes // SCENE)
        counts_of = {"scenes": scenes, "keyframes": keyframes, "sweeps": 10 * scenes}
        writer.finish(source_version="v1.0-many", split="train", counts=counts_of, has_lidarseg=False)
    return path
