"""How TensorBoard is arranged, and that its pictures do not fill a disk."""

from __future__ import annotations

import math

import pytest

from lidar_mt.engine.board import chart_layout, is_pictured


def test_every_early_validation_is_pictured_and_their_number_grows_with_the_logarithm():
    assert all(is_pictured(n) for n in range(17))
    for count in (32, 100, 1000, 20_000):
        pictured = [n for n in range(count) if is_pictured(n)]
        assert len(pictured) <= 16 + 8 * math.ceil(math.log2(count / 16)) + 1
        # And the last one shown is never long ago.
        assert count - pictured[-1] <= count / 8


@pytest.mark.parametrize(
    ("tasks", "absent"),
    [(["segmentation", "detection"], ()), (["detection"], ("IoU",)), (["segmentation"], ("NDS", "heatmap", "box"))],
)
def test_charts_are_of_the_tasks_that_are_trained(tasks, absent):
    layout = chart_layout(tasks)
    text = str(layout)
    assert "train/loss" in text
    assert not any(word in text for word in absent)
    assert all(kind == "Multiline" and tags for charts in layout.values() for kind, tags in charts.values())
