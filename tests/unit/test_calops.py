from __future__ import annotations

import sys

import pytest

from lidar_mt import calops
from lidar_mt.config import compose, instantiate

#: Parameters and GMAC of each part of the reference network, in graph order.
REFERENCE = {
    "encoder": (448, 0.256),
    "backbone.stem": (37_056, 2.416),
    "backbone.levels.level1": (82_496, 5.369),
    "backbone.levels.level2": (498_688, 8.120),
    "backbone.levels.level3": (498_688, 2.030),
    "backbone.levels.level4": (319_488, 0.321),
    "backbone.levels.level5": (272_704, 0.069),
    "neck.fusions.level4": (194_944, 0.197),
    "neck.fusions.level3": (156_160, 0.629),
    "neck.fusions.level2": (156_160, 2.517),
    "heads.segmentation": (15_106, 0.232),
    "heads.detection.shared": (9_664, 0.153),
    "heads.detection.groups.0": (35_905, 0.563),
    "heads.detection.groups.1": (36_482, 0.573),
    "heads.detection.groups.2": (36_482, 0.573),
    "heads.detection.groups.3": (35_905, 0.563),
    "heads.detection.groups.4": (36_482, 0.573),
    "heads.detection.groups.5": (36_482, 0.573),
}


def test_every_part_of_the_reference_network() -> None:
    net = instantiate(compose("calops").model.net)
    costs = calops.count_operations(net, points_per_pillar=20, max_pillars=40000)
    assert {cost.name: (cost.parameters, round(cost.macs / 1e9, 3)) for cost in costs} == REFERENCE
    assert [cost.name for cost in costs] == list(REFERENCE)
    assert sum(cost.parameters for cost in costs) == sum(p.numel() for p in net.parameters()) == 2_459_340
    assert round(sum(cost.macs for cost in costs) / 1e9, 2) == 25.72
    assert next(net.parameters()).device.type == "cpu"


def test_a_quarter_of_the_cells_costs_a_quarter() -> None:
    costs = [
        calops.count_operations(instantiate(compose("calops", [f"grid={grid}"]).model.net), 20, 40000)[1:]
        for grid in ("default", "small")
    ]
    assert [cost.macs for cost in costs[0]] == [4 * cost.macs for cost in costs[1]]


def test_the_program_prints_the_totals(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["calops", "model=segmentation"])
    calops.main()
    printed = capsys.readouterr().out
    assert "heads.segmentation" in printed
    assert "heads.detection" not in printed
    assert f"{2_459_340 - 9_664 - 2 * 35_905 - 4 * 36_482:,}" in printed
