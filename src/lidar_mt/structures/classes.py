"""Class names, their order and the class groups of the detection head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lidar_mt.structures.errors import ConfigError

# The order of the nuScenes detection benchmark as the reference network numbers it; a label is an index into it.
DETECTION_CLASSES = (
    "car",
    "truck",
    "construction_vehicle",
    "bus",
    "trailer",
    "barrier",
    "motorcycle",
    "bicycle",
    "pedestrian",
    "traffic_cone",
)

#: nuScenes-lidarseg index of flat.driveable_surface.
LIDARSEG_DRIVEABLE = 24


# Written out, because the devkit's own table takes seconds to import in every worker process; a test compares them.
_DETECTION_NAMES = {
    "human.pedestrian.adult": "pedestrian",
    "human.pedestrian.child": "pedestrian",
    "human.pedestrian.construction_worker": "pedestrian",
    "human.pedestrian.police_officer": "pedestrian",
    "movable_object.barrier": "barrier",
    "movable_object.trafficcone": "traffic_cone",
    "vehicle.bicycle": "bicycle",
    "vehicle.bus.bendy": "bus",
    "vehicle.bus.rigid": "bus",
    "vehicle.car": "car",
    "vehicle.construction": "construction_vehicle",
    "vehicle.motorcycle": "motorcycle",
    "vehicle.trailer": "trailer",
    "vehicle.truck": "truck",
}


@dataclass(frozen=True)
class Classes:
    """What the two tasks predict.

    Attributes:
        detection: detection class names; a box label is an index into this tuple.
        groups: class names of each detection sub-head; together they hold every detection class exactly once.
        segmentation: BEV segmentation class names; a cell label is an index into this tuple.

    Raises:
        ConfigError: the groups do not hold every detection class exactly once.
    """

    detection: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    segmentation: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "detection", tuple(self.detection))
        object.__setattr__(self, "groups", tuple(_names(group) for group in self.groups))
        object.__setattr__(self, "segmentation", tuple(self.segmentation))
        grouped = sorted(name for group in self.groups for name in group)
        if grouped != sorted(self.detection):
            raise ConfigError(f"classes: the groups hold {grouped}, the detection classes are {sorted(self.detection)}")

    @property
    def group_labels(self) -> tuple[tuple[int, ...], ...]:
        """Label of each class of each group, in the groups' own order."""
        return tuple(tuple(self.detection.index(name) for name in group) for group in self.groups)


def detection_name(category: str) -> str:
    """Detection class of a nuScenes category, '' for a category of no detection class."""
    return _DETECTION_NAMES.get(category, "")


def _names(group: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(name) for name in group)
