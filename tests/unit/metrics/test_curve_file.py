from __future__ import annotations

import json

import numpy as np
import pytest
from nuscenes.eval.detection.data_classes import DetectionMetricData, DetectionMetricDataList

from lidar_mt.metrics.curve_file import read_curves
from lidar_mt.structures.errors import DataError


def test_reads_what_the_devkit_writes(tmp_path):
    np.random.seed(0)  # noqa: NPY002
    written = DetectionMetricDataList()
    written.set("car", 0.5, DetectionMetricData.random_md())
    written.set("traffic_cone", 4.0, DetectionMetricData.no_predictions())
    path = tmp_path / "metrics_details.json"
    path.write_text(json.dumps(written.serialize()))
    curves = read_curves(path)
    assert set(curves) == {("car", 0.5), ("traffic_cone", 4.0)}
    for key, curve in curves.items():
        for name in ("recall", "precision", "confidence"):
            np.testing.assert_array_equal(getattr(curve, name), getattr(written[key], name))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no curves"),
        ("[]", "expected recall"),
        ("{", "expected recall"),
        ('{"car:1": {"recall": []}}', "precision"),
    ],
)
def test_names_a_file_of_another_form(tmp_path, content, words):
    path = tmp_path / "metrics_details.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=words) as caught:
        read_curves(path)
    assert str(path) in str(caught.value)
