"""Properties of the whole list of transforms, as training applies it."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helpers.object_database import JsonObjects, write_objects
from tests.helpers.samples import random_sample
from tests.helpers.tiny_lidar import VERSION, write_raw_nuscenes

from lidar_mt.data.datamodule import LidarDataModule
from lidar_mt.data.packing import pack_split
from lidar_mt.data.transforms import (
    BevLabelMap,
    BevMapLabels,
    GlobalRotationScaling,
    GtSampling,
    KeepDetectionClasses,
    RandomFlip,
    RangeFilter,
)
from lidar_mt.structures.boxes import points_in_boxes
from lidar_mt.structures.classes import DETECTION_CLASSES, Classes
from lidar_mt.structures.grid import Grid

CLASSES = Classes(DETECTION_CLASSES, (DETECTION_CLASSES,), ("others", "driveable_surface"))
GRID = Grid((-51.2, -51.2, -5.0, 51.2, 51.2, 3.0), (0.8, 0.8, 8.0))
TARGETS = dict.fromkeys(DETECTION_CLASSES, 3)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    folder = tmp_path_factory.mktemp("objects")
    write_objects(folder, dict.fromkeys(DETECTION_CLASSES, 30))
    return folder


def everything(database, labels):
    return {
        "gt_sampling": GtSampling(CLASSES, database, TARGETS, reader=JsonObjects()),
        "detection_classes": KeepDetectionClasses(),
        "rotation_scaling": GlobalRotationScaling(0.3925, 0.95, 1.05),
        "flip": RandomFlip(0.5, 0.5),
        "range_filter": RangeFilter(GRID),
        "bev_labels": labels,
    }


def applied(database, seed):
    before = random_sample(seed, boxes=8)
    after, rng = copy.deepcopy(before), np.random.default_rng(seed)
    for step in everything(database, BevLabelMap(GRID)).values():
        after = step(after, rng)
    return before, after


def homogeneous(points):
    return np.c_[points[:, :3], np.ones(len(points))]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_points_stay_in_their_boxes(database, seed):
    before, after = applied(database, seed)
    restored = copy.deepcopy(after)
    restored.points[:, :3] = (homogeneous(after.points) @ np.linalg.inv(after.augmented_from_lidar).T)[:, :3]
    # Boxes of the scene that are still there, found by their unaugmented centres.
    centres = (homogeneous(after.boxes) @ np.linalg.inv(after.augmented_from_lidar).T)[:, :3]
    for box, label in zip(before.boxes, before.labels, strict=True):
        if label < 0:
            continue
        distance = np.linalg.norm(centres - box[:3], axis=1)
        if not len(distance) or distance.min() > 1e-3:  # out of range
            continue
        kept = after.boxes[[distance.argmin()]]
        shrunk, grown = kept.copy(), kept.copy()
        shrunk[:, 3:6] -= 4e-3
        grown[:, 3:6] += 4e-3
        inside = points_in_boxes(before.points, box[None])[0]
        now = after.points[: len(before.points)]
        assert inside.sum() >= 10
        assert points_in_boxes(now, grown)[0][inside].all()
        assert not points_in_boxes(now, shrunk)[0][~inside].any()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_the_inverse_restores_points_boxes_and_velocities(database, seed):
    before, after = applied(database, seed)
    inverse = np.linalg.inv(after.augmented_from_lidar)
    points = homogeneous(after.points) @ inverse.T
    np.testing.assert_allclose(points[: len(before.points), :3], before.points[:, :3], atol=2e-4)
    np.testing.assert_array_equal(after.points[: len(before.points), 3:], before.points[:, 3:])
    centres = (homogeneous(after.boxes) @ inverse.T)[:, :3]
    velocity = after.boxes[:, 7:] @ inverse[:2, :2].T
    heading = np.stack([np.cos(after.boxes[:, 6]), np.sin(after.boxes[:, 6])], axis=1) @ inverse[:2, :2].T
    matched = 0
    for centre, speed, ahead in zip(centres, velocity, heading, strict=True):
        distance = np.linalg.norm(before.boxes[:, :3] - centre, axis=1)
        if distance.min() < 1e-3:
            box = before.boxes[distance.argmin()]
            np.testing.assert_allclose(speed, box[7:], atol=1e-4)
            np.testing.assert_allclose(ahead / np.linalg.norm(ahead), [np.cos(box[6]), np.sin(box[6])], atol=1e-5)
            matched += 1
    near = (before.labels >= 0) & (np.abs(before.boxes[:, :2]) < 30).all(axis=1)
    assert near.sum() <= matched <= (before.labels >= 0).sum()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_labels_follow_the_keyframes_points(database, seed):
    """A cell that one keyframe point alone falls into bears that point's label, wherever it was turned."""
    _, after = applied(database, seed)
    points = after.points[: after.num_keyframe_points].astype(np.float64)
    cell = np.floor((points[:, :2] + 51.2) / 0.8).astype(int)
    inside = ((points[:, :3] > [-51.199, -51.199, -4.999]) & (points[:, :3] < [51.199, 51.199, 2.999])).all(axis=1)
    flat = cell[:, 1] * 128 + cell[:, 0]
    alone = [i for i in np.flatnonzero(inside) if (flat[inside] == flat[i]).sum() == 1]
    assert len(alone) > 100
    found = after.bev_labels[cell[alone, 1], cell[alone, 0]]
    np.testing.assert_array_equal(found, after.lidarseg[alone] == 24)
    assert (after.bev_labels >= 0).sum() == len(np.unique(flat[inside]))


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    raw = write_raw_nuscenes(folder / "raw")
    stripes = [[[(x, 0), (x + 4, 0), (x + 4, 3000), (x, 3000)]] for x in range(0, 2000, 8)]
    (folder / "nowhere.geojson").write_text(json.dumps({"type": "MultiPolygon", "coordinates": stripes}))
    pack_split(raw, VERSION, "val", folder / "out")
    return folder / "out"


@pytest.mark.parametrize("source", ["lidarseg", "map"])
def test_everything_is_the_same_with_any_number_of_workers(packed, database, source):
    def module(workers):
        labels = (
            BevLabelMap(GRID)
            if source == "lidarseg"
            else BevMapLabels(GRID, packed / VERSION / "meta", VERSION, packed.parent)
        )
        steps = everything(database, labels)
        options = {"num_workers": workers, "batch_size": 5, "cbgs": True, "num_sweeps": 3}
        return LidarDataModule(str(packed), VERSION, "val", "val", CLASSES, steps, **options).train_dataloader()

    def content(loader):
        batches = []
        for epoch in (0, 1):
            loader.sampler.set_epoch(epoch)
            batches.extend(loader)
        return batches

    expected, *others = (content(module(workers)) for workers in (0, 2, 4))
    assert len(expected) > 4
    assert all(set(batch.bev_labels.unique().tolist()) >= {0, 1} for batch in expected)
    for batches in others:
        for first, second in zip(expected, batches, strict=True):
            assert first.tokens == second.tokens
            for name in ("points", "boxes", "labels", "bev_labels"):
                a, b = getattr(first, name), getattr(second, name)
                torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def test_segmentation_needs_no_lidarseg_where_a_map_gives_the_labels(tmp_path):
    raw = write_raw_nuscenes(tmp_path / "raw", lidarseg=False)
    pack_split(raw, VERSION, "val", tmp_path / "out")

    def module(labels):
        return LidarDataModule(str(tmp_path / "out"), VERSION, "val", "val", CLASSES, {"bev_labels": labels})

    assert module(BevMapLabels(GRID, tmp_path, VERSION)).has_bev_labels()
    assert not module(BevLabelMap(GRID)).has_bev_labels()
    assert json.loads((tmp_path / "out" / VERSION / "val_lmdb" / "manifest.json").read_text())["has_lidarseg"] is False
