from __future__ import annotations

import json

from lidar_mt.deploy.board_report import BoardReport, CpuOperator, Layer, decode_report, encode_report
from lidar_mt.deploy.devices import DEVICES, bound
from lidar_mt.deploy.graph_cost import GraphCost

COST = GraphCost({"slow": 10**9, "fast": 10**6}, 10**6, 10**6)
LEFT = CpuOperator("Conv2D", "out", "no floats")


def report(*ms: float, left: tuple[CpuOperator, ...] | None = ()) -> BoardReport:
    """Layers of 1 MMAC each, of a network of 1 GMAC."""
    layers = tuple(Layer(f"layer{i}", "Conv2D", "npu", value, 10**6, mac_use=0.5) for i, value in enumerate(ms))
    bounds = tuple(bound(device, COST) for device in DEVICES.values())
    totals = {"DRAM_traffic_MB": 1234.5, "cycles": 1e6}
    return BoardReport("t", "estimate", {"clock": "1 GHz"}, sum(ms), 10**9, totals, layers, left, bounds, ("x",))


def test_json_and_back() -> None:
    for left in ((LEFT,), (), None):
        one = report(1.0, 2.0, left=left)
        assert decode_report(encode_report(one)) == one
    assert json.loads(encode_report(one))["nature"] == "estimate"


def test_a_report_that_names_no_artefact_is_read() -> None:
    content = json.loads(encode_report(report(1.0)))
    del content["source"], content["source_name"]
    assert decode_report(json.dumps(content).encode()) == report(1.0)


def test_a_layer_above_a_third_is_flagged() -> None:
    assert [layer.name for layer in report(3.1, 2.0, 2.0, 2.0).flagged()] == ["layer0"]
    assert [layer.name for layer in report(3.0, 3.0, 2.0, 2.0).flagged()] == []
    assert report(0.0).flagged() == []
