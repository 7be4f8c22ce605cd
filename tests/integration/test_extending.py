"""What CONTRIBUTING says of classes and tasks of one's own, followed step by step."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from lidar_mt.data.packing import pack_split
from lidar_mt.engine.board_reading import read_curves
from lidar_mt.engine.checkpoint import read_checkpoint
from lidar_mt.metrics.scoreboard import read_scores
from tests.helpers.tiny_lidar import VERSION, write_raw_nuscenes
from tests.helpers.training import SMALL_NETWORK

KEYS = (
    *(key for key in SMALL_NETWORK if "segmentation" not in key),
    f"data.version={VERSION}",
    "data.num_workers=0",
    "data.batch_size=2",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
    "callbacks.pictures.count=1",
)


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> Path:
    """Two splits of six keyframes with boxes of all classes."""
    root = tmp_path_factory.mktemp("extending")
    write_raw_nuscenes(root / "raw", keyframes=6, between=0)
    for split in ("train", "val"):
        pack_split(root / "raw", VERSION, split, root / "packed")
    return root / "packed"


@pytest.fixture
def workspace(packed, tmp_path, monkeypatch) -> Path:
    """A folder of the user's own, with configuration files in `conf`."""
    monkeypatch.setenv("LIDAR_MT_DATA", str(packed.parent))
    monkeypatch.setenv("LIDAR_MT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("LIDAR_MT_TRUSTED_PACKAGES", "tests")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return tmp_path


def write(folder: Path, **files: str) -> str:
    """Writes configuration files, `group__name=text`; the option that makes programs look there."""
    for name, text in files.items():
        path = folder / "conf" / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return f"--config-dir={folder / 'conf'}"


TWO_CLASSES = """
_target_: lidar_mt.structures.classes.Classes
detection: [vehicle, person]
groups: [[vehicle], [person]]
segmentation: [others, driveable_surface]
"""


def test_a_class_list_outside_nuscenes(programs, workspace, packed):
    option = write(workspace, classes__two=TWO_CLASSES)
    keep = ["trainer.log_every_n_steps=1"]
    names = "{car: vehicle, truck: vehicle, bus: vehicle, trailer: vehicle, pedestrian: person}"
    stores = f"data.stores={{_target_: tests.helpers.renamed_classes.RenamedStores, packed: {packed}, names: {names}}}"
    keys = ["classes=two", "model=detection", "task=detection", stores, *KEYS, "trainer.max_epochs=1"]
    outcome = programs("train", "run_name=two", "metric=none", *keys, *keep, option)
    assert outcome.status == 0, outcome.err
    checkpoint = workspace / "runs/two/published/float-best.ckpt"
    state = read_checkpoint(checkpoint)["state_dict"]
    assert sum("heatmap.predict.weight" in key for key in state) == 2
    assert all(bool(torch.isfinite(value).all()) for value in state.values())
    curves = read_curves(list((workspace / "runs/two/float").glob("*/tensorboard")))
    for name in ("vehicle", "person"):
        assert max(value for _, value in curves[f"train/detection/{name}/box"]) > 0  # its boxes were seen
    for program in ("evaluate", "infer"):
        more = ["split=val", "samples=1"] if program == "infer" else [stores]
        outcome = programs(program, "run_name=two", "metric=none", f"data.version={VERSION}", *more, option)
        assert outcome.status == 0, outcome.err


def test_the_nuscenes_metric_refuses_other_classes_before_data_is_read(programs, workspace):
    option = write(workspace, classes__two=TWO_CLASSES)
    keys = ["classes=two", "model=detection", "task=detection", "data.version=nowhere"]
    error = programs("train", *keys, option).err
    assert "does not know the classes vehicle, person" in error
    assert "metric=none" in error
    circle = programs("train", *keys, "metric=none", "task.detection.decoder.nms=circle", option).err
    assert "expected a radius for each group of ['person', 'vehicle']" in circle


THIRD_TASK = {
    "model__head__occupancy": """
_target_: tests.helpers.third_task.OccupancyHead
in_channels: ${model.neck.out_channels.level2}
""",
    "model__with_occupancy": """
defaults:
  - detection
  - head@head.occupancy: occupancy
""",
    "task__occupancy": """
occupancy:
  _target_: lidar_mt.tasks.base.Task
  _convert_: all
  name: occupancy
  weight: 1.0
  target:
    _target_: tests.helpers.third_task.OccupancyTarget
    grid: ${grid}
  loss:
    _target_: tests.helpers.third_task.OccupancyLoss
  decoder:
    _target_: tests.helpers.third_task.OccupancyDecoder
""",
    "task__with_occupancy": """
defaults:
  - detection
  - occupancy
""",
    "metric__with_occupancy": """
defaults:
  - default
  - _self_
occupancy:
  _target_: tests.helpers.third_task.OccupancyMetric
  grid: ${grid}
""",
}


def test_a_third_task_is_trained_scored_and_compared(programs, workspace):
    option = write(workspace, **THIRD_TASK)
    keys = ["model=with_occupancy", "task=with_occupancy", "metric=with_occupancy", *KEYS]
    outcome = programs("train", *keys, "debug=limit", "trainer.limit_val_batches=1.0", option)
    assert outcome.status == 0, outcome.err
    run = workspace / "runs/debug"
    curves = read_curves(list((run / "float").glob("*/tensorboard")))
    assert {"val/occupancy/cross_entropy", "val/occupancy_accuracy", "val/NDS"} <= set(curves)
    # What evaluation takes from the checkpoint need not be said again.
    data = [f"data.version={VERSION}", "data.num_sweeps=1", "data.num_workers=0"]
    keys = ["metric=with_occupancy", *data, "run_name=debug", f"out={workspace / 'scores'}"]
    outcome = programs("evaluate", *keys, option)
    assert outcome.status == 0, outcome.err
    metrics = json.loads((workspace / "scores/metrics.json").read_text())
    assert list(metrics) == ["detection", "occupancy"]
    found = metrics["occupancy"]
    assert list(found) == ["occupancy_accuracy", "cells", "undefined"]
    assert found["cells"] == metrics["detection"]["num_samples"] * 16 * 16
    assert found["undefined"] is None
    assert found["occupancy_accuracy"] == pytest.approx(curves["val/occupancy_accuracy"][-1][1], abs=1e-6)
    table = outcome.out[outcome.out.index("\noccupancy") :]
    assert re.search(r"occupancy accuracy +cells +undefined\s", table)
    assert f"{found['occupancy_accuracy']:.4g}" in table
    (score,) = read_scores(run / "published/scores")
    assert score.values["occupancy/occupancy_accuracy"] == found["occupancy_accuracy"]
    assert programs("report", "run_name=debug").status == 0
    assert "<th>occupancy occupancy_<wbr>accuracy</th>" in (run / "report.html").read_text()


@pytest.mark.slow
def test_a_third_task_alone_names_what_chooses_the_best_checkpoint(programs, workspace):
    alone = THIRD_TASK["model__with_occupancy"].replace("detection", "base")
    option = write(workspace, **THIRD_TASK, model__occupancy=alone)
    keys = [key for key in KEYS if "detection" not in key]
    keys += ["model=occupancy", "task=occupancy", "metric=with_occupancy", "debug=limit"]
    error = programs("train", *keys, option).err
    assert "callbacks.best.monitor=val/mIoU: nothing of that name is logged" in error
    keys += ["callbacks.best.monitor=val/occupancy_accuracy"]
    assert programs("train", *keys, option).status == 0
    outcome = programs("evaluate", "metric=with_occupancy", f"data.version={VERSION}", "run_name=debug", option)
    assert outcome.status == 0, outcome.err
    assert "occupancy accuracy" in outcome.out
    # Neither boxes nor surfaces: the points are drawn, and what is written holds no boxes.
    outcome = programs("infer", "run_name=debug", "split=val", f"data.version={VERSION}", "samples=1", option)
    assert outcome.status == 0, outcome.err
