"""A network as a graph of plain modules, with its normalisation folded into the convolutions."""

from __future__ import annotations

import copy

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lidar_mt.structures.errors import ConfigError

#: Modules that do nothing in evaluation. Dropout has no place in a quantized network, not even in its training.
_NOTHING = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


def capture(network: nn.Module) -> fx.GraphModule:
    """Traces a copy of a network, in evaluation mode, and folds its normalisation.

    The graph keeps the names of the network's modules, so weights keep their names as well.

    Args:
        network: its forward pass must be free of decisions that depend on data.

    Raises:
        ConfigError: it cannot be traced, or has a normalisation that follows no convolution.
    """
    network = copy.deepcopy(network).eval()
    try:
        graph = fx.symbolic_trace(network)
    except (fx.proxy.TraceError, TypeError, RuntimeError) as error:
        raise ConfigError(
            f"{type(network).__name__} cannot be quantized: its forward pass cannot be captured as a graph ({error}); "
            "write it without decisions and loops that depend on tensors"
        ) from error
    _drop_nothing(graph)
    _fold_normalisation(graph)
    graph.graph.lint()
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph


def called(graph: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module that a node calls, or None for nodes that call none."""
    return graph.get_submodule(str(node.target)) if node.op == "call_module" else None


def fuse(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """One convolution for a convolution and the normalisation behind it, as in evaluation."""
    fused = fuse_conv_bn_eval(conv.eval(), norm.eval())
    for parameter in fused.parameters():
        # torch leaves a bias that came from the normalisation alone without gradient.
        parameter.requires_grad_(True)
    if conv.weight.is_contiguous(memory_format=torch.channels_last):
        fused = fused.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return fused


def _drop_nothing(graph: fx.GraphModule) -> None:
    for node in list(graph.graph.nodes):
        if isinstance(called(graph, node), _NOTHING):
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)


def _fold_normalisation(graph: fx.GraphModule) -> None:
    for node in list(graph.graph.nodes):
        norm = called(graph, node)
        if not isinstance(norm, nn.BatchNorm2d):
            continue
        before = node.args[0]
        conv = called(graph, before)
        if not isinstance(conv, nn.Conv2d) or len(before.users) > 1:
            raise ConfigError(
                f"{node.target} cannot be quantized: a normalisation must directly follow a convolution of its own"
            )
        graph.add_submodule(str(before.target), fuse(conv, norm))
        node.replace_all_uses_with(before)
        graph.graph.erase_node(node)
