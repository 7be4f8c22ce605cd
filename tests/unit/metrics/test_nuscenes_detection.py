import json
import logging

import pytest
import torch

from lidar_mt.metrics.devkit_tables import load_tables, split_tokens
from lidar_mt.metrics.nuscenes_detection import NuScenesDetectionMetric, decode_tokens, encode_tokens
from lidar_mt.metrics.nuscenes_evaluation import evaluate_results
from lidar_mt.metrics.nuscenes_results import boxes_to_results, write_results
from lidar_mt.structures.errors import ConfigError, DataError, ResultError
from lidar_mt.structures.sample import Batch
from tests.helpers.nuscenes_detections import annotations_as_detections, perturb, poses
from tests.helpers.ranks import detection_metric_of_rank, run_ranks
from tests.helpers.tiny_nuscenes import write_tiny_nuscenes

VERSION = "v1.0-tiny-mini"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_tiny_nuscenes(tmp_path_factory.mktemp("nuscenes"))


@pytest.fixture(scope="module")
def samples(root):
    """Token, detections and poses of every sample of the split, as a middling detector sees them."""
    tables = load_tables(root, VERSION)
    generator = torch.Generator().manual_seed(0)
    return [
        (token, perturb(annotations_as_detections(tables, token), generator), *map(torch.tensor, poses(tables, token)))
        for token in split_tokens(tables, "mini_val")
    ]


@pytest.fixture(scope="module")
def expected(root, samples, tmp_path_factory):
    """Scores of the same samples through a result file."""
    folder = tmp_path_factory.mktemp("direct")
    results = {
        token: boxes_to_results(token, detections, (global_from_ego @ ego_from_lidar).numpy())
        for token, detections, ego_from_lidar, global_from_ego in samples
    }
    scores = evaluate_results(write_results(folder / "r.json", results), root, VERSION, "val", folder)
    assert 0.2 < scores.mean_ap < 0.9
    return scores


def update(metric, samples):
    tokens, detections, ego_from_lidar, global_from_ego = zip(*samples, strict=True)
    batch = Batch(list(tokens), [], [], [], None, torch.stack(ego_from_lidar), torch.stack(global_from_ego))
    metric.update_batch(detections, batch)


def same(flat, scores):
    wanted = {**scores.flat(), "samples": float(scores.num_samples)}
    assert flat.keys() == wanted.keys()
    assert str([flat[name] for name in wanted]) == str(list(wanted.values()))  # as text: NaN is not equal to itself


def test_batches_give_the_scores_of_the_result_file(root, samples, expected, tmp_path):
    metric = NuScenesDetectionMetric(root, VERSION, "val", tmp_path)
    metric.check_data()
    for start in range(0, len(samples), 3):
        update(metric, samples[start : start + 3])
    flat = metric.compute()
    same(flat, expected)
    same(flat, metric.detection_scores)
    undefined = {"AOE/traffic_cone", "AVE/traffic_cone", "AAE/traffic_cone", "AVE/barrier", "AAE/barrier"}
    assert set(metric.score_names) == set(flat) - undefined
    assert not metric.detection_scores.is_partial
    assert {path.name for path in tmp_path.iterdir()} == {
        "results_nusc.json",
        "metrics_summary.json",
        "metrics_details.json",
    }
    assert {"NDS", "mAP", "mATE", "mASE", "mAOE", "mAVE", "mAAE", "AP/car", "AP/car@0.5", "ATE/car"} <= set(flat)


def test_reset_forgets_and_repeated_samples_count_once(root, samples, expected, tmp_path):
    metric = NuScenesDetectionMetric(root, VERSION, "mini_val", tmp_path)
    update(metric, [("foreign", *samples[0][1:])])
    metric.reset()
    update(metric, samples)
    update(metric, samples[:3])
    same(metric.compute(), expected)


def test_two_ranks_equal_one_and_an_empty_rank_or_a_failure_stops_nobody(root, samples, expected, tmp_path):
    # Seven samples, an odd number: the ranks differ, and the evaluation is a partial one.
    ranks = run_ranks(detection_metric_of_rank, tmp_path, str(root), VERSION, [samples, samples[:7]], str(tmp_path))
    alone = NuScenesDetectionMetric(root, VERSION, "val", tmp_path)
    update(alone, samples[:7])
    alone.compute()
    for rank in ranks:
        for key in ("spread", "lopsided"):
            whole, part = rank[key]
            same(whole, expected)
            same(part, alone.detection_scores)
    assert "foreign0" in ranks[0]["failure"]
    assert "rank 0 could not score" in ranks[1]["failure"]


def test_partial_validation(root, samples, tmp_path, caplog):
    metric = NuScenesDetectionMetric(root, VERSION, "val", tmp_path)
    update(metric, samples[:3])
    with caplog.at_level(logging.WARNING):
        flat = metric.compute()
    assert "3 of 8 samples only" in caplog.text
    assert flat["samples"] == 3
    assert metric.detection_scores.is_partial
    assert 0.1 < flat["NDS"] < 0.9

    metric = NuScenesDetectionMetric(root, VERSION, "val", tmp_path / "skip", partial="skip")
    update(metric, samples[:3])
    assert metric.compute() == {}
    assert not (tmp_path / "skip").exists()

    metric = NuScenesDetectionMetric(root, VERSION, "val", tmp_path, partial="error")
    update(metric, samples[:3])
    with pytest.raises(ResultError, match="5 samples of the split are missing"):
        metric.compute()


def test_untrained_network_without_a_box_scores_zero(root, samples, tmp_path):
    metric = NuScenesDetectionMetric(root, VERSION, "val", tmp_path)
    update(metric, [(s[0], type(s[1])(*(part[:0] for part in s[1])), *s[2:]) for s in samples])
    flat = metric.compute()
    assert flat["NDS"] == flat["mAP"] == 0.0
    assert flat["mATE"] == flat["mAAE"] == 1.0
    assert json.loads((tmp_path / "metrics_summary.json").read_text())["nd_score"] == 0.0


def test_samples_of_another_split_are_named(root, samples, tmp_path):
    metric = NuScenesDetectionMetric(root, VERSION, "train", tmp_path)
    update(metric, samples)
    with pytest.raises(ResultError, match=rf"8 samples are not in the split.*{samples[0][0]}"):
        metric.compute()


def test_bad_settings(root, tmp_path):
    with pytest.raises(ConfigError, match="lorry"):
        NuScenesDetectionMetric(root, VERSION, "val", tmp_path, class_names=["car", "lorry"])
    with pytest.raises(ConfigError, match="partial=some"):
        NuScenesDetectionMetric(root, VERSION, "val", tmp_path, partial="some")
    with pytest.raises(DataError, match=r"v1\.0-mini"):
        NuScenesDetectionMetric(root, "v1.0-mini", "val", tmp_path).check_data()
    with pytest.raises(ConfigError, match="belongs to versions"):
        NuScenesDetectionMetric(root, VERSION, "test", tmp_path).check_data()


def test_tokens_travel_as_bytes():
    tokens = ["0" * 64, "ca9a282c9e77460f8360f564131a8af5", "Straße", ""]
    rows = encode_tokens(tokens)
    assert rows.shape == (4, 64)
    assert rows.dtype == torch.uint8
    assert decode_tokens(rows) == tokens
    with pytest.raises(DataError, match="65 bytes"):
        encode_tokens(["0" * 65])
