from __future__ import annotations

import pytest
import yaml
from omegaconf import OmegaConf

from lidar_mt.config import compose
from lidar_mt.config.changes import ABSENT, Change, changed_keys, changes_since, report_changes
from lidar_mt.config.check import plain
from lidar_mt.structures.errors import CheckpointError

BASE = {
    "grid": {"size": 1, "shape": [1, 2]},
    "model": {"head": {"grid": "${grid}"}, "steps": None},
    "paths": {"root": "a", "raw": "${.root}/raw", "run": "???"},
    "data": {"train": "train", "val": "val", "folder": "${paths.raw}/x"},
    "train_grid": "${model.head.grid}",
}


def changed(**values):
    """Changes of the small configuration above when some of its keys are set, `__` for a dot."""
    cfg = OmegaConf.create(BASE)
    for path, value in values.items():
        OmegaConf.update(cfg, path.replace("__", "."), value)
    return changed_keys(plain(OmegaConf.create(BASE)), cfg)


def test_nothing_changed():
    assert changed() == {}
    assert changed(grid__size=1) == {}


def test_a_value_is_told_once_where_it_stands():
    assert changed(grid__size=2) == {"grid.size": Change(1, 2)}
    assert changed(paths__root="b") == {"paths.root": Change("a", "b")}


def test_a_list_is_one_value():
    assert changed(grid__shape=[1, 3]) == {"grid.shape": Change([1, 2], [1, 3])}


def test_mappings_come_and_go_as_a_whole():
    table = {"a": 1, "b": {"c": 2}}
    assert changed(model__steps=table) == {"model.steps": Change(None, table)}
    after = OmegaConf.create({"x": None})
    assert changed_keys({"x": table, "y": 3}, after) == {"x": Change(table, None), "y": Change(3, ABSENT)}


def test_a_new_reference_to_another_value_is_a_change_of_its_own():
    assert changed(data__train="${data.val}") == {"data.train": Change("train", "val")}
    both = changed(data__train="${data.val}", data__val="test")
    assert both == {"data.train": Change("train", "test"), "data.val": Change("val", "test")}


def test_what_the_program_fills_in_is_no_change():
    assert changed(paths__run="runs/1") == {}


def test_every_experiment_differs_only_where_its_files_say():
    demo = changed_keys(plain(compose("train")), compose("train", ["experiment=demo"]))
    assert demo["run_name"] == Change("multitask", "demo")
    assert demo["grid.voxel_size"].after == [0.4, 0.4, 8.0]
    assert not any(path.startswith(("metric", "callbacks", "data.eval_transforms")) for path in demo)
    assert len(demo) < 15


def test_the_report_lies_in_the_run_folder(tmp_path, caplog):
    caplog.set_level("INFO")
    report_changes(compose("train"), compose("train", ["seed=3", "augmentation=demo"]), tmp_path)
    content = yaml.safe_load((tmp_path / "changes.yaml").read_text())
    assert content["seed"] == {"default": 0, "here": 3}
    assert content["augmentation.flip"]["here"]["probability_x"] == 0.5
    assert "  seed: 0 -> 3" in caplog.text


def test_changes_since_a_checkpoint_s_run(tmp_path):
    cfg = compose("train")
    (tmp_path / "checkpoints").mkdir()
    before = {**plain(compose("train", ["optimizer.lr=1e-3"])), "paths": {"root": "data", "run": "there"}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"optimizer": before["optimizer"], "paths": {"run": "x"}}))
    changes = changes_since(tmp_path / "checkpoints/last.ckpt", cfg)
    assert {path: change for path, change in changes.items() if not path.startswith("paths")} == {
        "optimizer.lr": Change(1e-3, 2e-4)
    }
    assert changes_since(tmp_path / "elsewhere/checkpoints/last.ckpt", cfg) == {}
    (tmp_path / "config.yaml").write_text("a: [")
    with pytest.raises(CheckpointError, match="damaged"):
        changes_since(tmp_path / "checkpoints/last.ckpt", cfg)
