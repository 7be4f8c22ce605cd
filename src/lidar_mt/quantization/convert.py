"""From a trained quantized network to its integers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from lidar_mt.quantization import integer_graph as ints
from lidar_mt.quantization.modules import (
    KeepScale,
    OutputQuantizer,
    QuantAdd,
    QuantConcat,
    QuantConv2d,
    QuantUpsample,
)
from lidar_mt.structures.errors import ConfigError


def convert_codes(quantizer: OutputQuantizer) -> ints.Codes:
    """Scale and format of a quantizer's tensor."""
    return ints.Codes(float(quantizer.used_scale), quantizer.form)


def convert_conv(name: str, conv: QuantConv2d, source: str, source_codes: ints.Codes) -> ints.Convolution:
    """The integers of a convolution.

    Args:
        name: of the result.
        conv: in mode `quantize`.
        source: name of its input.
        source_codes: scale and format of its input.

    Raises:
        ConfigError: its weights stay in float.
    """
    if not conv.has_codes or (conv.output is None and conv.precision.activation_bits < 8):
        raise ConfigError(f"{name} stays in float (quant.exceptions); an integer network has no place for it")
    with torch.no_grad():
        weight, scale, bias = conv.codes(torch.tensor(source_codes.scale, device=conv.weight.device), source_codes.form)
    return ints.Convolution(
        name=name,
        source=source,
        weight=_integers(weight, np.int8),
        weight_scale=scale.cpu().numpy().astype(np.float32),
        bias=np.zeros(conv.out_channels, np.int32) if bias is None else _integers(bias, np.int32),
        stride=_pair(conv.stride),
        padding=_pair(conv.padding),
        dilation=_pair(conv.dilation),
        groups=conv.groups,
        relu=conv.relu,
        codes=None if conv.output is None else convert_codes(conv.output),
    )


def convert_body(body: fx.GraphModule, sources: dict[str, ints.Codes]) -> tuple[list[ints.Step], list[str]]:
    """The integers of a prepared network.

    Args:
        body: from `prepare`, calibrated or trained.
        sources: name and codes of the tensor that each of its inputs stands for, in order.

    Returns:
        Its steps in order, and the names of its outputs in the order of their leaves.

    Raises:
        ConfigError: a module stays in float, or has no integer form.
    """
    return _Converter(body, sources).convert()


class _Converter:
    def __init__(self, body: fx.GraphModule, sources: dict[str, ints.Codes]) -> None:
        self.body = body
        self.sources = list(sources)
        self.codes = dict(sources)
        self.names: dict[fx.Node, str] = {}
        self.steps: list[ints.Step] = []

    def convert(self) -> tuple[list[ints.Step], list[str]]:
        outputs: list[str] = []
        for node in self.body.graph.nodes:
            if node.op == "placeholder":
                self.names[node] = self.sources[len(self.names)]
            elif node.op == "call_module":
                self._step(node)
            elif node.op == "call_method" and node.target == "real":
                self.names[node] = self.names[node.args[0]]
            elif node.op == "output":
                outputs = [self.names[leaf] for leaf in _leaves(node)]
        return self.steps, outputs

    def _step(self, node: fx.Node) -> None:
        name = str(node.target)
        module = self.body.get_submodule(name)
        step = self._build(name, module, node)
        self.names[node] = name
        self.steps.append(step)
        codes = getattr(step, "codes", None)
        if isinstance(step, ints.Upsample | ints.MaxPool):
            codes = self.codes[step.source]
        if codes is not None:
            self.codes[name] = codes

    def _build(self, name: str, module: nn.Module, node: fx.Node) -> ints.Step:
        if isinstance(module, QuantConcat):
            parts: Sequence[fx.Node] = node.args[0]  # type: ignore[assignment]
            return ints.Concat(name, tuple(self._source(part) for part in parts), module.dim, _output(name, module))
        source = self._source(node.args[0])  # type: ignore[arg-type]
        if isinstance(module, QuantConv2d):
            return convert_conv(name, module, source, self.codes[source])
        if isinstance(module, QuantAdd):
            return ints.Add(name, source, self._source(node.args[1]), _output(name, module))  # type: ignore[arg-type]
        if isinstance(module, QuantUpsample):
            return ints.Upsample(name, source)
        if isinstance(module, KeepScale) and isinstance(module.operation, nn.MaxPool2d):
            pool = module.operation
            stride = pool.kernel_size if pool.stride is None else pool.stride
            return ints.MaxPool(name, source, _pair(pool.kernel_size), _pair(stride), _pair(pool.padding))
        kind = type(getattr(module, "operation", module)).__name__
        raise ConfigError(f"{name} ({kind}) has no integer form; it stays in float and cannot be exported")

    def _source(self, node: fx.Node) -> str:
        name = self.names[node]
        if name not in self.codes:
            raise ConfigError(f"{name} gives real values (quant.exceptions); an integer network has no place for it")
        return name


def _output(name: str, module: QuantAdd | QuantConcat) -> ints.Codes:
    if module.output is None:
        raise ConfigError(f"{name} gives real values (quant.exceptions); an integer network has no place for it")
    return convert_codes(module.output)


def _leaves(node: fx.Node) -> list[fx.Node]:
    """Tensor nodes under an output or a named tuple, in order."""
    leaves = []
    for leaf in tree_leaves((node.args, node.kwargs)):
        if isinstance(leaf, fx.Node):
            leaves += _leaves(leaf) if leaf.op == "call_function" else [leaf]
    return leaves


def _integers(codes: Tensor, dtype: type[np.integer]) -> np.ndarray:  # type: ignore[type-arg]
    limits = np.iinfo(dtype)
    return codes.detach().cpu().double().clamp(limits.min, limits.max).contiguous().numpy().astype(dtype)


def _pair(value: int | str | tuple[int, ...]) -> tuple[int, int]:
    if isinstance(value, str):
        raise ConfigError(f"padding={value!r} has no integer form; give it in numbers")
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))
