from __future__ import annotations

import json

from lidar_mt.deploy.board_report import (
    BoardReport,
    CpuOperator,
    Layer,
    bound_rows,
    decode_report,
    describe_report,
    encode_report,
    slowest_rows,
    total_rows,
)
from lidar_mt.deploy.devices import DEVICES, bound
from lidar_mt.deploy.graph_cost import GraphCost

COST = GraphCost({"slow": 10**9, "fast": 10**6}, 10**6, 10**6)


def report(*ms: float, left: tuple[CpuOperator, ...] = ()) -> BoardReport:
    layers = tuple(Layer(f"layer{i}", "Conv2D", "npu", value, 10**6, mac_use=0.5) for i, value in enumerate(ms))
    bounds = tuple(bound(device, COST) for device in DEVICES.values())
    totals = {"DRAM_traffic_MB": 1234.5, "cycles": 1e6}
    return BoardReport("t", "estimate", {"clock": "1 GHz"}, sum(ms), 10**9, totals, layers, left, bounds, ("x",))


def test_json_and_back() -> None:
    one = report(1.0, 2.0, left=(CpuOperator("Conv2D", "out", "no floats"),))
    assert decode_report(encode_report(one)) == one
    assert json.loads(encode_report(one))["nature"] == "estimate"


def test_a_layer_above_a_third_is_flagged() -> None:
    assert [layer.name for layer in report(3.1, 2.0, 2.0, 2.0).flagged()] == ["layer0"]
    assert [layer.name for layer in report(3.0, 3.0, 2.0, 2.0).flagged()] == []
    assert report(0.0).flagged() == []
    assert "! layer0 alone takes 34% of the time" in describe_report(report(3.1, 2.0, 2.0, 2.0))


def test_the_text_says_what_is_a_bound_and_what_was_left_over() -> None:
    text = describe_report(report(1.0, 2.0, left=(CpuOperator("Conv2D", "out", "no floats"),)))
    assert "target t: 3.00 ms a frame (estimate), 1.00 GMAC" in text
    assert "none of these is a measurement" in text
    assert all(device.title in text and device.source in text for device in DEVICES.values())
    assert "operators left to the processor: 1\n  Conv2D out: no floats" in text
    assert "DRAM traffic MB: 1,234" in text
    assert "operators left to the processor: none" in describe_report(report(1.0))


def test_rows_for_a_page() -> None:
    one = report(1.0, 6.0, 2.0, left=(CpuOperator("Conv2D", "out", "no floats"),))
    assert dict(total_rows(one)) == {
        "clock": "1 GHz",
        "DRAM traffic MB": "1,234",
        "cycles": "1,000,000",
        "operators left to the processor": "Conv2D out: no floats",
    }
    slowest = slowest_rows(one, 2)
    assert [row[:4] for row in slowest] == [
        ("layer1 !", "Conv2D", "6.000", "66.7%"),
        ("layer2", "Conv2D", "2.000", "22.2%"),
    ]
    assert slowest[0][6] == "50%"
    text = describe_report(one)
    for title, *times in bound_rows(one):
        (line,) = (line for line in text.splitlines() if line.startswith(f"  {title} "))
        assert line.split()[-2:] == times[-1].split()
        assert times[1] in line
