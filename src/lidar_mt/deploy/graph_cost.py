"""What an integer graph costs whatever computes it: multiply-accumulates, parameters, bytes at the border."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lidar_mt.deploy.signature import Signature
from lidar_mt.quantization.integer_graph import (
    Add,
    Concat,
    Convolution,
    IntegerGraph,
    MaxPool,
    Quantize,
    Scatter,
    Step,
    Upsample,
)


@dataclass(frozen=True)
class GraphCost:
    """Cost of what stands behind the canvas, for one sample.

    Attributes:
        macs: multiply-accumulates by name of the step; only convolutions have any.
        weight_bytes: of all weights and biases.
        border_bytes: of the canvas in 8 bits and of the results in 32.
    """

    macs: dict[str, int]
    weight_bytes: int
    border_bytes: int

    @property
    def total_macs(self) -> int:
        """Of all steps."""
        return sum(self.macs.values())

    @property
    def least_bytes(self) -> int:
        """What must be read and written at least, if everything else stays on the chip."""
        return self.weight_bytes + self.border_bytes


def graph_cost(graph: IntegerGraph, signature: Signature) -> GraphCost:
    """Counts the steps behind the canvas.

    Args:
        graph: the network.
        signature: says how large the canvas is.
    """
    _, height, width, channels = signature.canvas.shape
    names = [step.name for step in graph.steps]
    at = next(index for index, step in enumerate(graph.steps) if isinstance(step, Scatter))
    sizes = {names[at]: (height, width)}
    macs, weights, results = {}, 0, 0
    for step in graph.steps[at + 1 :]:
        sizes[step.name] = rows, columns = _size(step, sizes)
        if isinstance(step, Convolution):
            macs[step.name] = step.weight.size * rows * columns
            weights += step.weight.nbytes + step.bias.nbytes
            results += 4 * len(step.weight) * rows * columns * (step.codes is None)
    return GraphCost(macs, weights, height * width * channels + results)


def _size(step: Step, sizes: dict[str, tuple[int, int]]) -> tuple[int, int]:
    """Rows and columns of a step's result."""
    if isinstance(step, Convolution | MaxPool):
        kernel = step.weight.shape[2:] if isinstance(step, Convolution) else step.kernel
        dilation = step.dilation if isinstance(step, Convolution) else (1, 1)
        rows, columns = (
            (size + 2 * pad - gap * (reach - 1) - 1) // stride + 1
            for size, pad, gap, reach, stride in zip(
                sizes[step.source], step.padding, dilation, kernel, step.stride, strict=True
            )
        )
        return rows, columns
    if isinstance(step, Upsample):
        rows, columns = sizes[step.source]
        return 2 * rows, 2 * columns
    return sizes[_first(step)]


def _first(step: Step) -> str:
    if isinstance(step, Add):
        return step.first
    if isinstance(step, Concat):
        return step.sources[0]
    if isinstance(step, Quantize):
        raise ValueError(f"{step.name}: a quantization behind the canvas")
    return step.source


def step_of(name: str, steps: Sequence[str], border: dict[str, str]) -> str | None:
    """The step that an operator of a compiler or a runtime belongs to, by its name; None for none.

    They name operators after tensors of the exported file, with something of their own behind.

    Args:
        name: of the operator.
        steps: names of the steps.
        border: step of each result at the border.
    """
    candidates = {**{step: step for step in steps}, **border}
    fitting = [
        known for known in candidates if name == known or name.startswith((f"{known}:", f"{known}_", f"{known}/"))
    ]
    return candidates[max(fitting, key=len)] if fitting else None
