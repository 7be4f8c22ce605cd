import numpy as np
import pytest
from tests.helpers import slow_raycast

from lidar_mt.data.simulation import primitives as p
from lidar_mt.data.simulation.geometry import euler_quaternion, rotation_matrix
from lidar_mt.data.simulation.raycast import cast, expand_windows, make_ray_grid, ray_windows

ELEVATIONS = np.radians(np.linspace(-30.67, 10.67, 12))
REACH = 30.0


def random_primitives(rng, count):
    rows = []
    for _ in range(count):
        # Some are near enough to reach under, over and around the sensor, and all azimuths occur.
        distance, azimuth = rng.uniform(1.5, 22), rng.uniform(-np.pi, np.pi)
        x, y, bottom = distance * np.cos(azimuth), distance * np.sin(azimuth), rng.uniform(-0.5, 1.0)
        top = bottom + rng.uniform(0.3, 4)
        kind = rng.integers(3)
        if kind == p.BLOCK:
            lean = tuple(rng.uniform(-0.2, 0.3, 3))
            length = rng.uniform(0.8, 6)
            row = p.block((-length / 2, length / 2), rng.uniform(0.8, 3), (bottom, top), "metal", lean=lean)
            row[p.X] += x
            row[p.Y] += y
        elif kind == p.FRUSTUM:
            row = p.frustum(x, y, (bottom, top), (rng.uniform(0.2, 1), rng.uniform(0.02, 1)), "metal")
        else:
            row = p.ellipsoid((x, y, bottom + 0.5), tuple(rng.uniform(0.3, 2, 3)), "metal")
        row[p.YAW] = rng.uniform(-np.pi, np.pi)
        rows.append(row)
    return np.array(rows)


def tilted(rng):
    return rotation_matrix(euler_quaternion(rng.normal(0, 0.04), rng.normal(0, 0.04), rng.uniform(-np.pi, np.pi)))


@pytest.mark.parametrize("seed", range(6))
def test_nearest_hit_is_where_marching_first_gets_inside(seed):
    rng = np.random.default_rng(seed)
    solids = random_primitives(rng, 14)
    origin = np.array([rng.normal(0, 0.3), rng.normal(0, 0.3), 1.8])
    grid = make_ray_grid(72, rng.uniform(-np.pi, np.pi), ELEVATIONS, tilted(rng))
    around = origin + 0.35 * grid.town_dirs.T  # nothing may touch the sensor itself
    solids = solids[[not slow_raycast.inside(s, around).any() for s in solids]]
    hits = cast(grid, origin, solids, rng)
    found = 0
    for ray in range(grid.size):
        direction = grid.town_dirs[:, ray].astype(np.float64)
        distance, owner = slow_raycast.march(origin, direction, solids, REACH)
        fast = hits.distance[ray]
        if np.isfinite(distance):
            # Marching may pass through a thin edge that the exact solution meets earlier, never the reverse.
            assert fast <= distance + 1e-3
        if np.isfinite(fast) and fast < REACH:
            found += 1
            hit = solids[hits.primitive[ray]]
            close = origin + direction * (fast + np.linspace(-2e-3, 2e-3, 41))[:, None]
            assert slow_raycast.inside(hit, close).any()
            if hits.primitive[ray] == owner:
                before = origin + direction * (fast - 0.02)
                assert distance - fast < slow_raycast.STEP + 1e-3 or not slow_raycast.inside(hit, before)
    assert found > 40


def test_primitive_names_the_owner_of_the_nearest_hit():
    near = p.block((4, 5), 20, (-5, 9), "metal")
    far = p.block((8, 9), 20, (-5, 9), "metal")
    grid = make_ray_grid(36, 0.0, ELEVATIONS, np.eye(3))
    hits = cast(grid, np.array([0, 0, 1.8]), np.array([far, near]), np.random.default_rng(0))
    ahead = slice(0, len(ELEVATIONS))
    assert (hits.primitive[ahead] == 1).all()
    np.testing.assert_allclose(hits.distance[ahead], 4 / np.cos(ELEVATIONS), rtol=1e-5)
    # Both would be hit if alone: that is what visibility is measured by.
    assert {0, 1} == set(hits.pair_primitive[hits.pair_ray < len(ELEVATIONS)].tolist())


def test_no_primitives_no_hits():
    grid = make_ray_grid(36, 0.0, ELEVATIONS, np.eye(3))
    hits = cast(grid, np.zeros(3), np.zeros((0, p.COLUMNS)), np.random.default_rng(0))
    assert np.isinf(hits.distance).all()
    assert (hits.primitive == -1).all()


@pytest.mark.parametrize("seed", range(4))
def test_windows_hold_every_ray_that_can_meet_the_primitive(seed):
    rng = np.random.default_rng(100 + seed)
    solids = random_primitives(rng, 12)
    origin = np.array([0, 0, 1.8])
    grid = make_ray_grid(180, rng.uniform(-np.pi, np.pi), ELEVATIONS, tilted(rng))
    relative = solids.copy()
    relative[:, p.X : p.Z + 1] -= origin
    row, ray = expand_windows(grid, ray_windows(grid, relative))
    assert len(set(zip(row.tolist(), ray.tolist(), strict=True))) == len(row)
    distance = np.arange(0.05, REACH, 0.05)
    for index, solid in enumerate(solids):
        points = origin + grid.town_dirs.T[:, None, :] * distance[None, :, None]
        meets = np.flatnonzero(slow_raycast.inside(solid, points).any(axis=1))
        assert set(meets) <= set(ray[row == index].tolist())


def test_roof_below_the_sensor_is_seen_all_around():
    roof = np.array([p.block((-1, 1), 2, (1.2, 1.5), "metal")])
    grid = make_ray_grid(90, 1.0, ELEVATIONS, np.eye(3))
    hits = cast(grid, np.array([0, 0, 1.85]), roof, np.random.default_rng(0))
    lowest = hits.distance.reshape(90, -1)[:, 0]
    np.testing.assert_allclose(lowest, 0.35 / np.sin(np.radians(30.67)), rtol=1e-4)


def test_foliage_lets_some_rays_through_and_scatters_the_others():
    crown = np.array([p.ellipsoid((10, 0, 2), (2, 2, 2), "leaf", free_path=1.5)])
    grid = make_ray_grid(720, np.pi, ELEVATIONS, np.eye(3))
    origin = np.array([0, 0, 2.0])
    solid = crown.copy()
    solid[:, p.FREE_PATH] = 0
    through = cast(grid, origin, crown, np.random.default_rng(0)).distance
    against = cast(grid, origin, solid, np.random.default_rng(0)).distance
    met, kept = np.isfinite(against), np.isfinite(through)
    assert (kept <= met).all()
    assert 0.4 < kept.sum() / met.sum() < 0.95
    depth = through[kept] - against[kept]
    assert (depth >= 0).all()
    assert depth.std() > 0.3
    points = origin + grid.town_dirs.T[kept].astype(np.float64) * through[kept, None]
    assert slow_raycast.inside(crown[0], points).mean() > 0.99
