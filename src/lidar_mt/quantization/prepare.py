"""From a captured network to one of quantized modules."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from lidar_mt.quantization.capture import called, capture
from lidar_mt.quantization.modules import (
    FloatIsland,
    KeepScale,
    OutputQuantizer,
    QuantAdd,
    QuantConcat,
    QuantConv2d,
    QuantUpsample,
    Settings,
)
from lidar_mt.quantization.spec import Exceptions, Precision
from lidar_mt.structures.errors import ConfigError

_ADD = (operator.add, operator.iadd, torch.add)
_RELU = (F.relu, torch.relu, F.relu_)
#: What only picks or reorders values.
_KEEP_MODULES = (nn.MaxPool2d, nn.Flatten, nn.PixelShuffle, nn.UpsamplingNearest2d)
_KEEP_FUNCTIONS = (F.max_pool2d, torch.flatten, F.pixel_shuffle)


def prepare(
    network: nn.Module,
    settings: Settings,
    exceptions: Exceptions | None = None,
    more_names: Sequence[str] = (),
) -> fx.GraphModule:
    """Captures a network and replaces its operations by quantized modules.

    The result takes and gives `Quantized` values in place of tensors, except that its outputs are real tensors. Its
    modules are named as the network's; those in place of a function get a name beside the module that called it.

    Args:
        network: the float network, of one or several tensor inputs.
        settings: scheme and observers.
        exceptions: modules with another precision.
        more_names: of quantized modules outside this network that exceptions may name as well.

    Returns:
        The network in mode `float`; see `modules.set_mode`.

    Raises:
        ConfigError: the network cannot be captured, or an exception matches nothing.
    """
    graph = capture(network)
    builder = _Builder(graph, settings, exceptions or Exceptions())
    for node in list(graph.graph.nodes):
        if node.op in ("call_module", "call_function", "call_method"):
            builder.replace(node)
    builder.exceptions.check([*more_names, *builder.names])
    _real_outputs(graph)
    graph.graph.lint()
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph


class _Builder:
    """Replaces nodes one by one, in the order of the graph."""

    def __init__(self, graph: fx.GraphModule, settings: Settings, exceptions: Exceptions) -> None:
        self.graph = graph
        self.settings = settings
        self.exceptions = exceptions
        self.names: list[str] = []
        #: Nodes whose values are never negative.
        self.positive: set[fx.Node] = set()

    def replace(self, node: fx.Node) -> None:
        if node._erased or _is_structure(node):
            return  # a ReLU that went into what stands before it, or a tuple of outputs
        module = called(self.graph, node)
        target = node.target
        if isinstance(module, nn.Conv2d):
            self._conv(node, module)
        elif target in _ADD or (node.op == "call_method" and target in ("add", "add_")):
            self._add(node)
        elif target is torch.cat:
            self._concat(node)
        elif _is_bilinear_doubling(module, node):
            self._put(node, "upsample", QuantUpsample(), node.args[:1], positive=node.args[0] in self.positive)
        elif isinstance(module, _KEEP_MODULES) or target in _KEEP_FUNCTIONS or _is_nearest(node):
            self._keep(node, module)
        else:
            self._island(node, module)

    def _conv(self, node: fx.Node, conv: nn.Conv2d) -> None:
        if conv.padding_mode != "zeros":
            raise ConfigError(f"{node.target} cannot be quantized: padding_mode {conv.padding_mode} is not zeros")
        name = str(node.target)
        precision = self._precision(name)
        relu = self._take_relu(node)
        output = self._quantizer(node, precision, positive=relu)
        quantized = QuantConv2d(
            conv, relu=relu, output=output, precision=precision, power_of_two=self.settings.scheme.power_of_two
        )
        self.graph.add_submodule(name, quantized)
        if relu:
            self.positive.add(node)

    def _add(self, node: fx.Node) -> None:
        if not all(isinstance(term, fx.Node) for term in node.args) or node.kwargs:
            raise ConfigError(f"{self._name(node, 'add')} cannot be quantized: it adds something other than two maps")
        name = self._name(node, "add")
        relu = self._take_relu(node)
        positive = relu or all(term in self.positive for term in node.args)
        output = self._quantizer(node, self._precision(name), positive=positive)
        self._put(node, "add", QuantAdd(relu=relu, output=output), node.args, positive=positive)

    def _concat(self, node: fx.Node) -> None:
        parts = node.args[0]
        dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        positive = all(part in self.positive for part in parts)  # type: ignore[union-attr]
        output = self._quantizer(node, self._precision(self._name(node, "cat")), positive=positive)
        self._put(node, "cat", QuantConcat(int(dim), output), (parts,), positive=positive)  # type: ignore[arg-type]

    def _keep(self, node: fx.Node, module: nn.Module | None) -> None:
        operation: Callable[..., Any] = module if module is not None else node.target  # type: ignore[assignment]
        kept = KeepScale(operation, **dict(node.kwargs))
        self._put(node, "keep", kept, node.args, positive=node.args[0] in self.positive)

    def _island(self, node: fx.Node, module: nn.Module | None) -> None:
        """Everything unknown stays in float, between a dequantization and a quantization."""
        operation: Callable[..., Any]
        if module is not None:
            operation = module
        elif node.op == "call_method":
            operation = getattr(torch.Tensor, str(node.target))
        else:
            operation = node.target  # type: ignore[assignment]
        positive = isinstance(module, nn.ReLU) or node.target in _RELU
        output = self._quantizer(node, self._precision(self._name(node, "operation")), positive=positive)
        self._put(node, "operation", FloatIsland(operation, output, dict(node.kwargs)), node.args, positive=positive)

    def _precision(self, name: str) -> Precision:
        self.names.append(name)
        return self.exceptions.precision(name)

    def _quantizer(self, node: fx.Node, precision: Precision, *, positive: bool) -> OutputQuantizer | None:
        """None for outputs of the network, which keep their accumulators, and for float exceptions."""
        if precision.activation_bits == 32 or _is_output(node):
            return None
        return OutputQuantizer(self.settings, positive=positive, bits=precision.activation_bits)

    def _take_relu(self, node: fx.Node) -> bool:
        """Removes the ReLU that is a node's only user."""
        user = next(iter(node.users)) if len(node.users) == 1 else None
        if user is None or not (isinstance(called(self.graph, user), nn.ReLU) or user.target in _RELU):
            return False
        user.replace_all_uses_with(node)
        self.graph.graph.erase_node(user)
        return True

    def _put(self, node: fx.Node, kind: str, module: nn.Module, args: Any, *, positive: bool) -> None:
        """Lets a node call a new module."""
        name = self._name(node, kind)
        self.graph.add_submodule(name, module)
        node.op, node.target, node.args, node.kwargs = "call_module", name, tuple(args), {}
        if positive:
            self.positive.add(node)

    def _name(self, node: fx.Node, kind: str) -> str:
        """A free name beside the module that a function was called in; a module keeps its own."""
        if node.op == "call_module":
            return str(node.target)
        stack = list((node.meta.get("nn_module_stack") or {"": None}).keys())
        owner = f"{stack[-1]}." if stack[-1] else ""
        taken = {name for name, _ in self.graph.named_modules()}
        numbers = ("", *range(1, 1000))
        return next(name for number in numbers if (name := f"{owner}{kind}{number}") not in taken)


def _is_bilinear_doubling(module: nn.Module | None, node: fx.Node) -> bool:
    settings = _interpolation(module, node)
    return (
        settings.get("mode") == "bilinear"
        and settings.get("scale_factor") in (2, 2.0, (2, 2), (2.0, 2.0))
        and not settings.get("align_corners")
    )


def _is_nearest(node: fx.Node) -> bool:
    return node.target is F.interpolate and node.kwargs.get("mode", "nearest") == "nearest"


def _interpolation(module: nn.Module | None, node: fx.Node) -> dict[str, Any]:
    if isinstance(module, nn.Upsample):
        return {key: getattr(module, key) for key in ("mode", "scale_factor", "align_corners")}
    if node.target is F.interpolate:
        names = ("input", "size", "scale_factor", "mode", "align_corners")
        return {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    return {}


def _is_structure(node: fx.Node) -> bool:
    """A call of a named tuple's class, which only gathers outputs."""
    return node.op == "call_function" and isinstance(node.target, type) and issubclass(node.target, tuple)


def _is_output(node: fx.Node) -> bool:
    return all(user.op == "output" or (_is_structure(user) and _is_output(user)) for user in node.users)


def _real_outputs(graph: fx.GraphModule) -> None:
    """Lets the outputs be tensors."""
    for node in list(graph.graph.nodes):
        if node.op == "output" or _is_structure(node):
            with graph.graph.inserting_before(node):
                node.args, node.kwargs = fx.map_arg((node.args, node.kwargs), functools.partial(_real, graph.graph))


def _real(graph: fx.Graph, node: fx.Node) -> fx.Node:
    return node if _is_structure(node) else graph.call_method("real", (node,))
