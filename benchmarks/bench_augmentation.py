"""Each transform on a sample of ten sweeps, in one thread as in a loader worker.

pytest benchmarks/bench_augmentation.py --benchmark-only
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tests.helpers.object_database import JsonObjects, write_objects
from tests.helpers.samples import random_sample
from tests.helpers.tiny_lidar import VERSION, read_table
from tests.helpers.tiny_nuscenes import write_tiny_nuscenes

from lidar_mt.data.cbgs import BalancedSampler
from lidar_mt.data.transforms import (
    BevLabelMap,
    BevMapLabels,
    GlobalRotationScaling,
    GtSampling,
    RandomFlip,
    RangeFilter,
)
from lidar_mt.structures.classes import DETECTION_CLASSES, Classes
from lidar_mt.structures.grid import Grid

CLASSES = Classes(DETECTION_CLASSES, (DETECTION_CLASSES,), ("others", "driveable_surface"))
TARGETS = dict(zip(DETECTION_CLASSES, (2, 3, 7, 4, 6, 2, 6, 6, 2, 2), strict=True))
GRID = Grid((-51.2, -51.2, -5.0, 51.2, 51.2, 3.0), (0.2, 0.2, 8.0))
KEYFRAME_POINTS = 34_700


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = write_tiny_nuscenes(tmp_path_factory.mktemp("raw") / "raw", VERSION)
    write_objects(folder / "objects", dict.fromkeys(DETECTION_CLASSES, 100))
    outline = [(0, 0), (2000, 0), (2000, 3000), (0, 3000)]
    holes = [[(x, 1), (x + 20, 1), (x + 20, 2999), (x, 2999)] for x in range(1, 1960, 40)]
    (folder / "nowhere.geojson").write_text(json.dumps({"type": "MultiPolygon", "coordinates": [[outline, *holes]]}))
    mask = np.zeros((17_000, 7_000), dtype=np.uint8)
    mask[:, np.arange(7_000) // 200 % 2 == 0] = 255
    Image.fromarray(mask).save(folder / "maps" / "mask.png", compress_level=1)
    return folder


@pytest.fixture(scope="module")
def sample(folder):
    sample = random_sample(0, boxes=40, keyframe_points=KEYFRAME_POINTS)
    sample.points = np.concatenate([sample.points, sample.points, sample.points[:KEYFRAME_POINTS]])
    sample.token = read_table(folder, "sample")[0]["token"]
    sample.global_from_ego[:2, 3] = 600, 1600
    return sample


STEPS = {
    "gt_sampling": lambda folder: GtSampling(CLASSES, folder / "objects", TARGETS, reader=JsonObjects()),
    "rotation_scaling": lambda _: GlobalRotationScaling(0.3925, 0.95, 1.05),
    "flip": lambda _: RandomFlip(1.0, 0.0),
    "range_filter": lambda _: RangeFilter(GRID),
    "labels_lidarseg": lambda _: BevLabelMap(GRID),
    "labels_map_polygons": lambda folder: BevMapLabels(GRID, folder, VERSION, folder),
    "labels_map_mask": lambda folder: BevMapLabels(GRID, folder, VERSION),
}


@pytest.mark.parametrize("name", STEPS)
def test_transform(benchmark, folder, sample, name):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    step = STEPS[name](folder)
    step(sample, np.random.default_rng(0))  # reads what is read once
    rng = np.random.default_rng(1)
    benchmark.pedantic(lambda: step(sample, rng), rounds=15)
    torch.set_num_threads(threads)


def test_balanced_list_of_trainval(benchmark):
    """28,130 keyframes, of which 44 % hold a class on average: 123,000 items."""
    presence = np.random.default_rng(0).random((28_130, 10)) < 0.44
    benchmark.pedantic(lambda: list(BalancedSampler(presence, 0)), rounds=5)
