import numpy as np
from shapely import affinity
from shapely.geometry import box as rectangle

from lidar_mt.data.simulation import shapes
from lidar_mt.data.simulation.actors import Actor, footprints, standing, without_collisions


def random_actors(rng, count):
    actors = []
    for _ in range(count):
        body = shapes.car(rng) if rng.random() < 0.6 else shapes.pedestrian(rng)
        if rng.random() < 0.5:
            actors.append(standing(body, *rng.uniform(-25, 25, 2), rng.uniform(-3, 3), "parked"))
        else:
            start, way = rng.uniform(-25, 25, 2), rng.uniform(-1, 1, 2)
            track = np.concatenate([start + np.arange(20)[:, None] * way, np.full((20, 1), np.arctan2(*way[::-1]))], 1)
            actors.append(Actor(body, track, "traffic"))
    return actors


def polygons(actors, turn):
    shapes_ = []
    for u, v, length, width, heading in footprints(actors, np.array([turn]))[:, 0]:
        flat = rectangle(u - length / 2, v - width / 2, u + length / 2, v + width / 2)
        shapes_.append(affinity.rotate(flat, heading, use_radians=True))
    return shapes_


def test_kept_actors_never_overlap_and_dropped_ones_would():
    actors = random_actors(np.random.default_rng(0), 60)
    kept = without_collisions(actors, np.arange(20))
    assert kept[0] is actors[0]
    assert 5 < len(kept) < len(actors)
    for turn in range(20):
        shapes_ = polygons(kept, turn)
        assert all(not a.intersects(b) for i, a in enumerate(shapes_) for b in shapes_[:i])
    for actor in actors:
        if all(actor is not other for other in kept):
            clash = [
                polygons([actor], turn)[0].distance(other) < 0.11
                for turn in range(20)
                for other in polygons(kept, turn)
            ]
            assert any(clash)


def test_attributes_follow_the_speed():
    body = shapes.car(np.random.default_rng(0))
    assert standing(body, 0, 0, 0, "traffic").attribute(5.0) == "vehicle.moving"
    assert standing(body, 0, 0, 0, "traffic").attribute(0.0) == "vehicle.stopped"
    assert standing(body, 0, 0, 0, "walker").attribute(1.0) == "pedestrian.moving"
    assert standing(body, 0, 0, 0, "thing").attribute(0.0) is None
