"""The metric that lets the devkit score, beside the one that does without it."""

import pytest
import torch

from lidar_mt.metrics.devkit_detection import NuScenesDevkitMetric
from lidar_mt.metrics.devkit_tables import load_tables, split_tokens
from lidar_mt.metrics.nuscenes_detection import NuScenesDetectionMetric
from lidar_mt.structures.errors import DataError, ResultError
from tests.helpers.devkit_scores import assert_same_files
from tests.helpers.nuscenes_detections import annotations_as_detections, perturb, poses
from tests.helpers.tiny_nuscenes import write_tiny_nuscenes

VERSION = "v1.0-tiny-mini"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_tiny_nuscenes(tmp_path_factory.mktemp("nuscenes"))


@pytest.fixture(scope="module")
def samples(root):
    tables, generator = load_tables(root, VERSION), torch.Generator().manual_seed(0)
    return [
        (token, perturb(annotations_as_detections(tables, token), generator), *map(torch.tensor, poses(tables, token)))
        for token in split_tokens(tables, "mini_val")
    ]


def update(metric, samples):
    tokens, detections, ego_from_lidar, global_from_ego = zip(*samples, strict=True)
    metric.update(tokens, detections, torch.stack(ego_from_lidar), torch.stack(global_from_ego))


@pytest.mark.parametrize("count", [8, 5])
def test_both_metrics_write_the_same_numbers_of_a_split_and_of_a_part(root, samples, tmp_path, count):
    metrics, seen = {}, samples[:count]
    for kind, order in ((NuScenesDetectionMetric, 1), (NuScenesDevkitMetric, -1)):
        metric = metrics[kind] = kind(root, VERSION, "val", tmp_path / kind.__name__)
        metric.check_data()
        # The order in which a rank sees the samples changes nothing, not even between equal scores.
        update(metric, [(s[0], s[1]._replace(scores=s[1].scores.round(decimals=1)), *s[2:]) for s in seen[::order]])
    ours, theirs = (metric.compute() for metric in metrics.values())
    assert ours == pytest.approx(theirs, abs=1e-9, rel=0, nan_ok=True)
    assert ours["samples"] == count
    assert_same_files(tmp_path / "NuScenesDetectionMetric", tmp_path / "NuScenesDevkitMetric")
    files = [tmp_path / kind.__name__ / "results_nusc.json" for kind in metrics]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("kind", [NuScenesDetectionMetric, NuScenesDevkitMetric])
def test_a_result_file_is_scored_by_itself(root, samples, tmp_path, kind):
    metric = kind(root, VERSION, "val", tmp_path)
    update(metric, samples)
    nds = metric.compute()["NDS"]
    assert kind(root, VERSION, "val", tmp_path / "again").score_file(tmp_path / "results_nusc.json").nds == nds


@pytest.mark.parametrize("kind", [NuScenesDetectionMetric, NuScenesDevkitMetric])
@pytest.mark.parametrize("partial", ["score", "error"])
def test_a_box_that_is_not_finite_is_named(root, samples, tmp_path, kind, partial):
    metric = kind(root, VERSION, "val", tmp_path, partial=partial)
    broken = [samples[0][0], samples[0][1]._replace(boxes=samples[0][1].boxes.clone()), *samples[0][2:]]
    broken[1].boxes[0, 0] = torch.nan
    update(metric, [tuple(broken), *samples[1 : 8 if partial == "error" else 4]])
    with pytest.raises(ResultError, match=rf"translation has NaN(.|\n)*{samples[0][0]}"):
        metric.compute()


def test_only_the_devkit_wants_all_thirteen_tables(samples, tmp_path):
    root = write_tiny_nuscenes(tmp_path)
    (root / VERSION / "log.json").unlink()
    NuScenesDetectionMetric(root, VERSION, "val", tmp_path / "out").check_data()
    with pytest.raises(DataError, match=r"lacks log\.json"):
        NuScenesDevkitMetric(root, VERSION, "val", tmp_path / "out").check_data()
