"""Result files scored by our evaluator, by the devkit's through our functions, and by the devkit's own program."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.detection.data_classes import DetectionMetricDataList, DetectionMetrics
from nuscenes.eval.detection.evaluate import DetectionEval

from lidar_mt.data.simulation import Plan, write_dataset
from lidar_mt.metrics import devkit_evaluation as devkit
from lidar_mt.metrics import nuscenes_evaluation as ours
from lidar_mt.metrics.detection_protocol import ATTRIBUTE_NAMES, DETECTION_NAMES
from lidar_mt.metrics.devkit_tables import load_tables, split_tokens
from lidar_mt.metrics.nuscenes_results import boxes_to_results, write_results
from lidar_mt.metrics.nuscenes_truth import load_truth
from lidar_mt.structures.classes import detection_name
from lidar_mt.structures.errors import DataError, ResultError
from tests.helpers.devkit_scores import assert_same_files
from tests.helpers.nuscenes_detections import annotations_as_detections, perturb, poses
from tests.helpers.tiny_nuscenes import write_tiny_nuscenes

TINY, SIMULATED = "v1.0-tiny-mini", "v1.0-simulated-mini"
SETS = [
    TINY,
    SIMULATED,
    pytest.param("v1.0-mini", marks=pytest.mark.nuscenes),
    pytest.param("v1.0-complete-mini", marks=pytest.mark.nuscenes),
]


@pytest.fixture(scope="module", params=SETS)
def data(request, tmp_path_factory):
    """Root folder, version and loaded tables of a data set."""
    if request.param == TINY:
        root = write_tiny_nuscenes(tmp_path_factory.mktemp("nuscenes"))
    elif request.param == SIMULATED:
        root = tmp_path_factory.mktemp("simulated") / "nuscenes"
        write_dataset(root, Plan(SIMULATED, ("scene-0103",), keyframes=5, sweeps=1, seed=3), workers=1)
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


def evaluate_part(evaluator, file, tables, out):
    if evaluator is devkit:
        return devkit.evaluate_part(file, tables, "mini_val", out)
    return ours.evaluate_part(file, load_truth(tables.dataroot, tables.version, "mini_val"), out)


EVALUATORS = pytest.mark.parametrize("evaluator", [ours, devkit], ids=["ours", "devkit"])


@EVALUATORS
def test_ground_truth_as_result_reaches_the_maximum(evaluator, data, tmp_path):
    root, version, tables = data
    file = write_results(tmp_path / "results.json", results_of(tables))
    scores = evaluator.evaluate_results(file, root, version, "val", tmp_path / "out")
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
    root, version, tables = data
    file = write_results(tmp_path / "results.json", perturbed)
    scores = devkit.evaluate_results(file, root, version, "val", tmp_path / "devkit", tables=tables)
    fast = ours.evaluate_results(file, root, version, "val", tmp_path / "ours")
    command = [sys.executable, "-m", "nuscenes.eval.detection.evaluate", str(file), "--eval_set", "mini_val"]
    command += ["--dataroot", str(root), "--version", version, "--output_dir", str(tmp_path / "theirs")]
    command += ["--plot_examples", "0", "--render_curves", "0", "--verbose", "0"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    # Ours to 1e-9 in every number of both files; the devkit called by our functions to the last letter.
    assert_same_files(tmp_path / "ours", tmp_path / "theirs")
    theirs, through = (
        json.loads((tmp_path / who / "metrics_summary.json").read_text()) for who in ("theirs", "devkit")
    )
    theirs.pop("eval_time"), through.pop("eval_time")
    assert json.dumps(through) == json.dumps(theirs)  # as text, because NaN is not equal to itself
    details = [(tmp_path / who / "metrics_details.json").read_bytes() for who in ("theirs", "devkit")]
    assert details[0] == details[1]
    assert (scores.nds, scores.mean_ap) == (theirs["nd_score"], theirs["mean_ap"])
    assert list(scores.tp_errors.values()) == list(theirs["tp_errors"].values())
    assert scores.class_ap == theirs["mean_dist_aps"]
    for name, by_distance in scores.class_distance_ap.items():
        assert {str(distance): ap for distance, ap in by_distance.items()} == theirs["label_aps"][name]
        assert str(list(scores.class_tp_errors[name].values())) == str(list(theirs["label_tp_errors"][name].values()))
    assert fast.flat() == pytest.approx(scores.flat(), abs=1e-9, rel=0, nan_ok=True)
    assert fast.num_ground_truth == scores.num_ground_truth
    assert 0.05 < scores.mean_ap < 0.95


def test_the_devkits_classes_read_our_files(data, perturbed, tmp_path):
    root, version, _ = data
    file = write_results(tmp_path / "results.json", perturbed)
    scores = ours.evaluate_results(file, root, version, "val", tmp_path / "out")
    metrics = DetectionMetrics.deserialize(json.loads((tmp_path / "out/metrics_summary.json").read_text()))
    assert (metrics.nd_score, metrics.mean_ap) == pytest.approx((scores.nds, scores.mean_ap), abs=1e-15)
    assert metrics.cfg == config_factory("detection_cvpr_2019")
    text = (tmp_path / "out/metrics_details.json").read_text()
    curves = DetectionMetricDataList.deserialize(json.loads(text))
    assert len(curves.md) == 40
    assert json.dumps(curves.serialize(), indent=2) == text


@EVALUATORS
def test_nothing_is_printed(evaluator, data, perturbed, tmp_path, capfd):
    file = write_results(tmp_path / "results.json", perturbed)
    evaluator.evaluate_results(file, data[0], data[1], "val", tmp_path / "out")
    assert capfd.readouterr() == ("", "")


def test_part_of_a_split_scores_as_a_split_of_its_own(tmp_path):
    root = write_tiny_nuscenes(tmp_path)
    (root / TINY / "splits.json").write_text(json.dumps({"one_scene": ["scene-0916"]}))
    tables = load_tables(root, TINY)
    generator = torch.Generator().manual_seed(1)
    results = results_of(tables, lambda detections: perturb(detections, generator), "one_scene")
    for boxes in results.values():
        for box in boxes:
            box["detection_score"] = round(box["detection_score"], 1)  # so that the order of the samples matters
    file = write_results(tmp_path / "results.json", dict(reversed(results.items())))
    config = config_factory("detection_cvpr_2019")
    official = DetectionEval(tables, config, str(file), "one_scene", str(tmp_path / "official"), verbose=False)
    summary = official.main(render_curves=False)
    for evaluator in (ours, devkit):
        out = tmp_path / evaluator.__name__
        part = evaluate_part(evaluator, file, tables, out)
        assert part.is_partial
        assert part.num_samples == 4
        assert_same_files(out, tmp_path / "official")
        # A custom split of the version's own splits.json goes the official way as a whole.
        whole = evaluator.evaluate_results(file, root, TINY, "one_scene", tmp_path / "custom")
        assert (whole.nds, whole.is_partial) == (part.nds, False)
        assert_same_files(tmp_path / "custom", tmp_path / "official")
        assert part.nds == pytest.approx(summary["nd_score"], abs=1e-9)


@EVALUATORS
def test_split_without_ground_truth_scores_zero(evaluator, tmp_path):
    root = write_tiny_nuscenes(tmp_path)
    results = results_of(load_tables(root, TINY))
    for table in ("sample_annotation", "instance"):
        (root / TINY / f"{table}.json").write_text("[]")
    file = write_results(tmp_path / "results.json", results)
    scores = evaluator.evaluate_results(file, root, TINY, "val", tmp_path / "out")
    assert (scores.nds, scores.mean_ap) == (0.0, 0.0)
    assert set(scores.num_ground_truth.values()) == {0}


@EVALUATORS
def test_bad_files_and_folders_are_named(evaluator, data, perturbed, tmp_path):
    root, version, tables = data
    first, *rest = perturbed
    missing = write_results(tmp_path / "missing.json", {token: perturbed[token] for token in rest})
    with pytest.raises(ResultError, match=f"missing.json(.|\n)*1 samples of the split are missing.*'{first}'"):
        evaluator.evaluate_results(missing, root, version, "val", tmp_path / "out")
    foreign = write_results(tmp_path / "foreign.json", {**perturbed, "nobody": []})
    with pytest.raises(ResultError, match=r"1 samples are not in the split.*'nobody'"):
        evaluator.evaluate_results(foreign, root, version, "val", tmp_path / "out")
    none = write_results(tmp_path / "none.json", {})
    with pytest.raises(ResultError, match="holds no sample"):
        evaluate_part(evaluator, none, tables, tmp_path / "out")
    many = dict(perturbed)
    many[first] = [many[rest[0]][0] | {"sample_token": first}] * 501
    with pytest.raises(ResultError, match=r"1 samples have more than 500 boxes"):
        evaluator.evaluate_results(write_results(tmp_path / "many.json", many), root, version, "val", tmp_path / "out")
    sound = write_results(tmp_path / "sound.json", perturbed)
    with pytest.raises(DataError, match=r"sound\.json/out"):
        evaluator.evaluate_results(sound, root, version, "val", sound / "out")


@pytest.mark.slow
def test_plots_are_the_evaluators_own(tmp_path):
    root = write_tiny_nuscenes(tmp_path)
    file = write_results(tmp_path / "results.json", results_of(load_tables(root, TINY)))
    devkit.evaluate_results(file, root, TINY, "val", tmp_path / "out", plots=True)
    assert (tmp_path / "out" / "plots" / "summary.pdf").stat().st_size > 1000


@pytest.mark.parametrize("seed", range(3))
def test_made_up_sets_with_racks_ranges_ties_and_repeats_score_as_the_devkit_says(seed, tmp_path):
    """Many boxes where it is narrow: in racks, at the ends of the ranges, several at one place, with few scores."""
    root = write_tiny_nuscenes(tmp_path, keyframes=2, seed=seed)
    tables = load_tables(root, TINY)
    rng = np.random.default_rng(seed)
    results = {token: jumbled_boxes(tables, token, rng) for token in rng.permutation(split_tokens(tables, "mini_val"))}
    file = write_results(tmp_path / "results.json", results)
    official = DetectionEval(
        tables, config_factory("detection_cvpr_2019"), str(file), "mini_val", str(tmp_path / "official"), verbose=False
    )
    official.main(render_curves=False)
    scores = ours.evaluate_results(file, root, TINY, "val", tmp_path / "ours")
    assert_same_files(tmp_path / "ours", tmp_path / "official")
    counts = Counter(box.detection_name for box in official.gt_boxes.all)
    assert scores.num_ground_truth == {name: counts[name] for name in scores.num_ground_truth}
    assert 0.05 < scores.mean_ap < 0.95


def jumbled_boxes(tables, token, rng):
    """Predictions around every annotation, whatever its class, and around the ranges of the classes."""
    origin = np.array(tables.get("ego_pose", token)["translation"])
    rows = [tables.get("sample_annotation", token) for token in tables.get("sample", token)["anns"]]
    places = [(row["translation"], row["size"], row["rotation"], row["category_name"]) for row in rows]
    for class_range in (30, 40, 50):
        for angle in rng.uniform(0, 2 * np.pi, 6):
            reach = class_range * rng.choice([0.999999, 1.0, 1.000001])
            place = origin + np.array([reach * np.cos(angle), reach * np.sin(angle), 1.0])
            places.append((place.tolist(), [1.0, 2.0, 1.0], [1.0, 0.0, 0.0, 0.0], "vehicle.car"))
    boxes = []
    for center, size, rotation, category in places:
        own_name = detection_name(category) or "bicycle"  # many bicycles in racks
        for _ in range(int(rng.integers(1, 5))):
            shift = rng.choice([0.0, 0.5, 1.0, 2.0], 3) * rng.choice([0, 1], 3)
            name = own_name if rng.random() < 0.8 else str(rng.choice(DETECTION_NAMES))
            boxes.append(
                {
                    "sample_token": token,
                    "translation": (np.array(center) + shift).tolist(),
                    "size": size,
                    "rotation": (np.array(rotation) * rng.choice([0.5, 1.0, -2.0])).tolist(),
                    "velocity": rng.normal(size=2).tolist(),
                    "detection_name": name,
                    "detection_score": float(rng.integers(0, 8)) / 8,
                    "attribute_name": str(rng.choice(["", *ATTRIBUTE_NAMES])),
                    **({"num_pts": int(rng.integers(0, 3))} if rng.random() < 0.2 else {}),
                }
            )
    return boxes
