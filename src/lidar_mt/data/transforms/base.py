"""What a transform is, and how a list of them is applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from lidar_mt.structures.sample import Sample


class Transform(Protocol):
    """One step between the store and the network.

    Write a class with this method and name it in `conf/augmentation` to add one. Points of the keyframe must keep
    their place and number until the BEV label map is built, because its labels are per point. A class that reads
    something once may have a method `prepare()`; it is called before workers start, which then share what it read.
    """

    def __call__(self, sample: Sample, rng: np.random.Generator, /) -> Sample:
        """Returns the changed sample; the given one may be used up."""
        ...


#: Transforms in order; names in a mapping are for overriding, None switches one off.
Transforms = Mapping[str, Transform | None] | Sequence[Transform]


def as_list(transforms: Transforms | None) -> list[Transform]:
    """The transforms in order, without those switched off."""
    steps = transforms.values() if isinstance(transforms, Mapping) else transforms or ()
    return [step for step in steps if step is not None]


def prepare(transforms: Transforms | None) -> None:
    """Lets the transforms read what they read once, see `Transform`."""
    for step in as_list(transforms):
        ready = getattr(step, "prepare", None)
        if ready is not None:
            ready()
