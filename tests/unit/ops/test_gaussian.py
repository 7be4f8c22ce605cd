import math

import numpy as np
import pytest
import torch

from lidar_mt.ops.gaussian import draw_gaussians, gaussian_radius
from tests.helpers.slow_detection import radius_by_search


@pytest.mark.parametrize("overlap", [0.1, 0.5, 0.7])
def test_radius_equals_a_search_over_the_three_cases(overlap):
    rng = np.random.default_rng(0)
    sides = np.exp(rng.uniform(np.log(0.05), np.log(60), (100, 2)))
    found = gaussian_radius(torch.tensor(sides[:, 0]), torch.tensor(sides[:, 1]), overlap)
    wanted = [radius_by_search(length, width, overlap) for length, width in sides]
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


def test_radius_does_not_depend_on_which_side_is_longer():
    a, b = torch.tensor([3.0, 20.0]), torch.tensor([9.0, 2.0])
    torch.testing.assert_close(gaussian_radius(a, b, 0.1), gaussian_radius(b, a, 0.1))


def _draw(shape, peaks):
    return draw_gaussians(shape, *(torch.tensor(v, dtype=torch.long) for v in zip(*peaks, strict=True)))


def test_drawing_equals_loops_with_overlaps_borders_and_mixed_radii():
    rng = np.random.default_rng(1)
    shape = (3, 20, 30)
    peaks = [(rng.integers(3), rng.integers(20), rng.integers(30), rng.integers(0, 7)) for _ in range(25)]
    peaks += [(0, 0, 0, 3), (0, 19, 29, 5), (1, 0, 29, 40), (2, 7, 7, 2), (2, 7, 7, 4)]
    wanted = np.zeros(shape)
    for channel, row, column, radius in peaks:
        for i in range(20):
            for j in range(30):
                if abs(i - row) <= radius and abs(j - column) <= radius:
                    sigma = (2 * radius + 1) / 6
                    value = math.exp(-((i - row) ** 2 + (j - column) ** 2) / (2 * sigma * sigma))
                    wanted[channel, i, j] = max(wanted[channel, i, j], value)
    np.testing.assert_allclose(_draw(shape, peaks), wanted, atol=1e-6)


def test_peaks_are_exactly_one_and_the_window_ends_at_the_radius():
    heatmap = _draw((1, 11, 11), [(0, 5, 5, 2)])[0]
    assert heatmap[5, 5] == 1
    assert (heatmap == 1).sum() == 1
    assert (heatmap > 0).sum() == 25
    assert heatmap[5, 7] > 0
    assert heatmap[5, 8] == 0


def test_no_peaks_give_empty_maps():
    none = torch.zeros(0, dtype=torch.long)
    heatmap = draw_gaussians((2, 4, 5), none, none, none, none)
    assert heatmap.shape == (2, 4, 5)
    assert not heatmap.any()


def test_a_radius_beyond_the_map_costs_no_more_than_the_map():
    heatmap = _draw((1, 8, 8), [(0, 4, 4, 100_000)])
    assert heatmap.min() > 0.99
