"""The int8 network in its runtimes against float in the same runtimes, and whole frames from points to boxes and map.

Run `python benchmarks/bench_runtimes.py [--threads 2] [--turns 9] [--profile]` on a quiet machine. All sides
take turns, so that a slow spell of the machine hits all; ratios are taken per turn. In its turn a side first runs once
uncounted: threads of the side before it may still spin, and its own data are no longer in the caches, neither of which
happens where frames of one runtime follow each other. Weights are random, scales are calibrated on the pillars that
are run. `--profile` adds where onnxruntime and OpenVINO spend their time.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from bench_pillar_encoder import random_pillars
from plain_form import PlainForm
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from lidar_mt.config import compose, instantiate
from lidar_mt.config.build import build_module
from lidar_mt.deploy.artefact import Artefact
from lidar_mt.deploy.exporter import build_artefact
from lidar_mt.deploy.fallback import fallback_table
from lidar_mt.deploy.runtimes.base import Runtime, RuntimeNet
from lidar_mt.deploy.runtimes.loading import load_runtime
from lidar_mt.deploy.runtimes.onnxruntime import open_session
from lidar_mt.deploy.runtimes.openvino import compile_model
from lidar_mt.engine.lit_module import LidarMultiTaskModule
from lidar_mt.models.multitask import LidarMultiTaskNet
from lidar_mt.models.quantized_multitask import QuantizedMultiTaskNet
from lidar_mt.quantization.modules import Settings, quantizers, set_mode
from lidar_mt.quantization.spec import build_scheme
from lidar_mt.structures.pillars import Pillars

Side = tuple[str, Callable[[], object]]


def build(grid: str) -> LidarMultiTaskModule:
    """Random weights; normalisation as if it had seen ordinary maps."""
    torch.manual_seed(0)
    module = build_module(compose("train", [f"grid={grid}"])).eval()
    for layer in module.net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            nn.init.normal_(layer.bias, std=0.3)
    nn.init.constant_(module.net.encoder.point.norm.running_var, 0.01)
    return module


def cloud(pillars: Pillars, module: LidarMultiTaskModule) -> Tensor:
    """(P, 5) points that voxelize to pillars of the same cells and counts."""
    grid = module.voxelizer.grid
    height, width = grid.shape
    cells = pillars.coords[pillars.point_to_pillar, 1:] % torch.tensor([height, width])
    low, size = torch.tensor(grid.point_cloud_range[:3]), torch.tensor(grid.voxel_size)
    inside = pillars.features[:, :3] * 0.98 + 0.01
    inside[:, 0] += cells[:, 1]
    inside[:, 1] += cells[:, 0]
    points = torch.cat([low + inside * size, pillars.features[:, 3:] * torch.tensor([255.0, 0.5])], dim=1)
    return points[torch.randperm(len(points), generator=torch.Generator().manual_seed(0))]


@torch.no_grad()
def quantize(net: LidarMultiTaskNet, pillars: Pillars, scheme: str, scales: str) -> QuantizedMultiTaskNet:
    prepared = QuantizedMultiTaskNet(net, Settings(build_scheme(scheme, scales), observer="minmax")).eval()
    set_mode(prepared, "observe")
    prepared.forward_pillars(pillars)
    for _, quantizer in quantizers(prepared):
        quantizer.choose()
    set_mode(prepared, "quantize")
    return prepared


class FromCanvas(nn.Module):
    def __init__(self, net: LidarMultiTaskNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, canvas: Tensor) -> tuple[Tensor, ...]:
        return tuple(tree_leaves(self.net.forward_canvas(canvas)))


def float_onnx(net: LidarMultiTaskNet, canvas: Tensor) -> bytes:
    """The float network behind the canvas, as torch exports it."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            FromCanvas(net), (canvas,), file, opset_version=17, dynamo=False, input_names=["canvas"], verbose=False
        )
    return file.getvalue()


def network_sides(module: LidarMultiTaskModule, artefact: Artefact, pillars: Pillars, threads: int) -> list[Side]:
    net = module.net
    canvas = net.scatter.forward_rows(net.encoder.forward_points(pillars), pillars)
    plain = canvas.contiguous()
    data = float_onnx(net, plain)
    session, compiled = open_session(data, threads), compile_model(data, threads).create_infer_request()
    feed = {"canvas": plain.numpy()}
    sides: list[Side] = [
        ("torch float32", lambda: net.forward_canvas(canvas)),
        ("onnxruntime float32", lambda: session.run(None, feed)),
        ("openvino float32", lambda: compiled.infer(feed, share_inputs=True)),
    ]
    for name in ("onnxruntime", "openvino"):
        runtime = load_runtime(name, artefact, threads)
        codes = runtime.encode(pillars)
        sides.append((f"{name} int8", lambda runtime=runtime, codes=codes: runtime.run_canvas(codes)))  # type: ignore[misc]
    return sides


def compare(title: str, sides: Sequence[Side], turns: int, ratios: Sequence[tuple[str, str]]) -> None:
    times: dict[str, list[float]] = {name: [] for name, _ in sides}
    for turn in range(turns + 2):
        for name, call in sides:
            call()
            start = time.perf_counter()
            call()
            if turn >= 2:  # the first turns warm up
                times[name].append((time.perf_counter() - start) * 1e3)
    print(title)
    for name, values in times.items():
        print(f"  {name:32s} {statistics.median(values):7.1f} ms (range {min(values):.1f} to {max(values):.1f})")
    for slow, fast in ratios:
        each = sorted(a / b for a, b in zip(times[slow], times[fast], strict=True))
        print(
            f"  {fast} is {statistics.median(each):.2f} times as fast as {slow} (range {each[0]:.2f} to {each[-1]:.2f})"
        )


class Frame:
    """Points to boxes and map, step by step."""

    def __init__(self, module: LidarMultiTaskModule, runtime: Runtime, points: Tensor) -> None:
        self.module, self.runtime, self.points = module, runtime, points
        self.net = RuntimeNet(runtime)
        self.steps: dict[str, list[float]] = {"voxelize": [], "encode": [], "network": [], "decode": []}

    def __call__(self) -> None:
        marks = [time.perf_counter()]
        pillars = self.module.voxelizer([self.points])
        marks.append(time.perf_counter())
        canvas = self.runtime.encode(pillars)
        marks.append(time.perf_counter())
        output = self.net._output(self.runtime.run_canvas(canvas))
        marks.append(time.perf_counter())
        for name, task in self.module.tasks.items():
            task.decode(output[name])
        marks.append(time.perf_counter())
        for step, start, end in zip(self.steps.values(), marks[:-1], marks[1:], strict=True):
            step.append((end - start) * 1e3)

    def report(self) -> str:
        return ", ".join(f"{name} {statistics.median(values[5::2]):.1f} ms" for name, values in self.steps.items())


def frame_sides(module: LidarMultiTaskModule, artefact: Artefact, points: Tensor, threads: int) -> list[Side]:
    plain = PlainForm(build(_GRID).net, module.voxelizer.max_pillars_eval)

    def plain_frame() -> None:
        output = plain.forward_pillars(module.voxelizer([points]))
        for name, task in module.tasks.items():
            task.decode(output[name])

    sides: list[Side] = [
        ("plain PyTorch", plain_frame),
        ("torch, this project's form", lambda: module.predict([points])),
    ]
    for name in ("onnxruntime", "openvino"):
        sides.append((f"{name} int8", Frame(module, load_runtime(name, artefact, threads), points)))
    return sides


def profile_onnxruntime(artefact: Artefact, canvas: Tensor, threads: int) -> None:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.enable_profiling = threads, True
    options.log_severity_level = 3
    session = ort.InferenceSession(artefact.from_canvas_onnxruntime, options, providers=["CPUExecutionProvider"])
    runs = 10
    for _ in range(runs):
        session.run(None, {"canvas": canvas.numpy()})
    path = Path(session.end_profiling())
    events = [
        event for event in json.loads(path.read_text()) if event.get("cat") == "Node" and "op_name" in event["args"]
    ]
    path.unlink()
    total: Counter[str] = Counter()
    single: Counter[str] = Counter()
    for event in events:
        total[event["args"]["op_name"]] += event["dur"]
        single[event["name"]] += event["dur"]
    print("onnxruntime, ms per run by operator:")
    print("  " + ", ".join(f"{kind} {us / 1e3 / runs:.1f}" for kind, us in total.most_common(12)))
    for name, us in single.most_common(25):
        print(f"  {us / 1e3 / runs:6.2f} {name}")


def profile_openvino(artefact: Artefact, canvas: Tensor, threads: int) -> None:
    import openvino

    core = openvino.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERF_COUNT": True,
    }
    request = core.compile_model(core.read_model(model=artefact.from_canvas), "CPU", settings).create_infer_request()
    for _ in range(4):
        request.infer({"canvas": canvas.numpy()}, share_inputs=True)
    total: Counter[str] = Counter()
    single: Counter[str] = Counter()
    for info in request.get_profiling_info():
        us = info.real_time.total_seconds() * 1e6
        total[f"{info.node_type}:{info.exec_type}"] += us
        single[f"{info.node_name} {info.exec_type}"] += us
    print("openvino, ms in one run by layer type:")
    print("  " + ", ".join(f"{kind} {us / 1e3:.1f}" for kind, us in total.most_common(12)))
    for name, us in single.most_common(15):
        print(f"  {us / 1e3:6.2f} {name}")


_GRID = "default"


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--pillars", type=int, default=40000)
    parser.add_argument("--scheme", default="u8")
    parser.add_argument("--scales", default="float")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--fallback", action="store_true", help="print which operators run in int8")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    module = build(_GRID)
    points = cloud(random_pillars(args.pillars, torch.device("cpu")), module)
    pillars = module.voxelizer([points])
    net = quantize(module.net, pillars, args.scheme, args.scales)
    artefact = build_artefact(net, module.voxelizer, instantiate(compose("train", []).classes))
    print(
        f"{len(points):,} points, {len(pillars.coords):,} pillars, {args.threads} threads, {args.scheme} {args.scales}"
    )
    if args.fallback or args.profile:
        for name in ("onnxruntime", "openvino"):
            print(fallback_table(name, load_runtime(name, artefact, args.threads).nodes()))
    if args.profile:
        canvas = load_runtime("integer", artefact).encode(pillars)
        profile_onnxruntime(artefact, canvas, args.threads)
        profile_openvino(artefact, canvas, args.threads)
    own = [(f"{name} float32", f"{name} int8") for name in ("onnxruntime", "openvino")]
    compare("network, canvas to outputs", network_sides(module, artefact, pillars, args.threads), args.turns, own)
    sides = frame_sides(module, artefact, points, args.threads)
    against = [("plain PyTorch", name) for name, _ in sides[1:]]
    compare("frame, points to boxes and map", sides, args.turns, against)
    for name, side in sides[2:]:
        print(f"  {name}: {side.report()}")  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
