"""TFLite files of codes: tensors that know their codes, shared constants, and the scatter of pillars."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lidar_mt.deploy.tflite_file import TfliteFile
from lidar_mt.quantization.integer_graph import Codes, Scatter


class CodesFile(TfliteFile):
    """A TFLite file of an integer network."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers: dict[tuple[int, ...], int] = {}

    def codes_tensor(self, name: str, shape: Sequence[int], codes: Codes) -> int:
        """Adds a tensor of int8 codes."""
        return self.tensor(name, shape, "int8", scale=[codes.scale], zero_point=codes.form.zero_point)

    def numbers(self, *values: int) -> int:
        """A constant of whole numbers, once for all that ask for the same."""
        if values not in self._numbers:
            name = "numbers:" + "_".join(map(str, values))
            self._numbers[values] = self.constant(name, np.array(values, np.int32))
        return self._numbers[values]

    def whole(
        self, kind: str, inputs: Sequence[int], name: str, shape: Sequence[int], options: str, dtype: str = "int32"
    ) -> int:
        """Adds an operator on whole numbers, and its result."""
        return self.operator(kind, inputs, self.tensor(name, shape, dtype), options)


def scatter_codes(file: CodesFile, step: Scatter, codes: Codes, source: int, coords: int) -> int:
    """Adds a lookup: which pillar lies in each cell, 0 for none; row 0 of the table holds codes of zero.

    Args:
        file: to add to.
        step: the scatter.
        codes: of source and result.
        source: (1, 1, V, C) codes.
        coords: (1, V, 2) int64.

    Returns:
        (1, H, W, C) codes.
    """
    name, (height, width) = step.name, step.shape
    _, _, pillars, channels = file.shapes[source]
    rows = file.codes_tensor(f"{name}:rows", (pillars, channels), codes)
    file.operator("RESHAPE", [source, file.numbers(pillars, channels)], rows, "Reshape")
    empty = np.full((1, channels), codes.form.zero_point, np.int8)
    first = file.constant(f"{name}:empty", empty, scale=[codes.scale], zero_point=codes.form.zero_point)
    table = file.codes_tensor(f"{name}:table", (pillars + 1, channels), codes)
    file.operator("CONCATENATION", [first, rows], table, "Concatenation", {"Axis": 0})
    cells = file.codes_tensor(f"{name}:cells", (height * width, channels), codes)
    file.operator("GATHER", [table, _pillar_of_cell(file, step, coords)], cells, "Gather")
    result = file.codes_tensor(name, (1, height, width, channels), codes)
    return file.operator("RESHAPE", [cells, file.numbers(1, height, width, channels)], result, "Reshape")


def _pillar_of_cell(file: CodesFile, step: Scatter, coords: int) -> int:
    """(H x W) int32: 1 + index of the pillar of each cell. Padding goes to a spare cell, which is cut off."""
    name, (height, width) = step.name, step.shape
    cells, pillars = height * width, file.shapes[coords][1]
    column_shape = (1, pillars, 1)
    pairs = file.whole("CAST", [coords], f"{name}:int32", (1, pillars, 2), "Cast")
    row, column = (
        file.whole(
            "SLICE",
            [pairs, file.numbers(0, 0, axis), file.numbers(*column_shape)],
            f"{name}:{part}",
            column_shape,
            "Slice",
        )
        for axis, part in enumerate(("row", "column"))
    )
    start = file.whole("MUL", [row, file.numbers(width)], f"{name}:row_start", column_shape, "Mul")
    cell = file.whole("ADD", [start, column], f"{name}:cell", column_shape, "Add")
    padded = file.whole("LESS", [row, file.numbers(0)], f"{name}:is_padding", column_shape, "Less", "bool")
    chosen = file.whole("SELECT_V2", [padded, file.numbers(cells), cell], f"{name}:or_spare", column_shape, "SelectV2")
    index = file.whole("RESHAPE", [chosen, file.numbers(pillars, 1)], f"{name}:index", (pillars, 1), "Reshape")
    count = file.constant(f"{name}:count", np.arange(1, pillars + 1, dtype=np.int32))
    found = file.whole("SCATTER_ND", [index, count, file.numbers(cells + 1)], f"{name}:map", (cells + 1,), "ScatterNd")
    return file.whole("SLICE", [found, file.numbers(0), file.numbers(cells)], f"{name}:kept", (cells,), "Slice")
