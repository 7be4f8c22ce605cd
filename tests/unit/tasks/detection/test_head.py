from __future__ import annotations

import torch
from torch import nn

from lidar_mt.structures.outputs import GroupOutput
from lidar_mt.tasks.detection.head import DetectionHead

GROUPS = (("car",), ("truck", "construction_vehicle"))


def test_sizes_of_the_reference_head() -> None:
    head = DetectionHead(128, GROUPS)
    assert sum(p.numel() for p in head.shared.parameters()) == 9_664
    assert [sum(p.numel() for p in group.parameters()) for group in head.groups] == [35_905, 36_482]
    assert {(m.eps, m.momentum) for m in head.modules() if isinstance(m, nn.BatchNorm2d)} == {(1e-5, 0.1)}


def test_maps_per_group() -> None:
    with torch.no_grad():
        output = DetectionHead(16, GROUPS).eval()(torch.zeros(2, 16, 8, 12))
    assert [tuple(leaf.shape) for group in output for leaf in group] == [
        (2, channels, 8, 12) for classes in (1, 2) for channels in (2, 1, 3, 2, 2, classes)
    ]
    assert all(isinstance(group, GroupOutput) for group in output)


def test_initial_weights() -> None:
    torch.manual_seed(0)
    head = DetectionHead(128, GROUPS)
    for name, layer in head.named_modules():
        if not isinstance(layer, nn.Conv2d):
            continue
        assert abs(float(layer.weight.detach().std()) - 0.01) < 0.002, name
        if name.endswith("heatmap.predict"):
            assert bool((layer.bias == -2.19).all()), name
        elif name.endswith("predict"):
            assert layer.bias is None, name
        else:
            assert not layer.bias.any(), name
    with torch.no_grad():
        scores = head.eval()(torch.zeros(1, 128, 4, 4))[1].heatmap.sigmoid()
    torch.testing.assert_close(scores, torch.full_like(scores, 0.1), atol=0.001, rtol=0)
