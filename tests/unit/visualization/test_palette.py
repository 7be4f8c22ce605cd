"""Colours: complete for the benchmark's classes and apart for every kind of colour sight."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lidar_mt.structures.classes import DETECTION_CLASSES
from lidar_mt.visualization import palette

# Machado, Oliveira and Fernandes 2009, table of severity 1.0; they act on linear RGB.
SIGHT = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def lab(linear_rgb):
    """CIE Lab (D65) of linear sRGB."""
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
    x, y, z = np.clip(linear_rgb, 0, 1) @ np.array(to_xyz).T / [0.95047, 1.0, 1.08883]
    f = [np.cbrt(v) if v > 216 / 24389 else (24389 / 27 * v + 16) / 116 for v in (x, y, z)]
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def linear(color):
    values = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return np.array([v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values])


def test_every_benchmark_class_has_its_own_colour():
    assert set(palette.CLASS_COLORS) == set(DETECTION_CLASSES)
    assert len(set(palette.class_colors(DETECTION_CLASSES))) == 10


@pytest.mark.parametrize("sight", SIGHT)
def test_class_colours_stay_apart(sight):
    seen = {name: lab(linear(color) @ np.array(SIGHT[sight]).T) for name, color in palette.CLASS_COLORS.items()}
    distances = {(a, b): np.linalg.norm(seen[a] - seen[b]) for a, b in itertools.combinations(seen, 2)}
    closest = min(distances, key=distances.get)
    assert distances[closest] > 19, closest


def test_class_colours_are_bright_against_the_ground():
    ground = lab(linear(palette.PANEL))
    for name, color in palette.CLASS_COLORS.items():
        assert lab(linear(color))[0] - ground[0] > 35, name


def test_unknown_classes_get_different_colours_in_their_order():
    colors = palette.class_colors(["car", "tram", "scooter"])
    assert colors[0] == palette.CLASS_COLORS["car"]
    assert colors[1:] == palette.EXTRA_COLORS[:2]
    # More unknown classes than extra colours start again.
    many = palette.class_colors([f"class{i}" for i in range(20)])
    assert len(set(many)) == len(palette.EXTRA_COLORS)


def test_surfaces_leave_others_dark():
    assert palette.surface_colors(["others", "driveable_surface", "sidewalk"]) == (
        None,
        palette.SURFACE_COLORS["driveable_surface"],
        palette.EXTRA_COLORS[0],
    )


def test_rgb_reads_hexadecimal():
    assert palette.rgb("#0a80ff").tolist() == [10, 128, 255]


def test_height_colours_brighten_upwards_and_stop_at_the_ends():
    z = np.array([-50.0, -2.5, -1.0, 1.0, 3.0, 80.0])
    brightness = palette.height_colors(z).astype(int).sum(axis=1)
    assert palette.height_colors(z).dtype == np.uint8
    assert brightness[0] == brightness[1] < brightness[2] < brightness[3] < brightness[4] == brightness[5]
    assert palette.height_colors(np.zeros(0)).shape == (0, 3)
