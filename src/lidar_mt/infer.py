"""Detects objects and driveable surface in point files or packed data: boxes as JSON, pictures, and a page in 3D.

    python -m lidar_mt.infer points=FILE.pcd.bin
    python -m lidar_mt.infer points=FOLDER stage=int8 runtime=openvino
    python -m lidar_mt.infer split=val samples=20
    python -m lidar_mt.infer points=FOLDER sensor=kitti

What to read:
    points=FILE          .pcd.bin (nuScenes), .bin (float32 rows of 4 or 5), .npy or .pcd; metres, x right, y forward,
                         z up; intensity 0 to 255; or a folder of such files
    recursive=true       look into the folder's folders too
    on_bad_file=skip     leave damaged files out and name them; error (the default) stops at the first
    split=val            a packed split under paths.packed instead, with its sweeps merged
    samples=20           of the split, evenly spread; or a list of indices and sample tokens
    data.version=NAME    the split's version

A sensor that is not that of nuScenes (sensor=kitti for all of it at once):
    columns=[x,y,z,intensity]       values per point, in order; also time_lag, ring and skip
    sensor.intensity_scale=255      factor to 0 to 255
    sensor.height_m=1.73            of the sensor above the road
    sensor.rotation_deg=90          turn about z to x right, y forward; 90 where x points forward
Boxes are written in the sensor's own frame; pictures and page show the network's.

What computes:
    run_name=demo        take the published checkpoint of this run
    stage=qat            of this stage; also float (the default), calibrate, and int8, what `export` wrote
    runtime=onnxruntime  what computes it: torch, integer, onnxruntime, openvino or litert
    checkpoint=FILE      or name a checkpoint; config.yaml beside it says what the network is
    artefact=DIR         or, for stage=int8, what `export` wrote elsewhere
    threads=2            processor threads of the runtime; all of torch's where nothing is said

What to write:
    out=DIR              where <name>.json, <name>.png and index.html go; without it into
                         runs/<run_name>/infer_<stage>, or infer_<stage>_<runtime> where that is not torch
    score_threshold=0.3  boxes below it, 0 to 1, are neither written nor drawn
    pictures=false       no PNG; page=false no page
    page_frames=100      frames on the page, evenly spread; page_points=40000 points of each
    rrd=true             frames.rrd for the Rerun viewer as well (extra viz)
    overwrite=true       compute frames again that an earlier run with the same settings completed; a run that was
                         stopped goes on otherwise
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lidar_mt import __version__
from lidar_mt.config import instantiate, program
from lidar_mt.config.commands import command_line, told_command
from lidar_mt.config.networks import Network, open_network
from lidar_mt.config.origin import place_digest
from lidar_mt.config.places import find_configured
from lidar_mt.data.dataset import NuScenesLidarDataset
from lidar_mt.data.frames import Frames, PackedSamples, PointFiles, evenly, file_state, find_point_files
from lidar_mt.data.layout import store_path
from lidar_mt.data.point_file import check_columns
from lidar_mt.data.sensor import Sensor
from lidar_mt.engine.earlier_results import EarlierResults
from lidar_mt.engine.frame_writer import PAGE, RECORDING, FrameWriter
from lidar_mt.engine.inference_run import InferenceRun
from lidar_mt.structures.errors import ConfigError
from lidar_mt.visualization.rerun_recording import RerunRecording
from lidar_mt.visualization.viewer_page import ViewerPage

#: Frames that a message names.
_NAMED = 3

log = logging.getLogger("lidar_mt.infer")


@program("infer")
def main(cfg: DictConfig) -> None:
    """Reads frame by frame, runs the network, writes the results."""
    _check(cfg)
    files = None if cfg.points is None else find_point_files(Path(cfg.points), cfg.recursive)
    place = find_configured(cfg, command_line())
    if cfg.out is None:
        cfg.out = str(Path(cfg.paths.runs) / cfg.run_name / f"infer_{place.name}")
    network = open_network(place, cfg.threads).described_by(cfg)
    frames = _packed(cfg, network) if files is None else _files(cfg, files, network)
    _run(cfg, network, frames)


def _check(cfg: DictConfig) -> None:
    """Refuses what contradicts itself, before anything is read."""
    if (cfg.points is None) == (cfg.split is None):
        raise ConfigError("give either points=FILE (or FOLDER) or split=NAME of packed data, such as split=val")
    if cfg.on_bad_file not in ("error", "skip"):
        raise ConfigError(f"on_bad_file={cfg.on_bad_file}: expected error or skip")
    if cfg.samples is not None and cfg.split is None:
        raise ConfigError("samples=... chooses from a packed split; it goes with split=NAME")
    sensor = _sensor(cfg)
    check_columns(sensor.columns)
    if cfg.split is not None and sensor != Sensor():
        raise ConfigError("sensor=... and columns=... describe point files; packed data needs neither")
    if min(cfg.page_frames, cfg.page_points) < 1:
        raise ConfigError("page_frames and page_points must be positive; page=false writes no page")


def _sensor(cfg: DictConfig) -> Sensor:
    columns = _plain(cfg.columns)
    sensor: Sensor = instantiate(cfg.sensor) if columns is None else instantiate(cfg.sensor, columns=columns)
    return sensor


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_list(value) else value


def _files(cfg: DictConfig, files: list[Path], network: Network) -> PointFiles:
    root = Path(cfg.points) if Path(cfg.points).is_dir() else Path(cfg.points).parent
    return PointFiles(files, root, _sensor(cfg), network.num_sweeps)


def _packed(cfg: DictConfig, network: Network) -> PackedSamples:
    store = store_path(cfg.paths.packed, cfg.data.version, cfg.split)
    dataset = NuScenesLidarDataset(store, network.classes(), num_sweeps=network.num_sweeps)
    return PackedSamples(dataset, _plain(cfg.samples), file_state(store / "manifest.json"))


def _writer(cfg: DictConfig, network: Network, frames: Frames) -> FrameWriter:
    grid, classes = network.voxelizer().grid, network.classes()
    page = None
    if cfg.page:
        notes = {"run": cfg.run_name, "network": network.place.name.replace("_", ", ")}
        if len(frames.names) > cfg.page_frames:
            notes["frames"] = f"{cfg.page_frames} of {len(frames.names)}"
        page = ViewerPage(
            Path(cfg.points).resolve().name if cfg.points else cfg.split,
            grid,
            classes,
            cfg.page_points,
            notes,
            max(cfg.score_threshold, 0.05),
        )
    out = Path(cfg.out)
    recording = RerunRecording(out / RECORDING, grid, classes) if cfg.rrd else None
    return FrameWriter(out, grid, classes, frames.sensor, cfg.score_threshold, cfg.pictures, page, recording)


def _next(cfg: DictConfig) -> str:
    if cfg.rrd:
        return "the same command starts again, as a recording holds all frames"
    return f"the same command{' without overwrite=true' if cfg.overwrite else ''} goes on"


def _if_damaged(cfg: DictConfig) -> str:
    """How to leave damaged frames out."""
    kept = [item for item in command_line() if not item.startswith(("on_bad_file=", "overwrite="))]
    command = told_command("infer", [*kept, "on_bad_file=skip"])
    going_on = "" if cfg.rrd else "; frames that are done are not computed again"
    return f"\n{command}\nleaves damaged files out{going_on}"


def _run(cfg: DictConfig, network: Network, frames: Frames) -> None:
    """All frames that are not done; says what was done, or ends the process where a signal asked to stop."""
    out, count = Path(cfg.out), len(frames.names)
    page = out / PAGE if cfg.page else None
    settings = _settings(cfg, network, frames.sensor)
    earlier = EarlierResults(out, settings, cfg.pictures, page, cfg.page_points)
    left_off = earlier.not_among(frames.names)
    if left_off:
        log.warning(
            "%s will show the frames of this run alone; of an earlier run %d leave it (%s), though their other files "
            "stay. Give another out=DIR to keep both pages",
            page,
            len(left_off),
            ", ".join(left_off[:_NAMED]) + (", ..." if len(left_off) > _NAMED else ""),
        )
    on_page = evenly(count, cfg.page_frames) if cfg.page else ()
    run = InferenceRun(frames, earlier, on_page, cfg.on_bad_file == "skip", _if_damaged(cfg))
    # A recording is one file and holds all frames.
    done = set() if cfg.overwrite or cfg.rrd else run.done()
    if done:
        log.info("%d of %d frames are done and skipped; overwrite=true computes them again", len(done), count)
    found = run.compute(network.build, functools.partial(_writer, cfg, network, frames), done)
    if found.stopped:
        print(f"stopped with {found.left} of {count} frames left; {_next(cfg)}", file=sys.stderr)
        sys.exit(128 + found.stopped)
    log.info(
        "%d frames, %d left out, %d skipped, %d boxes, %s; results in %s%s",
        found.computed,
        found.left_out,
        len(done),
        found.boxes,
        found.speed(),
        out,
        f", open {found.page} in a browser" if found.page else "",
    )


def _settings(cfg: DictConfig, network: Network, sensor: Sensor) -> dict[str, Any]:
    """What decides the results of a frame, but the frame itself; see `EarlierResults`."""
    weights = place_digest(network.place)
    described = hashlib.sha256(OmegaConf.to_yaml(network.config, resolve=True).encode()).hexdigest()
    return {
        "version": __version__,
        "network": f"{weights[:16]} {described[:16]}",
        "runtime": network.place.runtime,
        "score_threshold": cfg.score_threshold,
        "sensor": json.loads(json.dumps(asdict(sensor))),  # lists, as they are read again
    }


if __name__ == "__main__":
    main()
