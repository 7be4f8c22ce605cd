from __future__ import annotations

import pytest

from lidar_mt import calops
from lidar_mt.config import compose, instantiate
from lidar_mt.deploy.devices import DEVICES, bound
from lidar_mt.deploy.graph_cost import GraphCost, graph_cost, step_of
from tests.helpers.artefacts import exported
from tests.helpers.networks import COARSE


def test_the_macs_are_those_that_torch_counts() -> None:
    one = exported("u8", "pow2")
    cost = graph_cost(one.graph, one.signature)
    parts = calops.count_operations(instantiate(compose("calops", [COARSE]).model.net), 20, 240)
    counted = {part.name: part.macs for part in parts if not part.name.startswith("encoder")}
    for name, macs in counted.items():
        own = sum(value for step, value in cost.macs.items() if step.startswith(f"{name}."))
        assert own == macs, name
    assert cost.total_macs == sum(counted.values()) > 0
    results = 4 * sum(spec.shape[1] * spec.shape[2] * spec.shape[3] for spec in one.signature.outputs)
    assert cost.border_bytes == 64 * 64 * 64 + results


def test_a_bound_is_the_slower_of_both() -> None:
    cost = GraphCost({"a": 2 * 10**12, "b": 48 * 10**9}, weight_bytes=10**9, border_bytes=2 * 10**9)
    one = bound(DEVICES["ethos_u85_2048"], cost)
    assert one.compute_ms == pytest.approx(1000.0)
    assert one.memory_ms == pytest.approx(125.0)
    assert one.least_ms == one.compute_ms
    unknown = bound(DEVICES["horizon_j5"], cost)
    assert unknown.memory_ms is None
    assert unknown.least_ms == pytest.approx(32.0)


def test_every_device_has_a_source() -> None:
    assert all(len(device.source) > 20 and device.tera_macs > 0 for device in DEVICES.values())


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("a.conv", "a.conv"),
        ("a.conv_act", "a.conv"),
        ("a.conv:real/Conv/WithoutBiases", "a.conv"),
        ("out.0", "a.conv"),
        ("out.0/Conv", "a.conv"),
        ("a.conv:more", "a.conv:more"),
        ("a.convolution", None),
        ("other", None),
    ],
)
def test_operators_find_their_steps(name: str, step: str | None) -> None:
    assert step_of(name, ["a", "a.conv", "a.conv:more"], {"out.0": "a.conv"}) == step
