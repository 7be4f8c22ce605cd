"""How much the rounding of each layer disturbs the outputs: one layer quantized, all others in float."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import GetAttrKey, MappingKey, tree_flatten_with_path

from lidar_mt.quantization.arithmetic import Quantized
from lidar_mt.quantization.modules import (
    FloatIsland,
    OutputQuantizer,
    QuantAdd,
    QuantConcat,
    QuantConv2d,
    set_mode,
)

By = Literal["layer", "block", "head"]
#: Which values of the float outputs count, see `Quality.add`.
Cells = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]


def layers(root: nn.Module) -> dict[str, nn.Module]:
    """Modules of a prepared network that round anything, weights or result, by the names that exceptions use."""
    return {name.removeprefix("body."): module for name, module in root.named_modules() if _rounds(name, module)}


def _rounds(name: str, module: nn.Module) -> bool:
    if isinstance(module, QuantConv2d):
        return module.has_codes or module.output is not None
    if isinstance(module, QuantAdd | QuantConcat | FloatIsland):
        return module.output is not None
    return isinstance(module, OutputQuantizer) and not name.endswith(".output")


def group_layers(names: Sequence[str], by: By) -> dict[str, tuple[str, ...]]:
    """Layers that are looked at together.

    Args:
        names: of the layers.
        by: `layer` takes each for itself; `block` the innermost modules that hold more than one of them; `head` the
            parts of the network, each head for itself.

    Returns:
        Members by name of the group; all groups together are the names, in their order.

    Example:
        >>> group_layers(["stem.conv", "level.0.conv", "level.0.add", "heads.map.conv"], "block")
        {'stem': ('stem.conv',), 'level.0': ('level.0.conv', 'level.0.add'), 'heads': ('heads.map.conv',)}
    """
    if by == "layer":
        return {name: (name,) for name in names}
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        found[_part(name) if by == "head" else _block(name, names)].append(name)
    return {name: tuple(members) for name, members in found.items()}


def _part(name: str) -> str:
    parts = name.split(".")
    return ".".join(parts[: 2 if parts[0] == "heads" else 1])


def _block(name: str, names: Sequence[str]) -> str:
    """The largest module around a layer in which no other module holds several layers."""
    parts = name.split(".")
    block = name
    for depth in range(len(parts) - 1, 0, -1):
        around = ".".join(parts[:depth])
        inside = [other[len(around) + 1 :] for other in names if other.startswith(f"{around}.")]
        children = [other.split(".")[0] for other in inside if "." in other]
        if len(children) != len(set(children)):
            return block
        block = around
    return block


@dataclass
class Quality:
    """Signal and noise of a network's outputs, added up over samples.

    Attributes:
        signal: power of the float outputs, by output.
        noise: power of the difference from them.
    """

    signal: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    noise: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def add(
        self,
        found: Mapping[str, Tensor],
        reference: Mapping[str, Tensor],
        cells: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Adds the outputs of a sample.

        Args:
            found: tensors by name, see `named_outputs`.
            reference: those of the float network.
            cells: bool, which values count, by name; all of them where a name is missing.
        """
        for name, expected in reference.items():
            chosen = (cells or {}).get(name)
            self.signal[name] += _power(expected, chosen)
            if found[name] is not expected:
                self.noise[name] += _power(found[name].double() - expected.double(), chosen)

    @property
    def ratios(self) -> dict[str, float]:
        """Noise power over signal power of each output."""
        return {name: _ratio(self.noise.get(name, 0.0), signal) for name, signal in self.signal.items()}

    @property
    def quantities(self) -> dict[str, float]:
        """Noise power over signal power of all outputs together that end alike in a task, such as `detection.vel`.

        They have one unit. Alone, an output that is nearly zero, as the speed of barriers is, would have no signal.
        """
        names = {name: ".".join(dict.fromkeys((name.split(".")[0], name.split(".")[-1]))) for name in self.signal}
        signal: dict[str, float] = defaultdict(float)
        noise: dict[str, float] = defaultdict(float)
        for name, quantity in names.items():
            signal[quantity] += self.signal[name]
            noise[quantity] += self.noise.get(name, 0.0)
        return {quantity: _ratio(noise[quantity], power) for quantity, power in signal.items()}

    @property
    def tasks(self) -> dict[str, float]:
        """Mean of the ratios of each task's quantities; the task is the first part of an output's name."""
        gathered: dict[str, list[float]] = defaultdict(list)
        for name, ratio in self.quantities.items():
            gathered[name.split(".")[0]].append(ratio)
        return {task: sum(ratios) / len(ratios) for task, ratios in gathered.items()}

    @property
    def total(self) -> float:
        """Mean over the tasks."""
        tasks = self.tasks.values()
        return sum(tasks) / len(tasks)


def _power(values: Tensor, chosen: Tensor | None) -> float:
    powers = values.double().square()
    return float((powers if chosen is None else powers * chosen).sum())


def _ratio(noise: float, signal: float) -> float:
    if noise == 0:
        return 0.0
    return noise / signal if signal > 0 else math.inf


def decibels(ratio: float) -> float:
    """Signal-to-quantization-noise ratio (SQNR) [dB] of a ratio of noise to signal power; infinite without noise.

    Example:
        >>> decibels(0.001)
        30.0
    """
    return math.inf if ratio <= 0 else -10 * math.log10(ratio)


def named_outputs(outputs: Any) -> dict[str, Tensor]:
    """Output tensors by the path that leads to them.

    Example:
        >>> list(named_outputs({"detection": [torch.zeros(1)]}))
        ['detection.0']
    """
    pairs, _ = tree_flatten_with_path(outputs)
    return {".".join(_step(key) for key in path): leaf for path, leaf in pairs}


def _step(key: Any) -> str:
    if isinstance(key, GetAttrKey):
        return key.name
    return str(key.key if isinstance(key, MappingKey) else key.idx)


class PartialRuns:
    """Runs a network again and again on one input, each time computing only what depends on the layers that changed.

    Args:
        body: from `prepare`.
        front: what comes before it: input -> the body's input.
    """

    def __init__(self, body: fx.GraphModule, front: Callable[[Any], Quantized]) -> None:
        self.body = body
        self.front = front
        self._interpreter = fx.Interpreter(body, garbage_collect_values=False)
        self._behind: dict[tuple[str, ...], set[fx.Node]] = {}
        self._inputs: Any = None
        self._values: dict[fx.Node, Any] = {}
        # An operation in place would spoil the values that are kept.
        self._keeps_values = not any(_in_place(module) for module in body.modules())

    def first(self, inputs: Any) -> Any:
        """Outputs for an input, as the network's modes are now."""
        self._inputs = inputs
        outputs = self._interpreter.run(self.front(inputs))
        self._values = dict(self._interpreter.env)
        return outputs

    def again(self, changed: Sequence[str]) -> Any:
        """Outputs for the same input, with other modes in these layers and in none else since `first`."""
        behind = self._nodes_behind(tuple(changed))
        if behind is None or not self._keeps_values:
            return self._interpreter.run(self.front(self._inputs))
        kept = {node: value for node, value in self._values.items() if node not in behind and node.op != "output"}
        canvas = next(value for node, value in self._values.items() if node.op == "placeholder")
        return self._interpreter.run(canvas, initial_env=kept)

    def _nodes_behind(self, names: tuple[str, ...]) -> set[fx.Node] | None:
        """Nodes of the body that depend on the layers; None where one of these stands before the body."""
        calls = self._calls
        if any(name not in calls for name in names):
            return None
        if names not in self._behind:
            behind = {node for name in names for node in calls[name]}
            for node in self.body.graph.nodes:
                if not behind.isdisjoint(node.all_input_nodes):
                    behind.add(node)
            self._behind[names] = behind
        return self._behind[names]

    @cached_property
    def _calls(self) -> dict[str, list[fx.Node]]:
        calls: dict[str, list[fx.Node]] = defaultdict(list)
        for node in self.body.graph.nodes:
            if node.op == "call_module":
                calls[str(node.target)].append(node)
        return dict(calls)


def _in_place(module: nn.Module) -> bool:
    operation = getattr(module, "operation", None)
    keywords: Mapping[str, object] = getattr(module, "keywords", {})
    by_name = str(getattr(operation, "__name__", "")).endswith("_")
    return bool(by_name or getattr(operation, "inplace", False) or keywords.get("inplace"))


def no_cells(_: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Counts all values."""
    return {}


@dataclass
class Effect:
    """What the rounding of a group of layers does, while nothing else is rounded.

    Attributes:
        name: of the group.
        members: its layers.
        rounded: outputs with all of it rounded.
        weights: outputs with the weights rounded and the results not: what an exception of int16 leaves.
        losses: change of each loss term, as a share of the float network's total loss; empty where not measured.
    """

    name: str
    members: tuple[str, ...]
    rounded: Quality = field(default_factory=Quality)
    weights: Quality = field(default_factory=Quality)
    losses: dict[str, float] = field(default_factory=dict)

    @property
    def relieved(self) -> float:
        """Noise ratio that int16 takes away."""
        return max(0.0, self.rounded.total - self.weights.total)


@torch.no_grad()
def measure_effects(
    root: nn.Module,
    runs: PartialRuns,
    groups: Mapping[str, Sequence[str]],
    samples: Iterable[Any],
    cells: Cells = no_cells,
    told: Callable[[int], None] = lambda _: None,
) -> list[Effect]:
    """Quantizes one group after the other, alone.

    Args:
        root: the prepared network, calibrated, in evaluation mode; it ends in mode `quantize`.
        runs: of this network.
        groups: from `group_layers`.
        samples: inputs of the network.
        cells: which values of the outputs count.
        told: called with the number of samples that are done.

    Returns:
        The effects, largest first.
    """
    modules = layers(root)
    effects = [Effect(name, tuple(members)) for name, members in groups.items()]
    set_mode(root, "float")
    for number, sample in enumerate(samples, start=1):
        reference = named_outputs(runs.first(sample))
        chosen = cells(reference)
        for effect in effects:
            for quality, weights_alone in ((effect.rounded, False), (effect.weights, True)):
                rounds = _round([modules[name] for name in effect.members], weights_alone)
                found = named_outputs(runs.again(effect.members)) if rounds else reference
                quality.add(found, reference, chosen)
                for name in effect.members:
                    set_mode(modules[name], "float")
        told(number)
    set_mode(root, "quantize")
    return sorted(effects, key=lambda effect: effect.rounded.total, reverse=True)


@torch.no_grad()
def measure_losses(
    root: nn.Module,
    runs: PartialRuns,
    effects: Sequence[Effect],
    samples: Iterable[tuple[Any, Any]],
    losses: Callable[[Any, Any], Mapping[str, float]],
) -> None:
    """Fills in `Effect.losses`, on samples with ground truth.

    Args:
        root: the prepared network, as for `measure_effects`.
        runs: of this network.
        effects: those to look at.
        samples: inputs and what `losses` needs to know.
        losses: terms from outputs and that; `total` is one of them.
    """
    modules = layers(root)
    sums: list[dict[str, float]] = [defaultdict(float) for _ in effects]
    float_total = 0.0
    set_mode(root, "float")
    for sample, truth in samples:
        reference = losses(runs.first(sample), truth)
        float_total += reference["total"]
        for effect, added in zip(effects, sums, strict=True):
            _round([modules[name] for name in effect.members], weights_alone=False)
            for term, value in losses(runs.again(effect.members), truth).items():
                added[term] += value - reference[term]
            for name in effect.members:
                set_mode(modules[name], "float")
    set_mode(root, "quantize")
    for effect, added in zip(effects, sums, strict=True):
        effect.losses = {term: value / float_total for term, value in added.items()}


def _round(modules: Iterable[nn.Module], weights_alone: bool) -> bool:
    """Switches modules to rounding; false where there is nothing to round."""
    found = False
    for module in modules:
        set_mode(module, "quantize")
        if weights_alone:
            for quantizer in _output_quantizers(module):
                quantizer.mode = "float"
        found |= not weights_alone or (isinstance(module, QuantConv2d) and module.has_codes)
    return found


def _output_quantizers(module: nn.Module) -> Iterator[OutputQuantizer]:
    return (part for part in module.modules() if isinstance(part, OutputQuantizer))
