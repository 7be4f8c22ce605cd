"""Labels from the map beside labels from points, on a simulated set."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from shapely import MultiPolygon, box, union_all

from lidar_mt.data.dataset import NuScenesLidarDataset
from lidar_mt.data.layout import meta_path, store_path
from lidar_mt.data.packing import pack_split
from lidar_mt.data.simulation import Plan, write_dataset
from lidar_mt.data.transforms import BevLabelMap, BevMapLabels, GlobalRotationScaling, RandomFlip
from lidar_mt.structures.classes import DETECTION_CLASSES, Classes
from lidar_mt.structures.grid import Grid
from tests.helpers.programs import Programs

VERSION, KEYFRAMES = "v1.0-mini", 4
CLASSES = Classes(DETECTION_CLASSES, (DETECTION_CLASSES,), ("others", "driveable_surface"))
GRID = Grid((-51.2, -51.2, -5.0, 51.2, 51.2, 3.0), (0.4, 0.4, 8.0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    write_dataset(folder / "raw", Plan(VERSION, ("scene-0103", "scene-0916"), KEYFRAMES, 0, seed=3))
    pack_split(folder / "raw", VERSION, "val", folder / "packed")
    return folder


def labelled(folder, last):
    steps = [GlobalRotationScaling(0.3925, 0.95, 1.05), RandomFlip(0.5, 0.5), last]
    dataset = NuScenesLidarDataset(store_path(folder / "packed", VERSION, "val"), CLASSES, steps, training=True)
    return np.stack([dataset[i].bev_labels for i in range(len(dataset))])


@pytest.fixture(scope="module")
def polygons(folder):
    """The masks as polygons: one rectangle per run of pixels, joined."""
    tables = {n: json.loads((folder / "raw" / VERSION / f"{n}.json").read_text()) for n in ("map", "log")}
    location = {row["token"]: row["location"] for row in tables["log"]}
    target = folder / "polygons"
    target.mkdir()
    for row in tables["map"]:
        mask = np.asarray(Image.open(folder / "raw" / row["filename"])) == 255
        height = len(mask)
        change = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
        # Pixel (column p, row q) reaches half a pixel to each side of (0.1 p, 0.1 (rows - q)).
        joined = union_all(
            [
                box((start - 0.5) * 0.1, (height - q - 0.5) * 0.1, (end - 0.5) * 0.1, (height - q + 0.5) * 0.1)
                for q in range(height)
                for start, end in zip(np.flatnonzero(change[q] == 1), np.flatnonzero(change[q] == -1), strict=True)
            ]
        )
        parts = joined.geoms if isinstance(joined, MultiPolygon) else [joined]
        coordinates = [[list(ring.coords) for ring in (part.exterior, *part.interiors)] for part in parts]
        path = target / f"{location[row['log_tokens'][0]]}.geojson"
        path.write_text(json.dumps({"type": "MultiPolygon", "coordinates": coordinates}))
    return target


def test_ground_that_points_call_driveable_is_so_on_the_map(folder):
    points = labelled(folder, BevLabelMap(GRID))
    dense = labelled(folder, BevMapLabels(GRID, meta_path(folder / "packed", VERSION), VERSION))
    assert (dense >= 0).all()
    assert (points == 1).sum() > 5_000
    # The map knows nothing of what stands on the road, and counts sidewalks as driveable.
    assert dense[points == 1].mean() > 0.98
    assert 0.1 < dense.mean() < 0.9


def test_mask_and_polygons_agree(folder, polygons):
    meta = meta_path(folder / "packed", VERSION)
    mask = labelled(folder, BevMapLabels(GRID, meta, VERSION))
    found = labelled(folder, BevMapLabels(GRID, meta, VERSION, polygons))
    assert (mask == found).mean() > 0.9999


@pytest.mark.parametrize("choice", ["lidarseg", "map_mask", "map_polygons"])
def test_labels_are_chosen_by_configuration(folder, polygons, choice, programs: Programs, tmp_path):
    options = {
        "debug": "fast_dev_run",
        "metric": "none",
        "bev_labels": choice,
        "model": "segmentation",
        "task": "segmentation",
        "grid.voxel_size": "[1.6,1.6,8.0]",
        "paths.packed": folder / "packed",
        "paths.map_expansion": polygons,
        "paths.runs": tmp_path,
        "data.version": VERSION,
        "data.train_split": "val",
        "data.num_workers": 0,
        "data.batch_size": 1,
        "data.cbgs": "true",
        "trainer.accelerator": "cpu",
    }
    run = programs("train", *(f"{key}={value}" for key, value in options.items()))
    assert run.status == 0, run.err
