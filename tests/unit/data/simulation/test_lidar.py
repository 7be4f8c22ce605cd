import numpy as np
import pytest

from lidar_mt.data.simulation import lidar, taxonomy
from lidar_mt.data.simulation.geometry import euler_quaternion, rotation_matrix
from lidar_mt.data.simulation.primitives import COLUMNS, block
from lidar_mt.data.simulation.raycast import make_ray_grid
from lidar_mt.data.simulation.taxonomy import SURFACE_RAISED
from lidar_mt.data.simulation.town import KERB, build_ground, draw_street

TILT = rotation_matrix(euler_quaternion(0.01, 0.04, -1.5))


@pytest.fixture(scope="module")
def ground():
    rng = np.random.default_rng(3)
    street = draw_street(60, rng)
    plots = [("asphalt", 20, 40, street.frontage, street.frontage + 20), ("gravel", 5, 20, -40, -street.frontage)]
    return build_ground(street, plots, rng)


def bodies(*rows):
    table = np.array(rows, dtype=np.float64).reshape(-1, COLUMNS)
    return lidar.Bodies(table, np.full(len(rows), 28, np.uint8), np.full(len(rows), -1, np.int32))


def surface_below(ground, points):
    """Height of the ground and surface code below town positions (..., 3)."""
    u = points[..., 0]
    v = points[..., 1] - ground.bend_at(u)
    code = ground.surface.ravel()[ground.cells(u, v)]
    return ground.height_at(u, v) + KERB * SURFACE_RAISED[code], code


@pytest.mark.parametrize("seed", range(3))
def test_ground_hit_is_where_the_ray_first_gets_below_the_surface(ground, seed):
    rng = np.random.default_rng(seed)
    origin = np.array([rng.uniform(0, 60), rng.uniform(-3, 3), 1.85])
    grid = make_ray_grid(24, rng.uniform(-3, 3), lidar.ELEVATIONS, TILT)
    distance, code = lidar.cast_ground(grid, origin, ground)
    steps = np.arange(2.5, 60, 0.02)
    checked = []
    for ray in np.flatnonzero(distance < 45):
        direction = grid.town_dirs[:, ray].astype(np.float64)
        points = origin + steps[:, None] * direction
        hit = np.flatnonzero(points[:, 2] <= surface_below(ground, points)[0])[0]
        # Along the ray the height map's steps of a few millimetres are stretched by the shallow angle.
        assert abs(distance[ray] - steps[hit] + 0.01) < 0.03 + 0.012 / abs(direction[2])
        around = points[hit] + np.array([[0, 0, 0], [0.3, 0, 0], [-0.3, 0, 0], [0, 0.3, 0], [0, -0.3, 0]])
        checked.append(code[ray] in surface_below(ground, around)[1])
    assert len(checked) > 200
    assert np.mean(checked) > 0.97


def test_rays_above_the_horizon_meet_no_ground(ground):
    grid = make_ray_grid(24, 0.0, lidar.ELEVATIONS, np.eye(3))
    distance, _ = lidar.cast_ground(grid, np.array([10.0, 0, 1.8]), ground)
    assert np.isinf(distance.reshape(24, 32)[:, 24:]).all()
    assert np.isfinite(distance.reshape(24, 32)[:, :20]).all()


def test_turn_has_the_shape_of_a_real_file(ground):
    wall = block((12, 13), 60, (0, 12), "concrete_wall")
    gains = np.ones(32, dtype=np.float32)
    turn = lidar.scan(ground, bodies(wall), np.array([0.0, -2, 1.85]), TILT, gains, np.random.default_rng(0))
    points = turn.points
    assert points.dtype == np.float32
    assert len(points) % 32 == 0
    assert 1084 <= len(points) // 32 <= 1087
    np.testing.assert_array_equal(points[:, 4], np.arange(len(points)) % 32)
    assert (points[:, 3] == np.round(points[:, 3])).all()
    assert points[:, 3].min() >= 0
    assert points[:, 3].max() <= 255
    distance = np.linalg.norm(points[:, :3], axis=1)
    returned = distance > 1e-3
    assert 0.4 < returned.mean() < 0.95
    assert (distance[~returned] <= 2 * lidar.NO_RETURN).all()
    assert (turn.labels[~returned] == taxonomy.EGO).all()
    assert distance.max() < lidar.MAX_RANGE
    elevation = np.arcsin(points[returned, 2] / distance[returned])
    np.testing.assert_allclose(elevation, lidar.ELEVATIONS[points[returned, 4].astype(int)], atol=1e-4)
    azimuth = np.unwrap(np.arctan2(points[::32, 1], points[::32, 0]))
    np.testing.assert_allclose(np.diff(azimuth), -2 * np.pi / (len(points) // 32), atol=1e-3)


def test_labels_and_noise_of_a_wall(ground):
    wall = block((10, 11), 40, (-1, 12), "concrete_wall")
    gains = np.ones(32, dtype=np.float32)
    turn = lidar.scan(ground, bodies(wall), np.array([0.0, 0, 1.85]), np.eye(3), gains, np.random.default_rng(1))
    on_wall = turn.labels == 28
    assert on_wall.sum() > 2000
    error = turn.points[on_wall, 0] - 10
    assert abs(error.mean()) < 0.003
    assert 0.01 < error.std() < 0.025
    behind = (turn.points[:, 0] > 10.5) & (np.abs(turn.points[:, 1]) < turn.points[:, 0]) & (turn.points[:, 2] < 5)
    assert (turn.labels[behind] == taxonomy.NOISE).all()


def test_asphalt_fades_with_distance(ground):
    gains = np.ones(32, dtype=np.float32)
    roof = block((-0.1, 0.1), 0.2, (1.3, 1.4), "metal")
    turn = lidar.scan(ground, bodies(roof), np.array([20.0, 0, 1.85]), np.eye(3), gains, np.random.default_rng(0))
    kept = (np.linalg.norm(turn.points[:, :3], axis=1) > 1).reshape(-1, 32).mean(axis=0)
    assert (kept[:17] > 0.95).all()
    assert kept[21] < 0.35
    assert (kept[23:] < 0.02).all()
