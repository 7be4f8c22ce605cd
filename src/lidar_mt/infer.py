"""Detects objects and driveable surface in one point file: boxes as JSON and a bird's-eye picture.

    python -m lidar_mt.infer points=FILE.pcd.bin

Useful keys:
    points=FILE          .pcd.bin (nuScenes), .bin (float32 rows of 4 or 5) or .npy; metres, x right, y forward, z up;
                         intensity 0 to 255
    run_name=demo        take the published checkpoint of this run
    stage=qat            of this stage; also float (the default), calibrate, and int8, what `export` wrote
    runtime=onnxruntime  what computes it: torch, integer, onnxruntime, openvino or litert
    checkpoint=FILE      or name a checkpoint; config.yaml beside it says what the network is
    out=DIR              where <name>.json and <name>.png go
    score_threshold=0.3  boxes below it are neither written nor drawn
"""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from lidar_mt.config import instantiate, program
from lidar_mt.config.deployed import find_deployed
from lidar_mt.data.lmdb_store.points import PointColumns
from lidar_mt.data.point_file import read_point_file
from lidar_mt.data.sweeps import TIME_LAG, merge_sweeps
from lidar_mt.structures.boxes import YAW, W, X
from lidar_mt.structures.classes import Classes
from lidar_mt.structures.outputs import Detections
from lidar_mt.visualization.bev import draw_bev, save_figure

log = logging.getLogger("lidar_mt.infer")


@program("infer")
def main(cfg: DictConfig) -> None:
    """Reads the points, runs the network, writes both files."""
    points = read_point_file(cfg.points, columns=cfg.columns)
    deployed = find_deployed(cfg)
    network = deployed.network
    module = deployed.build()
    classes: Classes = instantiate(network.classes)

    started = time.perf_counter()
    # A single sweep is treated like a keyframe without sweeps in training; merged clouds stay as they are.
    merged = merge_sweeps(PointColumns.of(points), [], network.num_sweeps) if not points[:, TIME_LAG].any() else points
    predictions = module.predict([torch.from_numpy(merged)])
    seconds = time.perf_counter() - started
    detections = _keep(predictions["detection"][0], cfg.score_threshold) if "detection" in predictions else None
    segmentation = predictions["segmentation"][0].numpy() if "segmentation" in predictions else None

    name = Path(cfg.points).name.split(".")[0]
    out = Path(cfg.out)
    figure = draw_bev(
        points,
        instantiate(network.grid),
        detections,
        classes,
        segmentation=segmentation,
        title=name,
        score_threshold=cfg.score_threshold,
    )
    save_figure(figure, out / f"{name}.png")
    boxes = to_json(detections, classes) if detections is not None else []
    content = {"points": str(cfg.points), "frame": "lidar: x right, y forward, z up [m]", "boxes": boxes}
    (out / f"{name}.json").write_text(json.dumps(content, indent=1))
    log.info(
        "%d points, %d boxes, %.2f s; see %s and %s",
        len(points),
        len(boxes),
        seconds,
        out / f"{name}.json",
        out / f"{name}.png",
    )


def to_json(detections: Detections, classes: Classes) -> list[dict[str, Any]]:
    """Boxes as plain values, best score first.

    Args:
        detections: decoded boxes of one sample.
        classes: class names.

    Returns:
        One mapping per box: class, score, center [m], size_wlh [m], yaw [rad] from +x, velocity [m/s].
    """
    rows = []
    for index in torch.argsort(detections.scores, descending=True).tolist():
        box = [round(value, 4) for value in detections.boxes[index].tolist()]
        rows.append(
            {
                "class": classes.detection[int(detections.labels[index])],
                "score": round(float(detections.scores[index]), 4),
                "center": box[X : X + 3],
                "size_wlh": box[W : W + 3],
                "yaw": box[YAW],
                "velocity": box[YAW + 1 :],
            }
        )
    return rows


def _keep(detections: Detections, score_threshold: float) -> Detections:
    keep = detections.scores >= score_threshold
    return Detections(*(value[keep] for value in detections))


if __name__ == "__main__":
    main()
