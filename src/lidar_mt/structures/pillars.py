"""Pillars: what the voxelizer hands to the network."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Pillars(NamedTuple):
    """The non-empty pillars of a batch in flat ("segmented") form: no padding, one row per kept point.

    Attributes:
        features: (P, 5) float32 kept points, grouped by pillar, normalised: x y z intensity in [0, 1], time lag [s].
        point_to_pillar: (P,) int64 pillar of each kept point, an index into `coords`.
        coords: (V, 3) int64 batch index, row, column of each pillar; pillars of a sample are contiguous, in the
            order in which they were opened.
        num_points: (V,) int64 kept points per pillar, 1 to points_per_pillar.
        batch_size: B.
    """

    features: Tensor
    point_to_pillar: Tensor
    coords: Tensor
    num_points: Tensor
    batch_size: int


class DensePillars(NamedTuple):
    """The same pillars padded to a fixed number: the input of the deployed network.

    Attributes:
        features: (B, 5, M, V) float32, zero in empty slots and pad pillars (M points per pillar, V pillars).
        coords: (B, V, 2) int64 row, column; -1, -1 for a pad pillar, which is not scattered.
    """

    features: Tensor
    coords: Tensor
