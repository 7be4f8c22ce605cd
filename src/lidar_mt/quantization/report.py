"""What of a network is integers, and what is not: the check before calibration and training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from torch import nn

from lidar_mt.quantization.modules import (
    FloatIsland,
    KeepScale,
    OutputQuantizer,
    QuantAdd,
    QuantConcat,
    QuantConv2d,
    QuantUpsample,
)

#: Outputs that are real values.
_ACCUMULATOR, _FLOAT, _KEPT = "accumulator", "float", "as input"
_NAMED = 5
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@dataclass(frozen=True)
class Row:
    """One module.

    Attributes:
        module: its name.
        kind: what it computes.
        weights: format of its weights, empty without any.
        output: format of its result; "accumulator" for outputs of the network, "float", or "as input" where codes and
            scale are those of the input.
        scale: of the result's codes, empty where there is none.
        granularity: how many scales the weights and the result have.
    """

    module: str
    kind: str
    weights: str
    output: str
    scale: str
    granularity: str


def rows(root: nn.Module) -> list[Row]:
    """One row for each module of a prepared network, in the order of its modules."""
    found = []
    for name, module in root.named_modules():
        row = _row(name.removeprefix("body."), module)
        if row is not None:
            found.append(row)
    return found


def uncalled_modules(network: nn.Module, prepared: nn.Module) -> list[str]:
    """Modules with weights that a network has, and its forward pass never calls.

    Args:
        network: the float network.
        prepared: the same, quantized; names of its modules may begin with `body.`.
    """
    called = {name.removeprefix("body.") for name, _ in prepared.named_modules()}
    return [
        name
        for name, module in network.named_modules()
        if next(module.children(), None) is None
        and next(module.parameters(), None) is not None
        and not isinstance(module, _NORMS)  # folded
        and name not in called
    ]


def summary(found: Sequence[Row], title: str, uncalled: Sequence[str] = ()) -> str:
    """A few lines that name everything which stays in float.

    Args:
        found: from `rows`.
        title: scheme and scales.
        uncalled: from `uncalled_modules`.
    """
    islands = [row.module for row in found if row.kind.startswith("float ")]
    real = [row.module for row in found if row.output == _FLOAT and row.module not in islands]
    float_weights = [row.module for row in found if row.weights == _FLOAT]
    accumulators = [row.module for row in found if row.output == _ACCUMULATOR]
    weights = Counter(f"{row.weights} {_weight_granularity(row)}" for row in found if row.weights not in ("", _FLOAT))
    outputs = Counter(row.output for row in found if row.scale)
    lines = [
        f"quantization: {title}; {len(found)} modules",
        f"  weights        {_counts(weights)}",
        f"  results        {_counts(outputs)}, per tensor",
        f"  accumulators   {len(accumulators)} outputs of the network are not rounded",
        f"  float          operations without an integer form, or not fused: {_names(islands)}",
        f"                 by exception: {_names(dict.fromkeys([*real, *float_weights]))}",
        f"  never called   {_names(uncalled)}",
    ]
    return "\n".join(lines)


def write_table(root: nn.Module, path: Path, title: str, uncalled: Sequence[str] = ()) -> str:
    """Writes the summary and one line per module to a file; returns the summary."""
    found = rows(root)
    short = summary(found, title, uncalled)
    lines = [tuple(field.name for field in fields(Row)), *(astuple(row) for row in found)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    never = [f"never called: {name}" for name in uncalled]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([short, "", *table, "", *never]).rstrip() + "\n", encoding="utf-8")
    return short


def _row(name: str, module: nn.Module) -> Row | None:
    if isinstance(module, QuantConv2d):
        weights = "int8" if module.has_codes else _FLOAT
        unrounded = _FLOAT if module.precision.activation_bits == 32 else _ACCUMULATOR
        return _with_output(name, _kind(module), module.output, weights=weights, unrounded=unrounded)
    if isinstance(module, QuantAdd | QuantConcat | FloatIsland):
        return _with_output(name, _kind(module), module.output)
    if isinstance(module, QuantUpsample | KeepScale):
        return Row(name, _kind(module), "", _KEPT, "", "")
    if isinstance(module, OutputQuantizer) and not name.endswith(".output"):
        return _with_output(name, "input", module)
    return None


def _kind(module: nn.Module) -> str:
    if isinstance(module, KeepScale | FloatIsland):
        operation = module.operation
        word = str(getattr(operation, "__name__", type(operation).__name__))
        return f"float {word}" if isinstance(module, FloatIsland) else word
    word = {QuantConv2d: "conv", QuantAdd: "add", QuantConcat: "concat"}.get(type(module), "upsample")
    return f"{word} + relu" if getattr(module, "relu", False) else word


def _with_output(
    name: str, kind: str, output: OutputQuantizer | None, weights: str = "", unrounded: str = _FLOAT
) -> Row:
    granularity = ["weights per channel"] if weights == "int8" else []
    if output is None:
        return Row(name, kind, weights, unrounded, "", ", ".join(granularity))
    form = f"{output.form.dtype} zero {output.form.zero_point}"
    return Row(
        name, kind, weights, form, f"{float(output.used_scale):.6g}", ", ".join([*granularity, "result per tensor"])
    )


def _weight_granularity(row: Row) -> str:
    return "per channel" if "per channel" in row.granularity else ""


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counter.most_common()) or "none"


def _names(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _NAMED} more" if len(every) > _NAMED else ""
    return ", ".join(every[:_NAMED]) + more if every else "none"
