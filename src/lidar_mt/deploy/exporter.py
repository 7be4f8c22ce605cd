"""From a quantized network to an artefact."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from lidar_mt.deploy.artefact import Artefact, write_artefact
from lidar_mt.deploy.fallback import fallback_table
from lidar_mt.deploy.integer_file import decode_graph, encode_graph
from lidar_mt.deploy.onnx_writer import write_onnx
from lidar_mt.deploy.runtimes.loading import RUNTIMES, load_runtime
from lidar_mt.deploy.signature import (
    CANVAS,
    COORDS,
    FEATURES,
    FORMAT,
    ClassesSpec,
    GridSpec,
    Preprocessing,
    Signature,
    TensorSpec,
    describe,
)
from lidar_mt.deploy.tflite_writer import write_tflite
from lidar_mt.deploy.unsigned import unsigned_graph
from lidar_mt.models.quantized_multitask import QuantizedMultiTaskNet
from lidar_mt.models.voxelizer import Voxelizer
from lidar_mt.ops.voxelize import INTENSITY_MAX
from lidar_mt.quantization.integer_graph import IntegerGraph
from lidar_mt.quantization.integer_reference import IntegerReference
from lidar_mt.structures.classes import Classes
from lidar_mt.structures.errors import ArtefactError
from lidar_mt.structures.grid import Grid
from lidar_mt.structures.pillars import Pillars

_FEATURES = ("x", "y", "z", "intensity", "time_lag")
#: Packages of runtimes that go by another name.
_PACKAGES = {"litert": "ai_edge_litert"}


def export_network(
    net: QuantizedMultiTaskNet,
    voxelizer: Voxelizer,
    classes: Classes,
    folder: Path,
    *,
    num_sweeps: int = 10,
    config: str = "",
    overwrite: bool = False,
) -> Artefact:
    """Writes a network with everything that is needed to run it.

    Before anything is written, the integers are read back and computed, and must give the network's own outputs to
    the bit.

    Args:
        net: calibrated or trained, in mode `quantize`.
        voxelizer: says how points become pillars.
        classes: class names and groups.
        folder: target.
        num_sweeps: sweeps that were merged into a cloud in training.
        config: see `Artefact.config`.
        overwrite: replace an artefact that is there already.

    Raises:
        ConfigError: a module stays in float, or onnx is not installed.
        ArtefactError: the integers do not give the network's outputs, or the folder cannot be written.
    """
    artefact = build_artefact(net, voxelizer, classes, num_sweeps=num_sweeps)
    artefact = replace(artefact, report=describe_artefact(artefact), config=config)
    return write_artefact(artefact, folder, overwrite=overwrite)


@torch.no_grad()
def build_artefact(
    net: QuantizedMultiTaskNet, voxelizer: Voxelizer, classes: Classes, *, num_sweeps: int = 10
) -> Artefact:
    """The artefact in memory, without a report; see `export_network`."""
    net = net.eval()
    graph = decode_graph(encode_graph(net.integer_graph()))
    probe = _probe(voxelizer.grid)
    structure, tensors = describe(net.forward_pillars(probe))
    _check_equal(graph, probe, voxelizer, tensors)
    limits = voxelizer.max_pillars_eval, voxelizer.points_per_pillar
    stored = unsigned_graph(graph).codes_of()["scatter"].form.dtype
    signature = Signature(
        format=FORMAT,
        inputs=(
            TensorSpec(FEATURES, "float32", (1, len(_FEATURES), limits[1], limits[0])),
            TensorSpec(COORDS, "int64", (1, limits[0], 2)),
        ),
        canvas=TensorSpec(CANVAS, stored, (1, *voxelizer.grid.shape, net.encoder.out_channels)),  # type: ignore[arg-type]
        outputs=tuple(TensorSpec(name, "float32", tuple(tensor.shape)) for name, tensor in tensors),
        structure=structure,
        grid=_grid(voxelizer.grid),
        classes=ClassesSpec(classes.detection, classes.groups, classes.segmentation),
        preprocessing=_preprocessing(voxelizer, num_sweeps),
        scheme=graph.scheme,
        scales=graph.scales,
    )
    canvas, outputs = (signature.canvas,), signature.outputs
    artefact = Artefact(
        signature=signature,
        graph=graph,
        network=write_onnx(graph, signature.inputs, outputs),
        from_canvas=write_onnx(graph, canvas, outputs, from_canvas=True),
        from_canvas_onnxruntime=write_onnx(graph, canvas, outputs, from_canvas=True, for_onnxruntime=True),
    )
    if _without_tflite(graph):
        return artefact
    return replace(
        artefact,
        tflite_network=write_tflite(graph, signature.inputs, outputs),
        tflite_from_canvas=write_tflite(graph, canvas, outputs, from_canvas=True),
        tflite_for_board=write_tflite(graph, canvas, outputs, from_canvas=True, whole=True, tiled=True),
    )


def describe_artefact(artefact: Artefact, threads: int = 1) -> str:
    """Text: the tensors at the border, and what each installed runtime computes in integers."""
    signature = artefact.signature
    lines = [f"scheme {signature.scheme}, scales {signature.scales}, {len(artefact.graph.steps)} steps", ""]
    for title, specs in (("inputs", signature.inputs), ("canvas", (signature.canvas,)), ("outputs", signature.outputs)):
        lines += [f"{title}:", *(f"  {spec.name:24s} {spec.dtype:8s} {list(spec.shape)}" for spec in specs)]
    reason = _without_tflite(artefact.graph)
    if reason:
        lines += ["", f"no TFLite files: {reason}"]
    for name in RUNTIMES:
        if (name != "litert" or not reason) and importlib.util.find_spec(_PACKAGES.get(name, name)) is not None:
            runtime = load_runtime(name, artefact, threads)
            lines += ["", fallback_table(name, runtime.nodes())]
    return "\n".join(lines) + "\n"


def _without_tflite(graph: IntegerGraph) -> str:
    """Why there are no TFLite files; empty where there are."""
    if any(importlib.util.find_spec(package) is None for package in ("tflite", "flatbuffers")):
        return "the tflite package is not installed (`pip install 'lidar_mt[deploy]'`)"
    wide = [name for name, codes in graph.codes_of().items() if codes.form.dtype == "int16"]
    return f"{wide[0]} has 16-bit codes (quant.exceptions)" if wide else ""


def _check_equal(graph: IntegerGraph, probe: Pillars, voxelizer: Voxelizer, expected: list[tuple[str, Tensor]]) -> None:
    slots = voxelizer.points_per_pillar
    count = len(probe.coords)
    features = torch.zeros(1, len(_FEATURES), slots, count)
    features[0, :, 0] = probe.features.T
    results = IntegerReference(graph).outputs({FEATURES: features, COORDS: probe.coords[None, :, 1:]})
    for (name, tensor), result in zip(expected, results, strict=True):
        if not torch.equal(tensor.cpu(), result):
            raise ArtefactError(f"the integers do not give the network's output {name}; calibrate the network again")


def _probe(grid: Grid) -> Pillars:
    """Pillars of one random point each, spread over the grid."""
    generator = torch.Generator().manual_seed(0)
    cells = torch.randperm(grid.height * grid.width, generator=generator)[: grid.height * grid.width // 8]
    count = len(cells)
    return Pillars(
        features=torch.rand(count, len(_FEATURES), generator=generator),
        point_to_pillar=torch.arange(count),
        coords=torch.stack([torch.zeros_like(cells), cells // grid.width, cells % grid.width], dim=1),
        num_points=torch.ones(count, dtype=torch.int64),
        batch_size=1,
    )


def _grid(grid: Grid) -> GridSpec:
    return GridSpec(grid.point_cloud_range, grid.voxel_size, grid.head_stride)


def _preprocessing(voxelizer: Voxelizer, num_sweeps: int) -> Preprocessing:
    bounds = voxelizer.grid.point_cloud_range
    return Preprocessing(
        feature_names=_FEATURES,
        low=(*bounds[:3], 0.0, 0.0),
        high=(*bounds[3:], INTENSITY_MAX, 1.0),
        points_per_pillar=voxelizer.points_per_pillar,
        max_pillars=voxelizer.max_pillars_eval,
        num_sweeps=num_sweeps,
    )
