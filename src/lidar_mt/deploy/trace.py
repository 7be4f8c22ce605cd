"""Every tensor of one frame, by layer, in each form a network has: float, trained, integer, in a runtime."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from lidar_mt.deploy.artefact import Artefact
from lidar_mt.deploy.onnx_writer import import_onnx
from lidar_mt.deploy.runtimes.base import Runtime
from lidar_mt.deploy.runtimes.onnxruntime import open_session
from lidar_mt.deploy.signature import COORDS, FEATURES
from lidar_mt.deploy.unsigned import unsigned_graph
from lidar_mt.models.quantized_multitask import QuantizedMultiTaskNet
from lidar_mt.ops.voxelize import to_dense
from lidar_mt.quantization.arithmetic import Quantized
from lidar_mt.quantization.compare import Activation
from lidar_mt.quantization.integer_graph import Codes
from lidar_mt.quantization.integer_reference import IntegerReference
from lidar_mt.structures.outputs import NetOutput
from lidar_mt.structures.pillars import Pillars

_INPUT, _POINT, _POOL, _CANVAS = "encoder.input", "encoder.point.conv", "encoder.pool", "scatter"


@dataclass(frozen=True)
class Trace:
    """The tensors of one frame.

    Attributes:
        layers: by the name of the module that made each, in the order of computation; the outputs are left out.
        output: the network's result.
    """

    layers: Mapping[str, Activation]
    output: NetOutput


class Form(ABC):
    """A network that can show its tensors."""

    @abstractmethod
    def trace(self, pillars: Pillars) -> Trace:
        """Computes one frame.

        Args:
            pillars: of one sample, on the CPU.
        """


class TorchForm(Form):
    """A network in torch, in the mode it is in; computed as in evaluation, from the flat form of the pillars.

    The three tensors of the pillar encoder come from its padded form, as deployed networks have them.

    Args:
        net: float or quantized.
    """

    def __init__(self, net: QuantizedMultiTaskNet) -> None:
        self.net = net.eval()

    @torch.no_grad()
    def trace(self, pillars: Pillars) -> Trace:
        """See `Form.trace`."""
        layers = self._encoder(pillars)
        body = self.net.body
        names = [str(node.target) for node in body.graph.nodes if node.op == "call_module"]
        found: dict[str, Quantized] = {}

        def keep_canvas(_: nn.Module, arguments: tuple[Quantized, ...]) -> None:
            found[_CANVAS] = arguments[0]

        def keep(name: str) -> Any:
            return lambda _module, _arguments, result: found.__setitem__(name, result)

        hooks = [body.get_submodule(name).register_forward_hook(keep(name)) for name in names]
        hooks.append(body.register_forward_pre_hook(keep_canvas))
        try:
            output = self.net.forward_pillars(pillars)
        finally:
            for hook in hooks:
                hook.remove()
        results = {id(leaf) for leaf in tree_leaves(output)}
        layers |= {name: _activation(value) for name, value in found.items() if id(value.values) not in results}
        return Trace(layers, output)

    def _encoder(self, pillars: Pillars) -> dict[str, Activation]:
        encoder = self.net.encoder
        features = _padded(pillars, encoder.points_per_pillar)[0]
        points = Quantized(features) if encoder.input is None else encoder.input(features)
        encoded: Quantized = encoder.conv(points)
        pooled = encoded._replace(values=encoder.pool(encoded.values))
        return {name: _activation(value) for name, value in ((_INPUT, points), (_POINT, encoded), (_POOL, pooled))}


class IntegerForm(Form):
    """The integer reference.

    Args:
        artefact: an exported network.
    """

    def __init__(self, artefact: Artefact) -> None:
        self.signature = artefact.signature
        self.reference = IntegerReference(artefact.graph)

    def trace(self, pillars: Pillars) -> Trace:
        """See `Form.trace`."""
        features, coords = _padded(pillars, self.signature.preprocessing.points_per_pillar)
        tensors = self.reference.run({FEATURES: features, COORDS: coords})
        names = (spec.name for spec in self.signature.outputs)
        results = {name: tensors[step] for name, step in zip(names, self.reference.graph.outputs, strict=True)}
        layers = {name: Activation(_compact(tensors[name]), codes) for name, codes in self.reference.codes.items()}
        return Trace(layers, self.signature.net_output(results))


class RuntimeForm(Form):
    """A runtime as deployed, which shows its outputs alone.

    Args:
        runtime: what computes.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def trace(self, pillars: Pillars) -> Trace:
        """See `Form.trace`."""
        signature = self.runtime.signature
        names = (spec.name for spec in signature.outputs)
        results = dict(zip(names, self.runtime.run_pillars(pillars), strict=True))
        return Trace({}, signature.net_output(results))


class OnnxForm(RuntimeForm):
    """onnxruntime: outputs as deployed, layers from a second session of the same file that returns all its codes.

    Args:
        runtime: what computes the outputs.
        artefact: the network that it opened.

    Raises:
        ConfigError: onnx is not installed.
    """

    def __init__(self, runtime: Runtime, artefact: Artefact) -> None:
        super().__init__(runtime)
        onnx = import_onnx()
        model = onnx.load_from_string(artefact.from_canvas_onnxruntime)
        known = unsigned_graph(artefact.graph).codes_of()
        made = {name for node in model.graph.node for name in node.output}
        self.codes: dict[str, Codes] = {name: codes for name, codes in known.items() if name in made}
        for name, codes in self.codes.items():
            kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(codes.form.dtype))
            model.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, None))
        self.session = open_session(model.SerializeToString(), runtime.threads)

    def trace(self, pillars: Pillars) -> Trace:
        """See `Form.trace`."""
        canvas = self.runtime.encode(pillars)
        names = list(self.codes)
        found = self.session.run(names, {self.runtime.signature.canvas.name: canvas.numpy()})
        layers = {
            name: Activation(_compact(torch.from_numpy(stored).int() - self.codes[name].form.zero_point), codes)
            for (name, codes), stored in zip(self.codes.items(), found, strict=True)
        }
        return Trace(layers, super().trace(pillars).output)


def _padded(pillars: Pillars, points_per_pillar: int) -> tuple[Tensor, Tensor]:
    """Features and coords of as many pillars as there are: more would only add zeros to compare."""
    dense = to_dense(pillars, max(1, len(pillars.coords)), points_per_pillar)
    return dense.features, dense.coords


def _activation(value: Quantized) -> Activation:
    if value.scale is None or value.form is None:
        return Activation(value.values.contiguous())
    return Activation(_compact(value.values), Codes(float(value.scale), value.form))


def _compact(codes: Tensor) -> Tensor:
    """Codes have 16 bits at most; a frame's hundreds of tensors take half the memory so."""
    return codes.to(torch.int16).contiguous()
