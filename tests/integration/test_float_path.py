"""From a simulated data set to scores and pictures, through the programs, on a coarse grid."""

from __future__ import annotations

import io
import json
import math
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from tensorboard.plugins.custom_scalar import layout_pb2

from lidar_mt.config import instantiate
from lidar_mt.config.build import instantiate_metrics
from lidar_mt.engine.checkpoint import read_checkpoint
from lidar_mt.engine.logged_names import LEARNING_RATE, logged_names

VERSION = "v1.0-mini"
COARSE = [
    "grid.voxel_size=[1.6,1.6,8.0]",
    f"data.version={VERSION}",
    "data.num_workers=0",
    "data.batch_size=2",
    "callbacks.pictures.count=1",  # drawing would take longer than training
]


@pytest.fixture(scope="module")
def data_root(tmp_path_factory) -> Path:
    """A packed simulated set: eight training scenes of one keyframe, two validation scenes."""
    root = tmp_path_factory.mktemp("data")
    monkeypatch = pytest.MonkeyPatch()
    from lidar_mt.pack_data import main as pack
    from lidar_mt.simulate import main as simulate

    raw = root / "nuscenes"
    for main, arguments in [
        (simulate, [f"out={raw}", f"version={VERSION}", "scenes=10", "keyframes=2", "seed=1", "sweeps=2", "workers=1"]),
        (pack, [f"src={raw}", f"version={VERSION}", "split=train", f"out={root / 'packed'}"]),
        (pack, [f"src={raw}", f"version={VERSION}", "split=val", f"out={root / 'packed'}"]),
    ]:
        monkeypatch.setattr("sys.argv", ["program", *arguments])
        main()
    monkeypatch.undo()
    return root


@pytest.fixture
def workspace(data_root, tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("LIDAR_MT_DATA", str(data_root))
    monkeypatch.setenv("LIDAR_MT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return tmp_path


def test_train_evaluate_infer(programs, workspace, data_root):
    trained = programs("train", "stage=float", *COARSE, "trainer.max_epochs=1", "trainer.log_every_n_steps=1")
    assert trained.status == 0, trained.err
    (run,) = (workspace / "runs/multitask/float").iterdir()
    for name in ("config.yaml", "train.log", "checkpoints/best.ckpt", "checkpoints/last.ckpt", "pictures/val_0.png"):
        assert (run / name).stat().st_size > 0, name
    assert list((run / "tensorboard").glob("events.*"))
    assert OmegaConf.load(run / "config.yaml").grid.voxel_size[0] == 1.6

    published = workspace / "runs/multitask/published"
    checkpoint = read_checkpoint(published / "float-best.ckpt")
    assert checkpoint["global_step"] == 8
    assert all(torch.isfinite(value).all() for value in checkpoint["state_dict"].values())

    out = workspace / "scores"
    evaluated = programs("evaluate", "stage=float", *COARSE[1:], f"out={out}")
    assert evaluated.status == 0, evaluated.err
    assert "NDS" in evaluated.out
    assert "driveable_surface" in evaluated.out
    metrics = json.loads((out / "metrics.json").read_text())
    assert 0 <= metrics["detection"]["nds"] <= 1
    assert metrics["detection"]["num_samples"] == 4
    assert 0 <= metrics["segmentation"]["IoU/driveable_surface"] <= 1
    summary = json.loads(next(out.rglob("metrics_summary.json")).read_text())
    assert summary["nd_score"] == pytest.approx(metrics["detection"]["nds"], abs=1e-12)
    assert (out / "pictures/val_0.png").stat().st_size > 10_000
    assert (out / "nuscenes_eval/plots/precision_recall.png").stat().st_size > 10_000

    # The same file, scored by itself and by the devkit, gives the same figures.
    scored = programs(
        "evaluate",
        f"results={next(out.rglob('results_nusc.json'))}",
        f"data_root={data_root / 'nuscenes'}",
        f"version={VERSION}",
        "split=val",
        f"out={workspace / 'again'}",
        "metric=nuscenes_devkit",
    )
    assert scored.status == 0, scored.err
    again = json.loads((workspace / "again/metrics.json").read_text())
    assert again["detection"]["nds"] == pytest.approx(metrics["detection"]["nds"], abs=1e-12)

    frame = next((data_root / "nuscenes/samples/LIDAR_TOP").glob("*.pcd.bin"))
    inferred = programs("infer", f"points={frame}", f"out={workspace / 'pictures'}", "score_threshold=0.0")
    assert inferred.status == 0, inferred.err
    name = frame.name.split(".")[0]
    boxes = json.loads((workspace / f"pictures/{name}.json").read_text())["boxes"]
    assert [box["score"] for box in boxes] == sorted((box["score"] for box in boxes), reverse=True)
    assert all(len(box["size_wlh"]) == 3 and min(box["size_wlh"]) > 0 for box in boxes)
    assert (workspace / f"pictures/{name}.png").stat().st_size > 10_000


def test_resume_goes_on_from_the_checkpoint(programs, workspace):
    base = ["stage=float", *COARSE, "model=detection", "task=detection", "trainer.check_val_every_n_epoch=9"]
    assert programs("train", *base, "trainer.max_epochs=1").status == 0
    first = workspace / "runs/multitask/published/float-last.ckpt"
    assert read_checkpoint(first)["global_step"] == 8
    again = programs("train", *base, "trainer.max_epochs=2", f"resume={first}")
    assert again.status == 0, again.err
    assert read_checkpoint(first)["global_step"] == 16


def test_segmentation_alone_is_trained_and_scored(programs, workspace):
    base = [*COARSE, "model=segmentation", "task=segmentation"]
    trained = programs("train", *base, "trainer.max_epochs=1")
    assert trained.status == 0, trained.err
    evaluated = programs("evaluate", *base, f"out={workspace / 'scores'}")
    assert evaluated.status == 0, evaluated.err
    metrics = json.loads((workspace / "scores/metrics.json").read_text())
    assert set(metrics) == {"segmentation"}


def test_a_published_checkpoint_outlives_other_runs(programs, workspace, data_root):
    base = [*COARSE, "model=detection", "task=detection"]
    assert programs("train", *base, "trainer.max_epochs=1").status == 0
    published = workspace / "runs/multitask/published"
    before = {path.name: path.read_bytes() for path in published.iterdir()}
    coarser = [*base, "grid.voxel_size=[3.2,3.2,8.0]"]
    assert programs("train", *coarser, "debug=fast_dev_run").status == 0
    assert programs("train", *coarser, "debug=limit").status == 0
    assert {path.name: path.read_bytes() for path in published.iterdir()} == before
    # A description that belongs to another network is noticed.
    frame = next((data_root / "nuscenes/samples/LIDAR_TOP").glob("*.pcd.bin"))
    config = published / "config.yaml"
    config.write_text(config.read_text().replace("1.6", "0.8"))
    outcome = programs("infer", f"points={frame}", f"out={workspace / 'o'}")
    assert outcome.status == 2
    assert "another network" in outcome.err
    # A checkpoint in the run's own folder can be used as it is.
    last = sorted((workspace / "runs/multitask/float").glob("*/checkpoints/last.ckpt"))[0]
    assert programs("infer", f"points={frame}", f"checkpoint={last}", f"out={workspace / 'o'}").status == 0


def test_a_damaged_record_is_named_without_a_traceback_also_from_a_loader_process(programs, workspace, data_root):
    shutil.copytree(data_root / "packed", workspace / "damaged/packed")
    data = workspace / f"damaged/packed/{VERSION}/train_lmdb/data.mdb"
    content = bytearray(data.read_bytes())
    for at in range(200_000, len(content) - 100_000, 50_000):
        content[at] ^= 1
    data.write_bytes(content)
    outcome = programs("train", *COARSE, f"paths.root={workspace / 'damaged'}", "data.num_workers=1", "run_name=hurt")
    assert outcome.status == 2
    message = outcome.err.split("error:", 1)[1]
    assert "Traceback" not in message
    assert "is damaged" in message
    assert "lidar_mt.pack_data" in message


def test_overfitting_two_batches_lowers_the_loss(programs, workspace):
    done = programs(
        "train", *COARSE, "debug=overfit", "trainer.max_epochs=30", "trainer.check_val_every_n_epoch=30", "run_name=fit"
    )
    assert done.status == 0, done.err
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (run,) = (workspace / "runs/fit/float").iterdir()
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    losses = [event.value for event in events.Scalars("train/loss")]
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] < 0.5 * losses[0], losses
    terms = {tag for tag in events.Tags()["scalars"] if tag.startswith("train/") and tag != "train/loss"}
    assert len(terms) == 13


def test_tensorboard_shows_what_the_training_does(programs, workspace):
    done = programs("train", *COARSE, "trainer.max_epochs=2", "trainer.log_every_n_steps=2", "run_name=watched")
    assert done.status == 0, done.err
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (run,) = (workspace / "runs/watched/float").iterdir()
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0, "scalars": 0, "tensors": 0})
    events.Reload()
    tags = events.Tags()
    for tag, per_epoch in (
        ("train/loss", 4), ("train/detection/car/box", 4), ("train/segmentation/cross_entropy", 4),
        ("optimizer/learning_rate", 4), ("optimizer/gradient_norm", 4), ("speed/samples_per_second", 4),
        ("speed/step_ms", 4), ("speed/data_share", 4), ("memory/host_GiB", 4),
        ("val/loss", 1), ("val/NDS", 1), ("val/AP/car", 1), ("val/mIoU", 1),
    ):  # fmt: skip
        values = events.Scalars(tag)
        steps = [value.step for value in values]
        assert len(steps) == 2 * per_epoch, tag
        assert steps == sorted(set(steps)), tag
        assert all(math.isfinite(value.value) for value in values), tag
    assert all(0 <= value.value <= 1 for value in events.Scalars("speed/data_share"))

    # What a `monitor` may name, told before there is any data.
    cfg = OmegaConf.load(run / "config.yaml")
    told = logged_names({name: instantiate(node) for name, node in cfg.task.items()}, instantiate_metrics(cfg))
    assert not told.untold
    assert set(told.names) == {tag for tag in tags["scalars"] if tag.startswith(("train/", "val/"))} | {LEARNING_RATE}

    sizes = {}
    for tag in tags["images"]:
        pictures = events.Images(tag)
        assert [picture.step for picture in pictures] == [8, 16], tag
        for picture in pictures:
            pixels = np.asarray(Image.open(io.BytesIO(picture.encoded_image_string)))
            assert pixels.shape == (picture.height, picture.width, 3), tag
            assert pixels.std() > 5, tag
            assert len(picture.encoded_image_string) < 500_000, tag
        sizes[tag] = (pictures[0].width, pictures[0].height)
    assert set(sizes) == {"bev/0", "segmentation/0", "heatmaps/0", "precision_recall"}
    assert all(width > 1000 and height > 500 for width, height in sizes.values())

    (layout,) = events.Tensors("custom_scalars__config__")
    charts = layout_pb2.Layout.FromString(layout.tensor_proto.string_val[0])
    for category in charts.category:
        for chart in category.chart:
            for pattern in chart.multiline.tag:
                assert any(re.fullmatch(pattern, tag) for tag in tags["scalars"]), (chart.title, pattern)
    assert "config/text_summary" in tags["tensors"]


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("infer", ["points=nowhere.pcd.bin"], ["nowhere.pcd.bin"]),
        ("infer", ["pionts=x"], ["pionts", "'points'", "--help"]),
        ("evaluate", ["stage=float", "checkpoint=none.ckpt"], ["none.ckpt"]),
        ("evaluate", ["results=none.json", "data_root=.", "version=v1.0-mini"], ["none.json"]),
        ("evaluate", ["results=none.json"], ["data_root"]),
        ("train", ["data.version=v9.9-mini"], ["v9.9-mini", "make pack-data"]),
        ("train", ["trainer.max_epoch=3"], ["max_epoch", "max_epochs"]),
        ("train", ["stage=flaot"], ["float"]),
        ("train", ["+epcohs=3"], ["epcohs", "--help"]),
        ("train", ["trainer.max_epochs=abc"], ["trainer.max_epochs=abc", "whole number"]),
        ("train", ["data.batch_size=0"], ["data.batch_size=0"]),
        ("train", ["grid.head_stride=8"], ["head_stride"]),
        ("train", ["task=detection"], ["model=", "task="]),
        (
            "train",
            [f"data.version={VERSION}", "data.val_split=foo"],
            ["foo_lmdb", "packed there: train, val", "SPLITS=foo"],
        ),
        ("evaluate", ["data_root=somewhere"], ["data_root", "results=FILE"]),
        ("infer", ["points=a=b.npy"], ["quotes"]),
        ("train", [*COARSE, "resume=none.ckpt"], ["none.ckpt"]),
        ("pack_data", ["src=nowhere", "version=v1.0-mini", "out=x"], ["nowhere"]),
        ("pack_data", ["split=everything", f"version={VERSION}", "out=x"], ["everything", "train"]),
        ("simulate", ["version=v1.0-mini", "scenes=11", "out=x"], ["v1.0-trainval"]),
    ],
)
def test_mistakes_are_named_with_the_next_step(programs, workspace, monkeypatch, name, arguments, words):
    monkeypatch.chdir(workspace)
    outcome = programs(name, *arguments)
    assert outcome.status == 2
    message = outcome.err.split("error:", 1)[1]
    for word in words:
        assert word in message, message
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("name", ["train", "evaluate", "infer", "simulate", "pack_data", "calops"])
def test_help_shows_useful_keys(programs, name):
    outcome = programs(name, "--help")
    assert outcome.status == 0
    assert f"python -m lidar_mt.{name}" in outcome.out
    assert "=" in outcome.out
    assert "Groups (group=option)" in outcome.out


def test_every_program_on_the_command_line_is_installed():
    from importlib.metadata import entry_points

    names = {
        entry.name: entry.value
        for entry in entry_points(group="console_scripts")
        if entry.value.startswith("lidar_mt.")
    }
    assert names["lidar-mt-train"] == "lidar_mt.train:main"
    assert os.access(Path(os.sys.executable).parent / "lidar-mt-train", os.X_OK)
