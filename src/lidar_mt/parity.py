"""Compares two forms of a network on the same frames, output by output and layer by layer.

    python -m lidar_mt.parity                          # qat as it was evaluated, and the exported integers
    python -m lidar_mt.parity a=float b=qat
    python -m lidar_mt.parity a=int8:integer b=int8:onnxruntime require_equal=true

Useful keys:
    a=qat b=int8:integer  a stage (float, calibrate, qat: its published checkpoint), int8:RUNTIME (the exported network
                          in integer, onnxruntime, openvino or litert), FILE.ckpt, or FOLDER:RUNTIME; qat:RUNTIME is
                          the checkpoint, exported in memory; errors are b's against a
    run_name=demo         whose published checkpoints and artefact
    experiment=demo       the same experiment as in training
    samples=4             keyframes of the packed split, spread over it; also split=val, data.version=v1.0-mini
    data.num_sweeps=9     other sweeps than a was trained with
    points=FILE           one point file instead, as for infer; columns=4 for a .bin of x y z intensity
    threads=2             processor threads of a runtime
    out=DIR               where parity.json, parity.txt, layers.png and outputs.png go
    require_equal=true    exit status 2 when any code or output differs
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from omegaconf import DictConfig, open_dict
from rich.console import Console
from torch import Tensor

from lidar_mt.config import program
from lidar_mt.config.build import build_datamodule
from lidar_mt.config.commands import command_line
from lidar_mt.config.networks import open_network
from lidar_mt.config.origin import NETWORKS, origin_line, origin_of
from lidar_mt.config.places import find_named
from lidar_mt.config.subjects import build_tasks, check_same, load_subject
from lidar_mt.config.sweeps import match_sweeps
from lidar_mt.data.lmdb_store.points import PointColumns
from lidar_mt.data.point_file import read_point_file
from lidar_mt.data.sweeps import TIME_LAG, merge_sweeps
from lidar_mt.deploy.parity import Comparison, Frame, Report
from lidar_mt.deploy.parity_tables import content, full_text, summary, verdict
from lidar_mt.metrics.json_files import nan_to_none, write_json, write_parts
from lidar_mt.structures.errors import ParityError
from lidar_mt.visualization.figure import save_figure
from lidar_mt.visualization.parity_layers import draw_layers
from lidar_mt.visualization.parity_maps import draw_maps

log = logging.getLogger("lidar_mt.parity")


@program("parity")
def main(cfg: DictConfig) -> None:
    """Compares, prints the worst, writes everything."""
    arguments = command_line()
    published, out = Path(cfg.paths.published), Path(cfg.out)
    # What is missing is told before anything is loaded.
    places = [find_named(key, cfg[key], published, arguments) for key in ("a", "b")]
    points = None if cfg.points is None else read_point_file(cfg.points, columns=cfg.columns)
    a, b = (load_subject(open_network(place, cfg.threads)) for place in places)
    check_same(a, b)
    match_sweeps(cfg, a.num_sweeps, arguments)
    comparison = Comparison(a.form, b.form, build_tasks(cfg, a, b), a.grid, a.classes)
    first: Frame | None = None
    for cloud in _frames(cfg, points):
        frame = comparison.add(a.voxelizer([cloud]))
        first = first or frame
    report = comparison.report(a.name, b.name)
    Console().print(summary(report))
    _write(report, out, {key: origin_of(place, published) for key, place in zip("ab", places, strict=True)})
    if first is not None and (first.heatmap is not None or first.labels is not None):
        save_figure(draw_maps(first.heatmap, first.labels, a.grid, a.classes, (a.name, b.name)), out / "outputs.png")
    log.info("every output and layer in %s, parity.json and pictures beside it", out / "parity.txt")
    if cfg.require_equal and not report.equal:
        raise ParityError(
            f"require_equal=true, but {a.name} and {b.name} are {verdict(report)}; the first is "
            f"{[*report.unequal_layers, *report.unequal_outputs][0]}, see {out / 'parity.txt'}"
        )


def _frames(cfg: DictConfig, points: npt.NDArray[Any] | None) -> Iterator[Tensor]:
    """Points (P, 5) of each frame, as the network sees them in evaluation: those of a file, or of packed keyframes."""
    if points is not None:
        swept = points[:, TIME_LAG].any()
        merged = points if swept else merge_sweeps(PointColumns.of(points), [], cfg.data.num_sweeps)
        yield torch.from_numpy(merged)
        return
    with open_dict(cfg):
        cfg.data.val_split = cfg.split
        if cfg.data.eval_transforms is not None:
            cfg.data.eval_transforms.pop("bev_labels", None)  # points alone are needed
    dataset = build_datamodule(cfg).dataset(training=False)
    for index in np.unique(np.linspace(0, len(dataset) - 1, cfg.samples).round().astype(int)).tolist():
        yield torch.from_numpy(dataset[index].points)


def _write(report: Report, out: Path, origins: dict[str, dict[str, str]]) -> None:
    """Text, pictures and, last, the JSON file."""
    of = "".join(origin_line(name, origin) + "\n" for name, origin in origins.items())
    write_parts(out / "parity.txt", [f"{full_text(report)}\n{of}".encode()])
    outputs = {row.name: row.difference for row in report.outputs}
    save_figure(draw_layers(report.layers, outputs, (report.a, report.b)), out / "layers.png")
    write_json(out / "parity.json", nan_to_none({**content(report), NETWORKS: origins}), indent=1)


if __name__ == "__main__":
    main()
