"""Small exported networks and the tensors they give."""

from __future__ import annotations

import functools

import numpy as np
import torch

from lidar_mt.config import compose, instantiate
from lidar_mt.deploy.artefact import Artefact
from lidar_mt.deploy.exporter import build_artefact
from lidar_mt.models.quantized_multitask import QuantizedMultiTaskNet
from lidar_mt.models.voxelizer import Voxelizer
from lidar_mt.ops.voxelize import to_dense
from lidar_mt.quantization.integer_graph import (
    Add,
    Codes,
    Concat,
    Convolution,
    IntegerGraph,
    MaxPool,
    Quantize,
    Scatter,
    Upsample,
)
from lidar_mt.quantization.integer_reference import IntegerReference
from lidar_mt.quantization.spec import Format
from lidar_mt.structures.classes import Classes
from tests.helpers.networks import COARSE
from tests.helpers.quantized import PADDED, float_net, pillars, quantized


@functools.cache
def trained(scheme: str = "u8", scales: str = "float") -> QuantizedMultiTaskNet:
    """A calibrated network of 64 x 64 cells, not to be changed."""
    return quantized(float_net(), scheme, scales)


@functools.cache
def exported(scheme: str = "u8", scales: str = "float") -> Artefact:
    """That network, exported."""
    return build_artefact(trained(scheme, scales), *parts())


@functools.cache
def parts() -> tuple[Voxelizer, Classes]:
    """Voxelizer and classes of that network."""
    cfg = compose("calops", [COARSE])
    return Voxelizer(instantiate(cfg.grid), max_pillars_eval=PADDED), instantiate(cfg.classes)


@functools.cache
def expected(scheme: str = "u8", scales: str = "float") -> dict[str, torch.Tensor]:
    """Every tensor of that network for `inputs()`, by the integer reference."""
    features, coords = inputs()
    return IntegerReference(exported(scheme, scales).graph).run({"features": features, "coords": coords})


def inputs(batch_size: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    dense = to_dense(pillars(batch_size=batch_size), PADDED)
    return dense.features, dense.coords


def tiny_graph(scheme: str = "u8") -> IntegerGraph:
    """Every kind of step, in a few numbers."""
    rng = np.random.default_rng(0)
    positive = Codes(1 / 256, Format(0, 255, 0, "uint8"))
    signed = Codes(0.5, Format(-128, 127, 128, "uint8"))

    def conv(name: str, source: str, shape: tuple[int, ...], codes: Codes | None, groups: int = 1) -> Convolution:
        weight = rng.integers(-127, 128, shape).astype(np.int8)
        scale = rng.uniform(0.01, 0.02, shape[0]).astype(np.float32)
        bias = rng.integers(-99, 99, shape[0]).astype(np.int32)
        pad = (shape[2] // 2, shape[3] // 2)
        return Convolution(name, source, weight, scale, bias, (1, 1), pad, (1, 1), groups, codes is None, codes)

    steps = (
        Quantize("in", "features", positive),
        conv("point", "in", (4, 5, 1, 1), positive),
        MaxPool("pool", "point", (3, 1), (3, 1), (0, 0)),
        Scatter("scatter", "pool", "coords", (4, 4)),
        conv("stem", "scatter", (4, 2, 3, 3), signed, groups=2),
        Upsample("up", "stem"),
        Add("sum", "up", "up", signed),
        Concat("cat", ("sum", "up"), 1, signed),
        conv("out", "cat", (2, 8, 1, 1), None),
    )
    return IntegerGraph(steps, ("out",), scheme, "float")
