from __future__ import annotations

import copy
import functools
import logging

import pytest
from omegaconf import OmegaConf, open_dict

from lidar_mt.config import compose
from lidar_mt.config.build import match_monitor
from lidar_mt.config.monitors import check_monitors
from lidar_mt.structures.errors import ConfigError

SEGMENTATION = ("model=segmentation", "task=segmentation")
STOP = "+callbacks.stop={_target_: pytorch_lightning.callbacks.EarlyStopping, monitor: val/los}"
OWN = "tests.helpers.own_parts"


@functools.cache
def composed(program: str, overrides: tuple[str, ...]):
    return compose(program, [*overrides, "paths.packed=/nowhere"])


def check(*overrides: str, program: str = "train") -> None:
    # Composing takes far longer than the check, so what names a metric is set afterwards.
    names = [item for item in overrides if item.partition("=")[0].endswith(".monitor")]
    cfg = copy.deepcopy(composed(program, tuple(item for item in overrides if item not in names)))
    with open_dict(cfg):
        cfg.paths.run = "/nowhere"
    for key, _, value in (item.partition("=") for item in names):
        OmegaConf.update(cfg, key, None if value == "null" else value)
    match_monitor(cfg)
    check_monitors(cfg)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["callbacks.best.monitor=val/NSD"], "callbacks.best.monitor=val/NSD: .* Did you mean 'val/NDS'"),
        (["callbacks.best.monitor=NDS"], "'val/NDS'"),
        (["callbacks.best.monitor=val/miou"], "'val/mIoU'"),
        (["callbacks.best.monitor=val/AP/cars"], "'val/AP/car'"),
        (["callbacks.best.monitor=val/segmentation/crossentropy"], "'val/segmentation/cross_entropy'"),
        (["callbacks.best.monitor=val/detection/car/bax"], "'val/detection/car/box'"),
        (["callbacks.best.monitor=val/AVE/barrier"], "val/AVE/barrier: nothing"),  # a barrier has no speed
        (["callbacks.best.monitor=qqq"], "There are val/loss, val/NDS, val/mAP"),
        (["metric=none", "callbacks.best.monitor=val/NDS"], r"There are val/loss, train/loss"),
        ([*SEGMENTATION, "callbacks.best.monitor=val/mAP"], "There are val/loss, val/mIoU"),
        ([STOP], "callbacks.stop.monitor=val/los: .*'val/loss'"),
    ],
)
def test_a_name_that_nothing_logs_is_refused(overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check(*overrides)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["hparams_search.monitor=val/NSD"], "hparams_search.monitor=val/NSD: .*'val/NDS'"),
        (["hparams_search.monitor=epoch"], "hparams_search.monitor=epoch"),
        (SEGMENTATION, "hparams_search.monitor=val/NDS: .* There are val/loss, val/mIoU"),
    ],
)
def test_so_is_that_of_a_search(overrides: list[str], words: str) -> None:
    check(program="search")
    with pytest.raises(ConfigError, match=words):
        check(*overrides, program="search")


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["metric=none"],
        [*SEGMENTATION],
        ["model=detection", "task=detection"],
        ["callbacks=ema"],
        ["callbacks.best=null"],
        ["callbacks.best.monitor=null"],
        ["metric.detection=null", "callbacks.best.monitor=val/mIoU"],
        ["experiment=reference"],
        ["callbacks.best.monitor=val/AP/car@0.5"],
        ["callbacks.best.monitor=val/IoU/driveable_surface"],
        ["callbacks.best.monitor=val/detection/pedestrian-traffic_cone/heatmap", "callbacks.best.mode=min"],
        ["callbacks.best.monitor=train/loss", "callbacks.best.mode=min"],
        ["callbacks.best.monitor=step"],
        ["metric=nuscenes_devkit"],
    ],
)
def test_what_is_logged_is_not_refused_and_not_warned_of(overrides: list[str], caplog) -> None:
    check(*overrides)
    assert not caplog.records


@pytest.mark.parametrize(
    ("part", "monitor"),
    [
        (f"task.segmentation.loss._target_={OWN}.OwnLoss", "val/segmentation/mine"),
        (f"task.segmentation._target_={OWN}.OwnTask", "val/anything"),
        (f"metric.segmentation._target_={OWN}.OwnIoU", "val/boundary"),
        (f"metric.segmentation._target_={OWN}.OwnMetric", "val/boundary"),
        (f"+callbacks.own={{_target_: {OWN}.OwnCallback}}", "boundary"),
    ],
)
def test_names_that_parts_of_ones_own_may_log_pass_with_a_warning(part, monitor, monkeypatch, caplog) -> None:
    monkeypatch.setenv("LIDAR_MT_TRUSTED_PACKAGES", "tests")
    key = f"callbacks.best.monitor={monitor}"
    with caplog.at_level(logging.WARNING):
        check(part, key)
    assert f"{key}: only the first validation will show" in caplog.text
    with pytest.raises(ConfigError, match="nothing of that name is logged"):
        check(key)


def test_a_loss_of_ones_own_opens_no_other_names(monkeypatch) -> None:
    monkeypatch.setenv("LIDAR_MT_TRUSTED_PACKAGES", "tests")
    with pytest.raises(ConfigError, match="'val/NDS'"):
        check(f"task.segmentation.loss._target_={OWN}.OwnLoss", "callbacks.best.monitor=val/NSD")


def test_the_program_stops_before_it_looks_for_data(programs, tmp_path) -> None:
    outcome = programs("train", "callbacks.best.monitor=val/NSD", f"paths.root={tmp_path}", f"paths.runs={tmp_path}")
    assert outcome.status == 2
    assert "Did you mean 'val/NDS'?" in outcome.err
    assert "packed" not in outcome.err
