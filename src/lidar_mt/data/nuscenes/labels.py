"""Labels of nuScenes: detection names of the categories, box velocities and lidarseg files."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lidar_mt.data.nuscenes.tables import AnnotationRow, SampleDataRow, Tables
from lidar_mt.structures.classes import LIDARSEG_DRIVEABLE
from lidar_mt.structures.errors import DataError

_DRIVEABLE_NAME = "flat.driveable_surface"
#: Keyframes further apart than this say nothing about velocity [s]; twice as much for a centred difference.
_MAX_TIME_DIFFERENCE_S = 1.5


def box_velocity(tables: Tables, annotation: AnnotationRow) -> tuple[float, float]:
    """Velocity of a box over ground from its neighbours in time.

    Returns:
        vx, vy [m/s] in the global frame; NaN where it cannot be known.

    Source: nuscenes-devkit 1.2.0, NuScenes.box_velocity, without its vertical part.
    """
    first = tables.annotations[annotation.prev] if annotation.prev else annotation
    last = tables.annotations[annotation.next] if annotation.next else annotation
    # The devkit subtracts seconds as floats, which this repeats so that the numbers are the same to the last bit.
    time_s = 1e-6 * tables.samples[last.sample_token].timestamp - 1e-6 * tables.samples[first.sample_token].timestamp
    limit_s = _MAX_TIME_DIFFERENCE_S * (2 if annotation.prev and annotation.next else 1)
    if not 0 < time_s <= limit_s:
        return float("nan"), float("nan")
    return (
        (last.translation[0] - first.translation[0]) / time_s,
        (last.translation[1] - first.translation[1]) / time_s,
    )


def check_lidarseg_categories(tables: Tables) -> None:
    """Checks that the set numbers the lidarseg classes as this project does.

    Raises:
        DataError: the set has lidarseg, but its category table does not say so or numbers driveable surface otherwise.
    """
    if tables.lidarseg is None:
        return
    index = {row.name: row.index for row in tables.categories.values()}.get(_DRIVEABLE_NAME)
    if index != LIDARSEG_DRIVEABLE:
        raise DataError(
            f"{tables.categories.path} gives {_DRIVEABLE_NAME} the index {index}, expected {LIDARSEG_DRIVEABLE}; "
            "use the category.json that comes with nuScenes-lidarseg"
        )


def read_lidarseg(tables: Tables, lidar: SampleDataRow, num_points: int) -> npt.NDArray[np.uint8] | None:
    """Raw lidarseg labels of a keyframe.

    Args:
        tables: the version.
        lidar: LIDAR_TOP row of the keyframe.
        num_points: how many points the keyframe has.

    Returns:
        (num_points,) uint8, or None in a set without lidarseg.

    Raises:
        DataError: the row or the file is missing, or has another number of labels.
    """
    if tables.lidarseg is None:
        return None
    row = tables.lidarseg.get(lidar.token)
    if row is None:
        raise DataError(
            f"{tables.root / tables.version / 'lidarseg.json'} has no labels for the keyframe {lidar.token} "
            f"({lidar.filename}); download nuScenes-lidarseg again, or remove that table to pack without labels"
        )
    path = tables.root / row.filename
    try:
        labels = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise DataError(
            f"missing lidarseg file {path} of the keyframe {lidar.token}; download nuScenes-lidarseg again, "
            f"or remove {tables.version}/lidarseg.json to pack without labels"
        ) from error
    if len(labels) != num_points:
        raise DataError(
            f"{path} has {len(labels)} labels, its keyframe {lidar.token} ({lidar.filename}) has {num_points} points; "
            "download nuScenes-lidarseg again"
        )
    return labels
