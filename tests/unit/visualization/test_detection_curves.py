import numpy as np
import pytest

from lidar_mt.metrics.detection_curves import Curve, average_precision, empty_curve
from lidar_mt.metrics.detection_protocol import DETECTION_NAMES, DISTANCES_M
from lidar_mt.visualization.detection_curves import draw_class_curves, draw_precision_recall
from lidar_mt.visualization.figure import save_figure, to_image_tensor


@pytest.fixture
def curves():
    recall = np.linspace(0, 1, 101)
    reached = recall < 0.705
    falling = np.where(reached, 1 - 0.5 * recall, 0.0)
    curve = Curve(recall, falling, falling, *[0.2 + 0.1 * i + 0.1 * recall for i in range(5)])
    return {(name, d): curve if name != "bus" else empty_curve() for name in DETECTION_NAMES for d in DISTANCES_M}


def test_lines_are_the_curves_and_the_legend_says_their_ap(curves):
    left, right = draw_class_curves(curves, "car").axes
    assert len(left.lines) == 4
    np.testing.assert_array_equal(left.lines[2].get_ydata(), curves["car", 2.0].precision)
    ap = 100 * average_precision(curves["car", 2.0])
    assert f"2 m   AP {ap:.1f} %" in [text.get_text() for text in left.get_legend().get_texts()]
    assert len(right.lines) == 5
    assert right.lines[0].get_xdata().max() == pytest.approx(0.7)  # errors end where the recall does


def test_undefined_errors_and_classes_without_a_match_have_no_line(curves):
    assert len(draw_class_curves(curves, "traffic_cone").axes[1].lines) == 2
    assert len(draw_class_curves(curves, "barrier").axes[1].lines) == 3
    right = draw_class_curves(curves, "bus").axes[1]
    assert not right.lines
    assert right.texts[0].get_text() == "no match"


def test_all_classes_in_one_picture(curves, tmp_path):
    figure = draw_precision_recall(curves, 0.5)
    assert len(figure.axes[0].lines) == 10
    assert to_image_tensor(figure).float().std() > 5
    save_figure(figure, tmp_path / "all.png")
    assert (tmp_path / "all.png").stat().st_size > 10_000
