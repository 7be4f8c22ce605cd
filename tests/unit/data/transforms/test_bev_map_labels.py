from __future__ import annotations

import json

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pyquaternion import Quaternion
from tests.helpers.samples import random_sample
from tests.helpers.tiny_lidar import VERSION, read_table, write_table
from tests.helpers.tiny_nuscenes import LIDAR_ROTATION, LIDAR_TRANSLATION, write_tiny_nuscenes

from lidar_mt.data.lmdb_store.records import Pose
from lidar_mt.data.maps.places import Places
from lidar_mt.data.transforms import BevLabelMap, BevMapLabels, GlobalRotationScaling, RandomFlip
from lidar_mt.data.transforms.geometry import flip, rotate_and_scale
from lidar_mt.structures.errors import DataError
from lidar_mt.structures.grid import Grid
from lidar_mt.structures.sample import Sample

GRID = Grid((-25.6, -25.6, -5.0, 25.6, 25.6, 3.0), (0.4, 0.4, 8.0))
ORIGIN = np.array([60.0, 50.0, 7.0])
CELL_DIAGONAL_M = 0.4 * 2**0.5


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Tables, a mask and the polygons it was drawn from."""
    root = write_tiny_nuscenes(tmp_path_factory.mktemp("map") / "raw", VERSION)
    (root / "polygons").mkdir()
    coordinates = [[list(map(list, ring.coords)) for ring in (p.exterior, *p.interiors)] for p in town().geoms]
    (root / "polygons" / "nowhere.geojson").write_text(json.dumps({"type": "MultiPolygon", "coordinates": coordinates}))
    rows, columns = 1000, 1200
    y, x = np.mgrid[:rows, :columns]
    drawn = shapely.contains_xy(town(), x * 0.1, (rows - y) * 0.1)
    Image.fromarray(drawn.astype(np.uint8) * 255).save(root / "maps" / "mask.png")
    return root


def town():
    """A ring road, a street through it and a separate yard."""
    centre = shapely.Point(ORIGIN[0] + 3, ORIGIN[1] - 2)
    road = centre.buffer(20).difference(centre.buffer(13)).union(shapely.box(35, 46, 100, 52))
    return shapely.MultiPolygon([road, shapely.Polygon([(76, 66), (84, 67), (83, 76), (75, 72)])])


def keyframe(token, tilt=0.0):
    """A sample at ORIGIN whose ego frame is level but for `tilt`, with points on the ground all around."""
    sample = random_sample(0, lidarseg=False)
    sample.token = token
    sample.ego_from_lidar = Pose(tuple(LIDAR_ROTATION), tuple(LIDAR_TRANSLATION)).matrix()
    turn = Quaternion(axis=[0, 0, 1], radians=0.7) * Quaternion(axis=[1, 0, 0], radians=tilt)
    sample.global_from_ego = Pose(tuple(turn), tuple(ORIGIN)).matrix()
    return sample


def first_token(root):
    return read_table(root, "sample")[0]["token"]


def labels(root, source, unmapped=False):
    return BevMapLabels(GRID, root, VERSION, root / "polygons" if source == "polygons" else None)


def ground_truth(sample: Sample, moved: Sample, count=4000):
    """Cells that points on the ground fall into after `moved`'s augmentation, and whether the points were on road.

    The points go through the sample's own points, so nothing is known here of the transform that the labels invert.
    """
    lidar_from_ego = np.linalg.inv(sample.ego_from_lidar)
    ego = np.random.default_rng(1).uniform(-24, 24, (count, 3)) * [1, 1, 0]
    lidar = ego @ lidar_from_ego[:3, :3].T + lidar_from_ego[:3, 3]
    xy = ego @ sample.global_from_ego[:3, :3].T + sample.global_from_ego[:3, 3]
    on_road = shapely.contains_xy(town(), *xy[:, :2].T)
    to_border = shapely.distance(town().boundary, shapely.points(xy[:, :2]))
    return lidar.astype(np.float32), on_road, to_border


def look_up(bev_labels, points):
    cell = np.floor((points[:, :2] + 25.6) / 0.4).astype(int)
    inside = ((cell >= 0) & (cell < 128)).all(axis=1)
    return inside, bev_labels[cell[inside, 1], cell[inside, 0]]


@settings(max_examples=25, deadline=None)
@given(st.floats(-3.1, 3.1), st.floats(0.9, 1.1), st.booleans(), st.booleans(), st.sampled_from(["polygons", "mask"]))
def test_labels_follow_points_through_every_augmentation(root, angle, factor, flip_x, flip_y, source):
    sample = keyframe(first_token(root))
    lidar, on_road, to_border = ground_truth(sample, sample)
    sample.points = np.concatenate([lidar, np.zeros((len(lidar), 2), dtype=np.float32)], axis=1)
    moved = flip(rotate_and_scale(sample, angle, factor), flip_x, flip_y)
    moved = labels(root, source)(moved, np.random.default_rng(0))
    inside, found = look_up(moved.bev_labels, moved.points)
    # Within a cell of the kerb the cell's centre may lie on the other side of it.
    sure = to_border[inside] > CELL_DIAGONAL_M / 2 / factor + 0.15
    assert sure.sum() > 1500
    np.testing.assert_array_equal(found[sure], on_road[inside][sure])
    assert 0.1 < on_road.mean() < 0.9


def test_cell_centres_are_looked_up_exactly(root):
    """Against the devkit's way: a cell centre on the ground, taken to the map by the poses one after the other."""
    sample = keyframe(first_token(root), tilt=0.03)
    found = labels(root, "polygons")(sample, np.random.default_rng(0)).bev_labels
    row, column = np.mgrid[:128, :128]
    x, y = (column.ravel() + 0.5) * 0.4 - 25.6, (row.ravel() + 0.5) * 0.4 - 25.6
    rotation, shift = Quaternion(LIDAR_ROTATION).rotation_matrix, np.array(LIDAR_TRANSLATION)
    z = -(rotation[2, 0] * x + rotation[2, 1] * y + shift[2]) / rotation[2, 2]
    ego = np.stack([x, y, z], axis=1) @ rotation.T + shift
    np.testing.assert_allclose(ego[:, 2], 0, atol=1e-9)
    xy = (ego @ sample.global_from_ego[:3, :3].T + sample.global_from_ego[:3, 3])[:, :2]
    np.testing.assert_array_equal(found.ravel(), shapely.contains_xy(town(), *xy.T))


def test_mask_and_polygons_agree(root):
    sample = keyframe(first_token(root), tilt=0.01)
    mask, polygons = (
        labels(root, source)(sample, np.random.default_rng(0)).bev_labels for source in ("mask", "polygons")
    )
    assert (mask == polygons).mean() > 0.99
    assert set(np.unique(mask)) == set(np.unique(polygons)) == {0, 1}
    assert mask.dtype == polygons.dtype == np.int64


def test_scenes_beyond_the_map_are_ignored(tmp_path):
    root = write_tiny_nuscenes(tmp_path / "raw", VERSION)  # its mask is empty: reading it would fail
    scenes = read_table(root, "scene")
    for scene, name in zip(scenes, ("scene-0501", "scene-0502", "scene-0500"), strict=True):
        scene["name"] = name
    write_table(root, "scene", scenes)
    transform = BevMapLabels(GRID, root, VERSION)
    for scene in scenes[:2]:
        found = transform(keyframe(scene["first_sample_token"]), np.random.default_rng(0)).bev_labels
        assert found.shape == GRID.shape
        assert (found == -1).all()
    with pytest.raises(DataError, match="cannot be read"):
        transform(keyframe(scenes[2]["first_sample_token"]), np.random.default_rng(0))


def test_points_have_no_say(root):
    sample = keyframe(first_token(root))
    first = labels(root, "polygons")(sample, np.random.default_rng(0)).bev_labels
    sample.points = sample.points[:0]
    np.testing.assert_array_equal(labels(root, "polygons")(sample, np.random.default_rng(5)).bev_labels, first)


def test_each_kind_says_what_it_needs(root):
    assert BevLabelMap.needs_lidarseg
    assert not BevMapLabels.needs_lidarseg


def real_keyframes(root, wanted):
    """Every fourth keyframe of a scene, with its poses."""
    names = ("sample_data", "ego_pose", "calibrated_sensor", "sensor")
    rows = {name: json.loads((root / "v1.0-mini" / f"{name}.json").read_text()) for name in names}
    by_token = {name: {row["token"]: row for row in table} for name, table in rows.items()}
    places, samples = Places(root, "v1.0-mini"), []
    for row in rows["sample_data"]:
        extrinsic = by_token["calibrated_sensor"][row["calibrated_sensor_token"]]
        is_lidar = by_token["sensor"][extrinsic["sensor_token"]]["channel"] == "LIDAR_TOP"
        if row["is_key_frame"] and is_lidar and places[row["sample_token"]].scene == wanted:
            sample = random_sample(0, boxes=0)
            sample.token = row["sample_token"]
            ego = by_token["ego_pose"][row["ego_pose_token"]]
            for name, pose in (("ego_from_lidar", extrinsic), ("global_from_ego", ego)):
                setattr(sample, name, Pose(tuple(pose["rotation"]), tuple(pose["translation"])).matrix())
            samples.append(sample)
    return samples[::4]


@pytest.mark.nuscenes
@pytest.mark.parametrize(
    ("scene", "sidewalks"), [("scene-0103", 0.2), pytest.param("scene-0916", 0.05, marks=pytest.mark.slow)]
)
def test_real_mask_and_polygons_agree(nuscenes_root, scene, sidewalks):
    """The mask holds driveable area and sidewalks, so it covers the polygons and may hold more."""
    grid = Grid((-51.2, -51.2, -5.0, 51.2, 51.2, 3.0), (0.2, 0.2, 8.0))
    polygons = BevMapLabels(grid, nuscenes_root, "v1.0-mini", nuscenes_root / "maps" / "drivable_area")
    mask = BevMapLabels(grid, nuscenes_root, "v1.0-mini")
    turn, mirror = GlobalRotationScaling(0.4, 0.95, 1.05), RandomFlip(0.5, 0.5)
    samples = real_keyframes(nuscenes_root, scene)
    assert len(samples) > 8
    for number, recorded in enumerate(samples):
        rng = np.random.default_rng(number)
        sample = mirror(turn(recorded, rng), rng)
        first, second = (transform(sample, rng).bev_labels for transform in (polygons, mask))
        assert first[256, 256] == 1  # the ego stands on the road
        assert second[first == 1].mean() > 0.995
        assert first[second == 1].mean() > 1 - sidewalks
