"""The raw point files of a scene, damaged ones included."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lidar_mt.data.nuscenes.keyframes import PointFileError, read_points
from lidar_mt.data.nuscenes.tables import SampleDataRow, Tables


class PointFiles:
    """The point files of a scene, and what is wrong with those that are to be left out.

    Args:
        tables: of the scene.
        skip: leave damaged files out, instead of stopping at them.
    """

    def __init__(self, tables: Tables, *, skip: bool = False) -> None:
        self.problems: list[str] = []
        self.left_out: set[str] = set()
        self._root = tables.root
        self._skip = skip

    def read(self, row: SampleDataRow) -> npt.NDArray[np.float32] | None:
        """Points of a file, or None for one that is left out.

        Raises:
            DataError: the file is damaged and not to be skipped.
        """
        if row.token in self.left_out:
            return None
        try:
            return read_points(self._root, row)
        except PointFileError as error:
            if not self._skip:
                raise
            self.left_out.add(row.token)
            self.problems.append(str(error))
            return None
