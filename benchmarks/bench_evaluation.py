"""Our detection evaluation and the devkit's on a made-up validation split of full size, in one run.

    python benchmarks/bench_evaluation.py [boxes=500] [devkit=150] [tables=val] [turns=2] [dir=/tmp]

6,019 samples in the 150 official val scenes, about 187,000 true boxes, and `boxes` predictions per sample, of which a
part are the truths with noise. Every side runs in a process of its own, which reports times and its largest memory;
both write the same files, whose numbers are compared. `devkit=15` gives the devkit the first 15 scenes only (the last
column of its table then says what the whole would take, by proportion), `devkit=0` leaves it out. The devkit
needs about 4 kB per prediction. `tables=trainval` pads the tables to the size of the official ones: 34,149 samples, 1.2
million annotations, 2.6 million sensor readings, 2.4 GB of JSON.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lidar_mt.metrics.detection_protocol import CLASS_RANGE_M
from lidar_mt.structures.nuscenes_splits import official_scenes

VERSION = "v1.0-trainval"
SAMPLES, TRUTHS, SCENES = 6019, 187_000, 150
ALL_SAMPLES, ALL_TRUTHS, ALL_READINGS = 34_149, 1_166_187, 2_631_083
LIDAR_TRANSLATION, LIDAR_YAW = (0.985793, 0.0, 1.84019), -math.pi / 2
# Share of each class among the true boxes, category, attribute and size; after the published statistics of nuScenes.
KINDS = {
    "car": (0.425, "vehicle.car", "vehicle.parked", (1.9, 4.6, 1.7)),
    "pedestrian": (0.19, "human.pedestrian.adult", "pedestrian.moving", (0.7, 0.7, 1.8)),
    "barrier": (0.13, "movable_object.barrier", "", (2.5, 0.5, 1.0)),
    "traffic_cone": (0.084, "movable_object.trafficcone", "", (0.4, 0.4, 1.1)),
    "truck": (0.076, "vehicle.truck", "vehicle.moving", (2.5, 7.0, 2.8)),
    "trailer": (0.021, "vehicle.trailer", "vehicle.parked", (2.9, 12.0, 3.9)),
    "motorcycle": (0.011, "vehicle.motorcycle", "cycle.without_rider", (0.8, 2.1, 1.5)),
    "bicycle": (0.01, "vehicle.bicycle", "cycle.with_rider", (0.6, 1.7, 1.3)),
    "construction_vehicle": (0.013, "vehicle.construction", "vehicle.parked", (2.8, 6.4, 3.2)),
    "bus": (0.014, "vehicle.bus.rigid", "vehicle.moving", (2.9, 11.0, 3.5)),
    "rack": (0.003, "static_object.bicycle_rack", "", (3.0, 8.0, 1.5)),
    "other": (0.023, "movable_object.debris", "", (0.5, 0.5, 0.5)),
}
TRACK = 20  # keyframes in which an object is seen


class Split:
    """True boxes and poses of the split: the same for all sides, as everything is drawn from one seed."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.per_scene = np.diff(np.linspace(0, SAMPLES, SCENES + 1).round().astype(int))
        self.ego_yaw = rng.uniform(-np.pi, np.pi, SAMPLES)
        self.ego = np.column_stack([rng.uniform(300, 2000, (SAMPLES, 2)), np.zeros(SAMPLES)])
        tracks = TRUTHS * 40 // (TRACK * 40)
        self.kind = rng.choice(len(KINDS), tracks, p=np.array([k[0] for k in KINDS.values()]))
        start = np.concatenate([[0], np.cumsum(self.per_scene)])
        scene = rng.integers(0, SCENES, tracks)
        self.first = start[scene] + rng.integers(0, np.maximum(self.per_scene[scene] - TRACK, 1))
        distance, angle = 60 * np.sqrt(rng.uniform(0, 1, tracks)), rng.uniform(-np.pi, np.pi, tracks)
        self.local = np.column_stack([distance * np.cos(angle), distance * np.sin(angle), rng.normal(0, 1, tracks)])
        self.yaw = rng.uniform(-np.pi, np.pi, tracks)
        self.points = rng.poisson(3, (tracks, TRACK))
        self.rng = rng

    def truths(self) -> Iterator[tuple[int, int, int]]:
        for track, first in enumerate(self.first.tolist()):
            yield from ((track, step, first + step) for step in range(TRACK))


def global_position(split: Split, sample: int, local: np.ndarray) -> np.ndarray:
    cos, sin = math.cos(split.ego_yaw[sample]), math.sin(split.ego_yaw[sample])
    x, y = cos * local[..., 0] - sin * local[..., 1], sin * local[..., 0] + cos * local[..., 1]
    return np.stack([x, y, local[..., 2]], axis=-1) + split.ego[sample]


def quaternion(yaw: float) -> list[float]:
    return [math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)]


def token(kind: str, index: int, step: int = 0) -> str:
    return f"{ord(kind):04x}{index:020x}{step:08x}"


def write_tables(root: Path, split: Split, *, full: bool) -> None:
    folder = root / VERSION
    folder.mkdir(parents=True)
    (root / "maps").mkdir()
    (root / "maps" / "mask.png").touch()
    kinds = list(KINDS.values())
    attributes = sorted({kind[2] for kind in kinds if kind[2]})
    scenes = official_scenes("val")
    write(folder / "category", [{"token": token("c", i), "name": k[1]} for i, k in enumerate(kinds)])
    write(folder / "attribute", [{"token": f"a-{name}", "name": name} for name in attributes])
    write(folder / "visibility", [{"token": "4", "level": "v80-100"}])
    channels = ("LIDAR_TOP", "CAM_FRONT")
    write(folder / "sensor", [{"token": name, "channel": name, "modality": name[:5].lower()} for name in channels])
    rig = {"translation": LIDAR_TRANSLATION, "rotation": quaternion(LIDAR_YAW), "camera_intrinsic": []}
    write(folder / "calibrated_sensor", [{"token": name, "sensor_token": name, **rig} for name in channels])
    write(folder / "log", [{"token": "log", "logfile": "", "vehicle": "", "location": "nowhere"}])
    write(folder / "map", [{"token": "map", "log_tokens": ["log"], "filename": "maps/mask.png"}])
    others = [{"token": "train", "name": official_scenes("train")[0], "log_token": "log"}] if full else []
    write(folder / "scene", [*({"token": n, "name": n, "log_token": "log"} for n in scenes), *others])
    write(folder / "sample", samples(split, scenes, ALL_SAMPLES if full else SAMPLES))
    write(folder / "sample_data", readings(ALL_READINGS if full else SAMPLES))
    write(folder / "ego_pose", poses(split, ALL_READINGS if full else SAMPLES))
    instances = [{"token": token("i", i), "category_token": token("c", k)} for i, k in enumerate(split.kind.tolist())]
    more = ALL_TRUTHS - len(split.first) * TRACK if full else 0
    write(folder / "instance", [*instances, {"token": "train", "category_token": token("c", 0)}])
    write(folder / "sample_annotation", annotations(split, kinds, more))


def samples(split: Split, scenes: list[str], total: int) -> Iterator[dict[str, Any]]:
    scene_of = np.repeat(np.arange(SCENES), split.per_scene).tolist()
    for i in range(total):
        scene = scenes[scene_of[i]] if i < SAMPLES else "train"
        row = {"token": token("s", i), "timestamp": 1_532_402_927_647_951 + 500_000 * i, "prev": "", "next": ""}
        yield {**row, "scene_token": scene}


def readings(total: int) -> Iterator[dict[str, Any]]:
    for i in range(total):
        lidar = i < SAMPLES
        yield {
            "token": token("d", i),
            "sample_token": token("s", i % SAMPLES),
            "ego_pose_token": token("e", i),
            "calibrated_sensor_token": "LIDAR_TOP" if lidar else "CAM_FRONT",
            "timestamp": 1_532_402_927_647_951,
            "fileformat": "pcd",
            "is_key_frame": lidar,
            "height": 0,
            "width": 0,
            "filename": f"samples/LIDAR_TOP/n015-2018-07-24-11-22-45+0800__LIDAR_TOP__15324029276479{i:08d}.pcd.bin",
            "prev": token("d", max(i - 1, 0)),
            "next": token("d", i + 1),
        }


def poses(split: Split, total: int) -> Iterator[dict[str, Any]]:
    for i in range(total):
        at = i % SAMPLES
        rotation, translation = quaternion(split.ego_yaw[at]), split.ego[at].tolist()
        yield {"token": token("e", i), "timestamp": 1_532, "rotation": rotation, "translation": translation}


def annotations(split: Split, kinds: list[Any], more: int) -> Iterator[dict[str, Any]]:
    row: dict[str, Any] = {}
    for track, step, sample in split.truths():
        _, _, attribute, size = kinds[split.kind[track]]
        yaw = split.yaw[track] + split.ego_yaw[sample]
        row = {
            "token": token("n", track, step),
            "sample_token": token("s", sample),
            "instance_token": token("i", track),
            "visibility_token": "4",
            "attribute_tokens": [f"a-{attribute}"] if attribute else [],
            "translation": global_position(split, sample, split.local[track]).tolist(),
            "size": list(size),
            "rotation": quaternion(yaw),
            "prev": token("n", track, step - 1) if step else "",
            "next": token("n", track, step + 1) if step < TRACK - 1 else "",
            "num_lidar_pts": int(split.points[track, step]),
            "num_radar_pts": 0,
        }
        yield row
    for index in range(more):
        other = SAMPLES + index % (ALL_SAMPLES - SAMPLES)
        yield {**row, "token": token("t", index), "sample_token": token("s", other), "instance_token": "train"}


def write(path: Path, rows: Any) -> None:
    # One key per line and no indent, as the official tables are.
    encode = json.JSONEncoder(separators=(",\n", ": ")).encode
    with path.with_suffix(".json").open("w") as file:
        file.write("[\n")
        for i, row in enumerate(rows):
            file.write((",\n" if i else "") + encode(row))
        file.write("\n]")


def predictions(split: Split, boxes: int) -> tuple[list[Any], np.ndarray]:
    """Detections of every sample as the network's decoder gives them, and the poses."""
    import torch

    from lidar_mt.structures.classes import DETECTION_CLASSES
    from lidar_mt.structures.outputs import Detections

    rng = np.random.default_rng(1)
    present: list[list[int]] = [[] for _ in range(SAMPLES)]
    for track, _, sample in split.truths():
        present[sample].append(track)
    names = list(KINDS)
    sizes = np.array([KINDS[name][3] for name in DETECTION_CLASSES])
    weights = np.array([KINDS[name][0] for name in DETECTION_CLASSES])
    found = []
    for tracks in present:
        hits = [t for t in tracks if names[split.kind[t]] in CLASS_RANGE_M and rng.random() < 0.9][:boxes]
        labels = [DETECTION_CLASSES.index(names[split.kind[t]]) for t in hits]
        noise = boxes - len(hits)
        labels = np.concatenate([labels, rng.choice(10, noise, p=weights / weights.sum())]).astype(np.int64)
        # Half the false alarms lie about a truth, as a detector's do.
        around = split.local[rng.choice(tracks, noise)] if tracks else np.zeros((noise, 3))
        far = rng.uniform(-50, 50, (noise, 3)) * [1, 1, 0.02]
        local = np.where(rng.random((noise, 1)) < 0.5, around + rng.normal(0, 3, (noise, 3)) * [1, 1, 0.1], far)
        local = np.concatenate([split.local[hits] + rng.normal(0, 0.4, (len(hits), 3)), local])
        yaw = np.concatenate([split.yaw[hits] + rng.normal(0, 0.3, len(hits)), rng.uniform(-np.pi, np.pi, noise)])
        size = sizes[labels] * np.exp(rng.normal(0, 0.1, (boxes, 3)))
        scores = np.concatenate([rng.beta(4, 2, len(hits)), rng.beta(1, 6, noise)])
        columns = [lidar_from_ego(local), size, yaw[:, None] - LIDAR_YAW, rng.normal(0, 1, (boxes, 2))]
        rows = torch.from_numpy(np.concatenate(columns, axis=1).astype(np.float32))
        found.append(Detections(rows, torch.from_numpy(scores.astype(np.float32)), torch.from_numpy(labels)))
    lidar = rigid(LIDAR_YAW, np.array(LIDAR_TRANSLATION))
    return found, np.stack([rigid(yaw, at) @ lidar for yaw, at in zip(split.ego_yaw, split.ego, strict=True)])


def rigid(yaw: float, translation: np.ndarray) -> np.ndarray:
    pose = np.eye(4)
    pose[:2, :2] = [[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]]
    pose[:3, 3] = translation
    return pose


def lidar_from_ego(points: np.ndarray) -> np.ndarray:
    return (points - LIDAR_TRANSLATION) @ rigid(LIDAR_YAW, np.zeros(3))[:3, :3]


class Clock:
    """Wall and processor seconds of named steps."""

    def __init__(self) -> None:
        self.steps: dict[str, tuple[float, float]] = {}

    def __call__(self, name: str, step: Callable[[], Any]) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        result = step()
        self.steps[name] = (time.perf_counter() - wall, time.process_time() - cpu)
        return result

    def report(self, **facts: Any) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(json.dumps({"steps": self.steps, "peak_gib": peak, **facts}))


def run_ours(root: Path, boxes: int, scenes: int) -> None:
    """From the network's detections in memory to the scores, and from a result file."""
    from lidar_mt.metrics.nuscenes_evaluation import evaluate_boxes, evaluate_results
    from lidar_mt.metrics.nuscenes_results import detections_to_boxes, write_result_boxes
    from lidar_mt.metrics.nuscenes_truth import load_truth

    clock = Clock()
    found, places = predictions(Split(), boxes)
    truth = clock("tables to ground truth", lambda: load_truth(root, VERSION, "val"))
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    columns = clock("detections to global boxes", lambda: detections_to_boxes(found, places))
    scores, _ = clock("boxes to scores", lambda: evaluate_boxes(columns, truth))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    path = clock("writing the result file", lambda: write_result_boxes(root / "val.json", truth.tokens, columns))
    part = truth.tokens[: int(Split().per_scene[:scenes].sum())]
    write_result_boxes(root / "part.json", part, columns.select(columns.sample < len(part)))
    clock("result file to scores", lambda: evaluate_results(path, root, VERSION, "val", root / "ours", truth=truth))
    if 0 < scenes < SCENES:
        evaluate_results(root / "part.json", root, VERSION, "part", root / "ours_part")
    counts = {"truths": sum(scores.num_ground_truth.values()), "nds": scores.nds, "map": scores.mean_ap}
    clock.report(memory_before=held, memory_scored=peak, file_gib=path.stat().st_size / 2**30, **counts)


def run_devkit(root: Path, scenes: int) -> None:
    from nuscenes import NuScenes
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.detection.evaluate import DetectionEval

    clock, config = Clock(), config_factory("detection_cvpr_2019")
    whole = scenes >= SCENES
    file, name, out = (root / "val.json", "val", "theirs") if whole else (root / "part.json", "part", "theirs_part")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        tables = clock("tables", lambda: NuScenes(VERSION, str(root), verbose=False))
        evaluator = clock(
            "result file and ground truth to counted boxes",
            lambda: DetectionEval(tables, config, str(file), name, str(root / out), verbose=False),
        )
        clock("boxes to scores", lambda: evaluator.main(render_curves=False))
    clock.report(samples=len(evaluator.sample_tokens))


def largest_difference(ours: Path, theirs: Path) -> tuple[float, int]:
    """Over all numbers of both files; NaN must stand where theirs does."""

    def numbers(value: Any) -> Iterator[float]:
        if isinstance(value, dict):
            for key, item in sorted(value.items()):
                yield from numbers(item) if key != "eval_time" else ()
        elif isinstance(value, list):
            for item in value:
                yield from numbers(item)
        elif isinstance(value, float | int):
            yield float(value)

    largest, count = 0.0, 0
    for name in ("metrics_summary.json", "metrics_details.json"):
        first, second = (np.array(list(numbers(json.loads((f / name).read_text())))) for f in (ours, theirs))
        np.testing.assert_array_equal(np.isnan(first), np.isnan(second))
        largest, count = max(largest, float(np.nanmax(np.abs(first - second)))), count + len(first)
    return largest, count


def side(name: str, root: Path, arguments: dict[str, str]) -> dict[str, Any]:
    command = [sys.executable, __file__, f"side={name}", f"root={root}"]
    command += [f"{key}={arguments[key]}" for key in ("boxes", "devkit")]
    return dict(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))


def show(title: str, reports: list[dict[str, Any]], share: float = 1.0) -> None:
    print(f"\n{title}: seconds, wall and processor, median of {len(reports)}; peak {reports[0]['peak_gib']:.2f} GiB")
    for step in reports[0]["steps"]:
        wall, cpu = (statistics.median(report["steps"][step][i] for report in reports) for i in (0, 1))
        line = f"  {step:<46}{wall:8.2f} {cpu:8.2f}"
        scales = share < 1 and step != "tables"
        print(f"{line}   of the whole split {wall / share:8.1f} {cpu / share:8.1f}" if scales else line)


def compare(root: Path, arguments: dict[str, str]) -> None:
    scenes, split = int(arguments["devkit"]), Split()
    write_tables(root, split, full=arguments["tables"] == "trainval")
    (root / VERSION / "splits.json").write_text(json.dumps({"part": official_scenes("val")[:scenes]}))
    size = sum(path.stat().st_size for path in (root / VERSION).iterdir()) / 1e9
    print(f"{SAMPLES} samples, {len(split.first) * TRACK} annotations, {size:.2f} GB of tables", flush=True)
    ours = [side("ours", root, arguments)]
    theirs = side("devkit", root, arguments) if scenes else None
    ours += [side("ours", root, arguments) for _ in range(int(arguments["turns"]) - 1)]
    first = ours[0]
    print(f"{first['truths']} truths count; NDS {first['nds']:.4f}, mAP {first['map']:.4f}")
    show("ours", ours)
    print(f"  memory: {first['memory_before']:.2f} GiB with detections and ground truth, {first['memory_scored']:.2f}")
    print(f"  GiB at most until the scores; the result file has {first['file_gib']:.2f} GiB")
    if theirs is None:
        return
    share = theirs["samples"] / SAMPLES
    show(f"devkit, {theirs['samples']} samples", [theirs], share)
    part = "" if share == 1 else "_part"
    difference, count = largest_difference(root / f"ours{part}", root / f"theirs{part}")
    print(f"\nlargest difference in {count} numbers: {difference:.1e}")
    for kind, i in (("wall", 0), ("processor", 1)):
        mine = {step: statistics.median(report["steps"][step][i] for report in ours) for step in first["steps"]}
        boxes, scores = (value[i] / share for value in list(theirs["steps"].values())[1:])
        whole = theirs["steps"]["tables"][i] + boxes + scores
        file = mine["tables to ground truth"] + mine["result file to scores"]
        print(f"{kind}: tables and result file to scores: {whole:.1f} s against {file:.1f} s, {whole / file:.0f} times")
        memory = mine["detections to global boxes"] + mine["boxes to scores"]
        print(f"{kind}: boxes in memory to scores: {scores:.1f} s against {memory:.1f} s, {scores / memory:.0f} times")


def main() -> None:
    given = dict(text.split("=", 1) for text in sys.argv[1:])
    arguments = {"boxes": "500", "devkit": str(SCENES), "tables": "val", "turns": "2", "dir": "/tmp"} | given
    if arguments.get("side") == "ours":
        run_ours(Path(arguments["root"]), int(arguments["boxes"]), int(arguments["devkit"]))
    elif arguments.get("side") == "devkit":
        run_devkit(Path(arguments["root"]), int(arguments["devkit"]))
    else:
        with tempfile.TemporaryDirectory(dir=arguments["dir"]) as folder:
            compare(Path(folder), arguments)


if __name__ == "__main__":
    main()
