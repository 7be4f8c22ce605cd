"""The integer network as data: what runtimes are written from, and what the integer reference computes.

A list of steps in the order of computation. Every step makes one tensor, named after the module that made it in
training. Tensors between steps are codes; only the results of `Convolution` steps without an output format are real.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from lidar_mt.quantization.spec import Format


@dataclass(frozen=True)
class Codes:
    """Scale and format of a tensor of codes.

    Attributes:
        scale: real value of one code, a float32.
        form: range, zero point and type.
    """

    scale: float
    form: Format


@dataclass(frozen=True)
class Quantize:
    """Real values to codes: the network's input.

    Attributes:
        name: of the result.
        source: real tensor.
        codes: of the result.
    """

    name: str
    source: str
    codes: Codes


@dataclass(frozen=True)
class Convolution:
    """Accumulate, then rescale into codes, cutting at the format's range; a ReLU is that cut, or `relu` if real.

    Attributes:
        name: of the result.
        source: tensor of codes.
        weight: (C, I, kh, kw) int8 codes.
        weight_scale: (C,) float32.
        bias: (C,) int32 codes of scale (source's scale x weight_scale).
        stride: in rows and columns.
        padding: in rows and columns, filled with the code of zero.
        dilation: in rows and columns.
        groups: of channels.
        relu: end with a ReLU.
        codes: of the result; None for a real result, accumulators times their scale.
    """

    name: str
    source: str
    weight: npt.NDArray[np.int8]
    weight_scale: npt.NDArray[np.float32]
    bias: npt.NDArray[np.int32]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    relu: bool
    codes: Codes | None


@dataclass(frozen=True)
class Add:
    """Sum of two tensors, in the order of operations of `arithmetic.add_codes`.

    Attributes:
        name: of the result.
        first: tensor of codes.
        second: tensor of codes of the same shape.
        codes: of the result.
    """

    name: str
    first: str
    second: str
    codes: Codes


@dataclass(frozen=True)
class Concat:
    """Joins channels after bringing each part to one scale.

    Attributes:
        name: of the result.
        sources: tensors of codes.
        dim: dimension, 1 for channels.
        codes: of the result.
    """

    name: str
    sources: tuple[str, ...]
    dim: int
    codes: Codes


@dataclass(frozen=True)
class Upsample:
    """Bilinear doubling of rows and columns (half-pixel centres), rounded half to even; codes keep their scale.

    Attributes:
        name: of the result.
        source: tensor of codes.
    """

    name: str
    source: str


@dataclass(frozen=True)
class MaxPool:
    """Maximum over windows; codes keep their scale.

    Attributes:
        name: of the result.
        source: tensor of codes.
        kernel: rows and columns.
        stride: rows and columns.
        padding: rows and columns, never the maximum.
    """

    name: str
    source: str
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


@dataclass(frozen=True)
class Scatter:
    """Pillar features onto the canvas; cells without a pillar hold the code of zero.

    Attributes:
        name: of the result, (B, C, H, W).
        source: (B, C, 1, V) codes.
        coords: name of the input (B, V, 2) int64 row, column; -1, -1 for padding.
        shape: H, W.
    """

    name: str
    source: str
    coords: str
    shape: tuple[int, int]


#: What keeps the scale of its source.
Kept = Upsample | MaxPool | Scatter
Step = Quantize | Convolution | Add | Concat | Kept


@dataclass(frozen=True)
class IntegerGraph:
    """A whole network.

    Attributes:
        steps: in the order of computation.
        outputs: names of the results, in the order of the network's outputs.
        scheme: name of the scheme.
        scales: `float` or `pow2`.
        inputs: names of the inputs.
    """

    steps: tuple[Step, ...]
    outputs: tuple[str, ...]
    scheme: str
    scales: str
    inputs: tuple[str, ...] = field(default=("features", "coords"))

    def codes_of(self) -> dict[str, Codes]:
        """Scale and format of every tensor of codes, by name."""
        known: dict[str, Codes] = {}
        for step in self.steps:
            if isinstance(step, Kept):
                known[step.name] = known[step.source]
            elif step.codes is not None:
                known[step.name] = step.codes
        return known

    def split_at_canvas(self) -> tuple[str, tuple[Step, ...]] | None:
        """Name of the canvas and the steps behind it; None for a network without a scatter."""
        for place, step in enumerate(self.steps):
            if isinstance(step, Scatter):
                return step.name, self.steps[place + 1 :]
        return None
