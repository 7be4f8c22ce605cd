"""Result files scored through our functions and directly through the devkit, on made-up and on real tables."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.detection.evaluate import DetectionEval

from lidar_mt.metrics.ground_truth import load_tables, resolve_eval_set, split_tokens
from lidar_mt.metrics.nuscenes_evaluation import evaluate_part, evaluate_results
from lidar_mt.metrics.nuscenes_results import boxes_to_results, write_results
from lidar_mt.structures.errors import DataError, ResultError
from tests.helpers.nuscenes_detections import annotations_as_detections, perturb, poses
from tests.helpers.tiny_nuscenes import write_tiny_nuscenes

TINY = "v1.0-tiny-mini"
SETS = [
    TINY,
    pytest.param("v1.0-mini", marks=pytest.mark.nuscenes),
    pytest.param("v1.0-complete-mini", marks=pytest.mark.nuscenes),
]


@pytest.fixture(scope="module", params=SETS)
def data(request, tmp_path_factory):
    """Root folder, version and loaded tables of a data set."""
    if request.param == TINY:
        root = write_tiny_nuscenes(tmp_path_factory.mktemp("nuscenes"))
    elif "LIDAR_MT_NUSCENES" in os.environ:
        root = Path(os.environ["LIDAR_MT_NUSCENES"])
    else:
        pytest.skip("no real frames; set LIDAR_MT_NUSCENES")
    if not (root / request.param).is_dir():
        pytest.skip(f"no {request.param} under LIDAR_MT_NUSCENES")
    return root, request.param, load_tables(root, request.param)


def results_of(tables, change=lambda detections: detections, split="mini_val"):
    results = {}
    for token in split_tokens(tables, split):
        ego_from_lidar, global_from_ego = poses(tables, token)
        detections = change(annotations_as_detections(tables, token))
        results[token] = boxes_to_results(token, detections, global_from_ego @ ego_from_lidar)
    return results


@pytest.fixture(scope="module")
def perturbed(data):
    generator = torch.Generator().manual_seed(0)
    return results_of(data[2], lambda detections: perturb(detections, generator))


def test_ground_truth_as_result_reaches_the_maximum(data, tmp_path):
    root, version, tables = data
    file = write_results(tmp_path / "results.json", results_of(tables))
    scores = evaluate_results(file, root, version, "val", tmp_path / "out")
    present = [name for name, count in scores.num_ground_truth.items() if count]
    assert present
    # Every class with ground truth is perfect; the others count as 0, and their errors as 1.
    assert scores.mean_ap == pytest.approx(len(present) / 10, abs=2e-3)
    for name, ap in scores.class_ap.items():
        assert ap == pytest.approx(float(name in present), abs=0.02)
    for name in present:
        errors = scores.class_tp_errors[name]
        assert errors["mATE"] < 1e-3
        assert errors["mASE"] < 1e-5
        assert not errors["mAOE"] > 2e-3
        assert not errors["mAVE"] > 0.05
    assert scores.num_samples == len(split_tokens(tables, "mini_val"))


def test_perturbed_result_scores_as_the_devkits_own_program_says(data, perturbed, tmp_path):
    root, version, _ = data
    file = write_results(tmp_path / "results.json", perturbed)
    scores = evaluate_results(file, root, version, resolve_eval_set(version, "val"), tmp_path / "ours")
    command = [sys.executable, "-m", "nuscenes.eval.detection.evaluate", str(file), "--eval_set", "mini_val"]
    command += ["--dataroot", str(root), "--version", version, "--output_dir", str(tmp_path / "theirs")]
    command += ["--plot_examples", "0", "--render_curves", "0", "--verbose", "0"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    theirs, ours = (json.loads((tmp_path / who / "metrics_summary.json").read_text()) for who in ("theirs", "ours"))
    theirs.pop("eval_time"), ours.pop("eval_time")
    assert json.dumps(ours) == json.dumps(theirs)  # as text, because NaN is not equal to itself
    details = [(tmp_path / who / "metrics_details.json").read_bytes() for who in ("theirs", "ours")]
    assert details[0] == details[1]
    assert (scores.nds, scores.mean_ap) == (theirs["nd_score"], theirs["mean_ap"])
    assert list(scores.tp_errors.values()) == list(theirs["tp_errors"].values())
    assert scores.class_ap == theirs["mean_dist_aps"]
    for name, by_distance in scores.class_distance_ap.items():
        assert {str(distance): ap for distance, ap in by_distance.items()} == theirs["label_aps"][name]
        assert str(list(scores.class_tp_errors[name].values())) == str(list(theirs["label_tp_errors"][name].values()))
    assert 0.05 < scores.mean_ap < 0.95


def test_nothing_is_printed(data, perturbed, tmp_path, capfd):
    file = write_results(tmp_path / "results.json", perturbed)
    evaluate_results(file, data[0], data[1], "val", tmp_path / "out", tables=data[2])
    assert capfd.readouterr() == ("", "")


def test_part_of_a_split_scores_as_a_split_of_its_own(tmp_path):
    root = write_tiny_nuscenes(tmp_path)
    (root / TINY / "splits.json").write_text(json.dumps({"one_scene": ["scene-0916"]}))
    tables = load_tables(root, TINY)
    generator = torch.Generator().manual_seed(1)
    results = results_of(tables, lambda detections: perturb(detections, generator), "one_scene")
    file = write_results(tmp_path / "results.json", results)
    part = evaluate_part(file, tables, "mini_val", tmp_path / "part")
    config = config_factory("detection_cvpr_2019")
    official = DetectionEval(tables, config, str(file), "one_scene", str(tmp_path / "official"), verbose=False)
    summary = official.main(render_curves=False)
    assert part.is_partial
    assert part.num_samples == 4
    assert (part.nds, part.mean_ap) == (summary["nd_score"], summary["mean_ap"])
    assert list(part.tp_errors.values()) == list(summary["tp_errors"].values())
    # A custom split of the version's own splits.json goes the official way as a whole.
    whole = evaluate_results(file, root, TINY, "one_scene", tmp_path / "custom")
    assert (whole.nds, whole.is_partial) == (part.nds, False)


def test_split_without_ground_truth_scores_zero(tmp_path):
    root = write_tiny_nuscenes(tmp_path)
    results = results_of(load_tables(root, TINY))
    for table in ("sample_annotation", "instance"):
        (root / TINY / f"{table}.json").write_text("[]")
    file = write_results(tmp_path / "results.json", results)
    scores = evaluate_results(file, root, TINY, "val", tmp_path / "out")
    assert (scores.nds, scores.mean_ap) == (0.0, 0.0)
    assert set(scores.num_ground_truth.values()) == {0}


def test_bad_files_and_folders_are_named(data, perturbed, tmp_path):
    root, version, tables = data
    first, *rest = perturbed
    missing = write_results(tmp_path / "missing.json", {token: perturbed[token] for token in rest})
    with pytest.raises(ResultError, match=f"missing.json(.|\n)*1 samples of the split are missing.*'{first}'"):
        evaluate_results(missing, root, version, "val", tmp_path / "out", tables=tables)
    foreign = write_results(tmp_path / "foreign.json", {**perturbed, "nobody": []})
    with pytest.raises(ResultError, match=r"1 samples are not in the split.*'nobody'"):
        evaluate_results(foreign, root, version, "val", tmp_path / "out", tables=tables)
    with pytest.raises(ResultError, match="holds no sample"):
        evaluate_part(write_results(tmp_path / "none.json", {}), tables, "val", tmp_path / "out")
    sound = write_results(tmp_path / "sound.json", perturbed)
    with pytest.raises(DataError, match=r"sound\.json/out"):
        evaluate_results(sound, root, version, "val", sound / "out", tables=tables)


@pytest.mark.slow
def test_plots_are_the_evaluators_own(tmp_path):
    root = write_tiny_nuscenes(tmp_path)
    file = write_results(tmp_path / "results.json", results_of(load_tables(root, TINY)))
    evaluate_results(file, root, TINY, "val", tmp_path / "out", plots=True)
    assert (tmp_path / "out" / "plots" / "summary.pdf").stat().st_size > 1000
