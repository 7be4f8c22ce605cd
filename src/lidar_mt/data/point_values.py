"""What the values of a real point can be: one limit for packing and inference."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

#: No coordinate [m], intensity or ring of a real sweep comes near this: sensors reach some hundred metres and count
#: intensity in at most 16 bits. Random bytes read as numbers are beyond it every second time.
LARGEST_VALUE = 1e5
#: Organised clouds mark beams without a return as NaN, of which an open sky gives many; with a larger share of such
#: points a file is taken for damaged.
LARGEST_LOST_SHARE = 0.75

BoolArray = npt.NDArray[np.bool_]


def all_within(points: npt.NDArray[Any]) -> bool:
    """Whether every value of (P, C) points is finite and within the limit."""
    # The whole array at once, which NaN fails too: ten times faster than row by row.
    return bool(points.max() < LARGEST_VALUE and points.min() > -LARGEST_VALUE)


def describe_bad(points: npt.NDArray[Any], bad: BoolArray) -> str:
    """How many points of a file are bad, and the first of them.

    Args:
        points: (P, C).
        bad: (P,), one at least.

    Example:
        >>> describe_bad(np.array([[1.0, 2.0], [3.0, 1e9]]), np.array([False, True]))
        '1 of 2 points are not finite or far out of range, the first is number 1: [3.0, 1000000000.0]'
    """
    first = int(bad.argmax())
    return (
        f"{np.count_nonzero(bad)} of {len(points)} points are not finite or far out of range, "
        f"the first is number {first}: {points[first].tolist()}"
    )


def damage(points: npt.NDArray[Any]) -> str:
    """What shows that a file holds no points of a LiDAR, empty where nothing does.

    A few points that are not finite are no damage, see `LARGEST_LOST_SHARE`.

    Args:
        points: (P, C), P >= 1: coordinates [m] and intensity.

    Example:
        >>> damage(np.array([[1.0], [np.nan]]))
        ''
    """
    if all_within(points):
        return ""
    finite = np.isfinite(points)
    beyond = (finite & (np.abs(points) >= LARGEST_VALUE)).any(axis=1)
    lost = ~finite.all(axis=1)
    if beyond.any():
        return describe_bad(points, beyond)
    return describe_bad(points, lost) if lost.mean() > LARGEST_LOST_SHARE else ""
