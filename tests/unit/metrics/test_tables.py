import io
import json
import math

import pytest
from rich.console import Console

from lidar_mt.metrics.detection_protocol import TP_ERRORS
from lidar_mt.metrics.detection_scores import DetectionScores
from lidar_mt.metrics.tables import print_scores, write_metrics

NAN = math.nan


@pytest.fixture
def scores():
    errors = dict.fromkeys(TP_ERRORS, 0.25)
    return DetectionScores(
        nds=0.4567,
        mean_ap=0.3456,
        tp_errors={"mATE": 0.111, "mASE": 0.222, "mAOE": 0.333, "mAVE": 0.444, "mAAE": 0.555},
        class_ap={"car": 0.8, "traffic_cone": 0.6, "trailer": 0.0},
        class_distance_ap={name: {0.5: 0.7, 1.0: 0.8, 2.0: 0.85, 4.0: 0.86} for name in ("car", "traffic_cone")}
        | {"trailer": dict.fromkeys((0.5, 1.0, 2.0, 4.0), 0.0)},
        class_tp_errors={
            "car": errors,
            "traffic_cone": errors | {"mAOE": NAN, "mAVE": NAN, "mAAE": NAN},
            "trailer": dict.fromkeys(TP_ERRORS, 1.0),
        },
        num_ground_truth={"car": 12, "traffic_cone": 3, "trailer": 0},
        num_samples=7,
        version="v1.0-mini",
        eval_set="mini_val",
        is_partial=False,
    )


def printed(*args):
    # Eighty columns without colours: what a log file gets.
    console = Console(file=io.StringIO(), width=80)
    print_scores(*args, console=console)
    return console.file.getvalue()


def rows(text, name):
    return [line.split() for line in text.splitlines() if line.strip().startswith(name)]


def test_tables_have_units_and_nothing_is_cut_at_80_columns(scores):
    text = printed(scores, {"mIoU": 0.9, "IoU/driveable_surface": 0.8765, "IoU/others": NAN, "mean_accuracy": 0.7})
    assert "…" not in text
    assert "v1.0-mini mini_val, 7 samples" in text
    assert rows(text, "45.7") == [["45.7", "34.6", "0.111", "0.222", "0.333", "0.444", "0.555"]]
    assert rows(text, "%") == [["%", "%", "m", "1-IoU", "rad", "m/s", "1-acc"]]
    assert rows(text, "car") == [["car", "12", "80.0", "70.0", "80.0", "85.0", "86.0"], ["car", *["0.250"] * 5]]
    assert rows(text, "90.0") == [["90.0", "87.6", "-", "70.0"]]


def test_undefined_and_absent_are_dashes(scores):
    text = printed(scores, None)
    assert rows(text, "traffic_cone")[1] == ["traffic_cone", "0.250", "0.250", "-", "-", "-"]
    assert rows(text, "trailer") == [["trailer", "0", *["-"] * 5], ["trailer", *["-"] * 5]]
    assert "counts as AP 0 and error 1" in " ".join(text.split())
    assert "segmentation" not in text


def test_partial_scores_say_so(scores):
    text = printed(DetectionScores(**{**vars(scores), "is_partial": True}), None)
    assert "PART of the split" in " ".join(text.split())


def test_metrics_file_is_strict_json_with_null_for_undefined(scores, tmp_path):
    path = write_metrics(tmp_path / "metrics.json", scores, {"mIoU": 0.5, "IoU/others": NAN})

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    content = json.loads(path.read_text(), parse_constant=refuse)
    assert content["detection"]["nds"] == 0.4567
    assert content["detection"]["class_distance_ap"]["car"]["0.5"] == 0.7
    assert content["detection"]["class_tp_errors"]["traffic_cone"]["mAVE"] is None
    assert content["segmentation"] == {"mIoU": 0.5, "IoU/others": None}
    assert json.loads(write_metrics(tmp_path / "none.json", None, None).read_text()) == {}


def test_a_task_without_a_table_is_printed_and_written_as_it_is(tmp_path):
    console = Console(file=io.StringIO(), width=80)
    print_scores(None, None, console, {"flow": {"end_point_error": 1.23456, "outliers": NAN}})
    lines = [line.split() for line in console.file.getvalue().splitlines() if line.strip()]
    assert lines[0] == ["flow"]
    assert lines[1] == ["end", "point", "error", "outliers"]
    assert lines[-1] == ["1.235", "-"]
    path = write_metrics(tmp_path / "metrics.json", None, None, {"flow": {"end_point_error": 1.5, "outliers": NAN}})
    assert json.loads(path.read_text()) == {"flow": {"end_point_error": 1.5, "outliers": None}}
