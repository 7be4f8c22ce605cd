import numpy as np
import pytest
from nuscenes.eval.detection.utils import category_to_detection_name

from lidar_mt.data.simulation import primitives as p
from lidar_mt.data.simulation import shapes

BUILDERS = {
    "car": shapes.car,
    "truck": shapes.truck,
    "bus": shapes.bus,
    "trailer": shapes.trailer,
    "construction_vehicle": shapes.construction_vehicle,
    "barrier": shapes.barrier,
    "traffic_cone": shapes.traffic_cone,
    "pedestrian": shapes.pedestrian,
    "bicycle": lambda rng: shapes.bicycle(rng, rider=bool(rng.integers(2))),
    "motorcycle": lambda rng: shapes.motorcycle(rng, rider=bool(rng.integers(2))),
}
# Mean width, length, height of the nuScenes training set's boxes [m].
# Source: Caesar et al. 2020, nuScenes, tables of the detection classes.
NUSCENES_SIZES = {
    "car": (1.96, 4.62, 1.74),
    "truck": (2.52, 6.94, 2.85),
    "bus": (2.94, 11.2, 3.47),
    "trailer": (2.92, 12.3, 3.87),
    "construction_vehicle": (2.82, 6.56, 3.2),
    "barrier": (2.51, 0.5, 0.99),
    "traffic_cone": (0.41, 0.41, 1.08),
    "pedestrian": (0.67, 0.73, 1.77),
    "bicycle": (0.61, 1.7, 1.3),
    "motorcycle": (0.77, 2.11, 1.46),
}


def outline(rows):
    """Lowest and highest x, y, z of primitives that are not turned, from their top and bottom faces."""
    low, high = [], []
    for row in rows:
        assert row[p.YAW] == 0
        centre, (hx, hy, hz) = row[p.X : p.Z + 1], row[p.HX : p.HZ + 1]
        front, rear, side = row[p.FRONT : p.SIDE + 1]
        if row[p.KIND] == p.FRUSTUM:
            front, rear, side = -row[p.FRONT], -row[p.FRONT], -row[p.FRONT]
        for z in (-hz, hz):
            low.append(centre + np.array([-(hx - rear * z), -(hy - side * z), z]))
            high.append(centre + np.array([hx - front * z, hy - side * z, z]))
    return np.min(low, axis=0), np.max(high, axis=0)


@pytest.mark.parametrize("name", BUILDERS)
def test_body_fills_its_box_and_stays_in_it(name):
    rng = np.random.default_rng(0)
    for _ in range(40):
        body = BUILDERS[name](rng)
        assert category_to_detection_name(body.category) == name
        rows = np.array(body.primitives)
        low, high = outline(rows)
        expected = np.array([body.length, body.width])
        # Outside by less than the margin that the annotation adds, and never loose by more than a hand's breadth.
        assert (high[:2] <= expected / 2 + shapes.BOX_MARGIN).all()
        assert (low[:2] >= -expected / 2 - shapes.BOX_MARGIN).all()
        assert (high[:2] - low[:2] >= expected - 0.12).all(), body
        assert -1e-9 <= low[2] < 0.1
        assert high[2] == pytest.approx(body.height, abs=0.06)


@pytest.mark.parametrize("name", BUILDERS)
def test_mean_sizes_resemble_nuscenes(name):
    rng = np.random.default_rng(1)
    bodies = [BUILDERS[name](rng) for _ in range(200)]
    sizes = np.array([(body.width, body.length, body.height) for body in bodies])
    np.testing.assert_allclose(sizes.mean(axis=0), NUSCENES_SIZES[name], rtol=0.22)
    assert (sizes.std(axis=0) > 0.01).all()
