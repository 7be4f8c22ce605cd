from __future__ import annotations

import json

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from lidar_mt.data.maps.polygons import PolygonMap, read_polygons
from lidar_mt.structures.errors import DataError

SQUARE = [(0.0, 0.0), (8.0, 0.0), (8.0, 8.0), (0.0, 8.0)]
HOLE = [(2.0, 2.0), (2.0, 6.0), (6.0, 6.0), (6.0, 2.0)]


def cells(affine, shape):
    row, column = np.mgrid[: shape[0], : shape[1]]
    x, y = affine @ np.stack([column.ravel(), row.ravel(), np.ones(row.size)])
    return x.reshape(shape), y.reshape(shape)


def random_affine(rng, size=0.5):
    angle = rng.uniform(-4, 4)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    mirror = np.diag(rng.choice([-1, 1], 2))
    return np.column_stack([turn @ mirror * size, rng.uniform(-10, 10, 2)])


def star(rng, corners):
    """A simple polygon around the origin, with spikes."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    radius = rng.uniform(1, 15, corners)
    return np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=1)


def repaired(ring):
    """A ring as a valid area; where it crosses itself, shapely takes the even-odd rule too."""
    return shapely.make_valid(shapely.Polygon(ring))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_cells_are_those_that_shapely_contains(seed):
    rng = np.random.default_rng(seed)
    outlines = [star(rng, int(rng.integers(3, 40))) + rng.uniform(-15, 15, 2) for _ in range(3)]
    hole = star(rng, 7) * 0.2
    affine, shape = random_affine(rng), (60, 80)
    found = PolygonMap.of_rings([[outlines[0].tolist(), hole.tolist()], [outlines[1].tolist()], [outlines[2].tolist()]])
    x, y = cells(affine, shape)
    # A hole that reaches over the outline is where the even-odd rule and a difference disagree: take the rule.
    first = repaired(outlines[0]).symmetric_difference(repaired(hole))
    union = shapely.union_all([first, *map(repaired, outlines[1:])])
    np.testing.assert_array_equal(found.driveable(affine, shape), shapely.contains_xy(union, x, y))


def test_holes_and_rings_that_touch_themselves():
    figure_of_two = [(0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (8.0, 4.0), (8.0, 8.0), (4.0, 8.0), (4.0, 4.0), (0.0, 4.0)]
    centres = np.array([[1.0, 0, 0.5], [0, 1.0, 0.5]])
    one = PolygonMap.of_rings([[SQUARE, HOLE]]).driveable(centres, (8, 8))
    assert one.sum() == 64 - 16
    assert not one[2:6, 2:6].any()
    two = PolygonMap.of_rings([[figure_of_two]]).driveable(centres, (8, 8))
    assert two[:4, :4].all()
    assert two[4:, 4:].all()
    assert two.sum() == 32


def test_overlapping_polygons_add_up():
    shifted = [(x + 4, y) for x, y in SQUARE]
    centres = np.array([[1.0, 0, 0.5], [0, 1.0, 0.5]])
    assert PolygonMap.of_rings([[SQUARE], [shifted]]).driveable(centres, (8, 14)).sum() == 96


def test_corners_and_edges_on_cell_centres_count_once():
    whole = np.array([[1.0, 0, 0], [0, 1.0, 0]])
    left = PolygonMap.of_rings([[[(0, 0), (4, 0), (4, 8), (0, 8)]]]).driveable(whole, (9, 9))
    right = PolygonMap.of_rings([[[(4, 0), (8, 0), (8, 8), (4, 8)]]]).driveable(whole, (9, 9))
    assert not (left & right).any()
    assert (left | right).sum() == 64


def test_a_closed_ring_is_an_open_one():
    centres = np.array([[1.0, 0, 0.5], [0, 1.0, 0.5]])
    rings = (SQUARE, [*SQUARE, SQUARE[0]])
    opened, closed = (PolygonMap.of_rings([[ring]]).driveable(centres, (9, 9)) for ring in rings)
    np.testing.assert_array_equal(opened, closed)


def test_an_empty_map_and_a_grid_beside_it():
    centres = np.array([[1.0, 0, 0.5], [0, 1.0, 0.5]])
    assert not PolygonMap.of_rings([]).driveable(centres, (4, 4)).any()
    assert not PolygonMap.of_rings([[SQUARE]]).driveable(centres + np.array([[0, 0, 100], [0, 0, 0]]), (4, 4)).any()
    assert PolygonMap.of_rings([[SQUARE]]).driveable(centres * 0.01 + np.array([[0, 0, 4], [0, 0, 4]]), (4, 4)).all()


def test_both_kinds_of_file_say_the_same(tmp_path):
    """The .json is laid out as the devkit's map API reads it: polygons by token, corners by node token."""
    (tmp_path / "town.geojson").write_text(json.dumps({"type": "MultiPolygon", "coordinates": [[SQUARE, HOLE]]}))
    rings = {"outer": SQUARE, "inner": HOLE, "unused": [(20.0, 20.0), (30.0, 20.0), (30.0, 30.0)]}
    nodes = [{"token": f"{name}{i}", "x": x, "y": y} for name, ring in rings.items() for i, (x, y) in enumerate(ring)]
    tokens = {name: [f"{name}{i}" for i in range(len(ring))] for name, ring in rings.items()}
    layers = {
        "version": "1.3",
        "node": nodes,
        "polygon": [
            {"token": "p", "exterior_node_tokens": tokens["outer"], "holes": [{"node_tokens": tokens["inner"]}]},
            {"token": "q", "exterior_node_tokens": tokens["unused"], "holes": []},
        ],
        "drivable_area": [{"token": "d", "polygon_tokens": ["p"]}],
        "walkway": [{"token": "w", "polygon_token": "q"}],
    }
    (tmp_path / "city.json").write_text(json.dumps(layers))
    centres = np.array([[0.5, 0, 0.1], [0, 0.5, 0.1]])
    first, second = (read_polygons(tmp_path, name).driveable(centres, (70, 70)) for name in ("town", "city"))
    np.testing.assert_array_equal(first, second)
    assert first.sum() == 48 * 4
    assert read_polygons(tmp_path, "town") is read_polygons(tmp_path, "town")


@pytest.mark.parametrize("content", ["", "{}", '{"type": "Point", "coordinates": [1, 2]}', '{"type": "MultiPolygon"}'])
def test_damaged_files_are_named(tmp_path, content):
    (tmp_path / "town.geojson").write_text(content)
    with pytest.raises(DataError, match=r"town.geojson holds no driveable area"):
        read_polygons(tmp_path, "town")


def test_a_missing_map_names_both_ways_out(tmp_path):
    with pytest.raises(DataError, match=r"no nowhere.geojson or nowhere.json in .* bev_labels=map_mask"):
        read_polygons(tmp_path, "nowhere")
