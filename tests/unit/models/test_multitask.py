from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch.utils._pytree import tree_leaves

from lidar_mt.models.multitask import LidarMultiTaskNet
from lidar_mt.ops.voxelize import to_dense
from lidar_mt.structures.outputs import GroupOutput, SegmentationOutput
from tests.helpers import plain_network
from tests.helpers.networks import COARSE, build
from tests.helpers.slow_pillars import random_pillars

PER_SAMPLE, PADDED = 200, 240


@pytest.fixture(scope="module")
def net() -> LidarMultiTaskNet:
    return build(COARSE)


def deployed_input(seed: int, batch_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    return to_dense(random_pillars(seed, batch_size, PER_SAMPLE, side=64), PADDED)


def assert_same(found: object, expected: object, tolerance: float = 1e-5) -> None:
    for one, other in zip(tree_leaves(found), tree_leaves(expected), strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@torch.no_grad()
def test_outputs_by_task_in_order(net: LidarMultiTaskNet) -> None:
    output = net(*deployed_input(0, 2))
    assert list(output) == ["segmentation", "detection"]
    assert isinstance(output["segmentation"], SegmentationOutput)
    assert all(isinstance(group, GroupOutput) for group in output["detection"])
    channels = [leaf.shape[1] for leaf in tree_leaves(output)]
    assert channels == [2] + [c for classes in (1, 2, 2, 1, 2, 2) for c in (2, 1, 3, 2, 2, classes)]
    assert len(channels) == 37
    assert {tuple(leaf.shape[2:]) for leaf in tree_leaves(output)} == {(16, 16)}


@torch.no_grad()
def test_canvas_to_outputs_equals_the_description(net: LidarMultiTaskNet) -> None:
    canvas = torch.rand(1, 64, 64, 96)
    assert_same(net.forward_canvas(canvas), plain_network.run(net.state_dict(), canvas), 1e-4)


@torch.no_grad()
def test_both_forms_agree(net: LidarMultiTaskNet) -> None:
    pillars = random_pillars(1, 2, PER_SAMPLE, side=64)
    assert_same(net.forward_pillars(pillars), net(*to_dense(pillars, PADDED)), 1e-4)


@torch.no_grad()
@torch.no_grad()
def test_under_autocast_rounded_rows_give_what_a_rounded_canvas_gives(net: LidarMultiTaskNet) -> None:
    pillars = random_pillars(3, 2, PER_SAMPLE, side=64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = net.forward_pillars(pillars)
        canvas = net.scatter.forward_rows(net.encoder.forward_points(pillars), pillars)
        expected = net.forward_canvas(canvas)
    assert canvas.dtype == torch.float32
    assert_same(found, expected, tolerance=0.0)


@pytest.mark.parametrize("task", ["segmentation", "detection"])
def test_one_head_alone(task: str) -> None:
    pillars = random_pillars(2, 1, PER_SAMPLE, side=64)
    output = build(f"model={task}", COARSE).forward_pillars(pillars)
    assert list(output) == [task]
    assert len(tree_leaves(output)) == {"segmentation": 1, "detection": 36}[task]


def test_weights_and_maps_are_channels_last(net: LidarMultiTaskNet) -> None:
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in net.parameters() if w.dim() == 4)
    seen = []
    hooks = [
        module.register_forward_hook(lambda _m, _i, out: seen.append(out))
        for module in net.modules()
        if isinstance(module, torch.nn.Conv2d)
    ]
    with torch.no_grad():
        net.forward_pillars(random_pillars(3, 2, PER_SAMPLE, side=64))
    for hook in hooks:
        hook.remove()
    assert len(seen) == 178  # all convolutions but the encoder's, whose points are no map
    assert all(out.is_contiguous(memory_format=torch.channels_last) for out in seen)


def test_a_loaded_state_keeps_the_layout(net: LidarMultiTaskNet) -> None:
    other = build(COARSE, seed=1)
    other.load_state_dict({name: value.contiguous() for name, value in net.state_dict().items()})
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in other.parameters() if w.dim() == 4)


@pytest.mark.parametrize("strict", [False, True])
def test_exports_with_only_the_batch_dynamic(net: LidarMultiTaskNet, strict: bool) -> None:
    # strict traces the Python itself and fails on a graph break; one head keeps that short.
    exported_net = build("model=segmentation", COARSE) if strict else net
    batch = torch.export.Dim("batch", min=1, max=16)
    inputs = deployed_input(4, 2)
    shapes = {"features": {0: batch}, "coords": {0: batch}}
    program = torch.export.export(exported_net, inputs, dynamic_shapes=shapes, strict=strict)
    assert len(program.range_constraints) == 1
    with torch.no_grad():
        for size in (1, 2, 3):
            inputs = deployed_input(5, size)
            assert_same(program.module()(*inputs), exported_net(*inputs))
    if not strict:
        assert_reference_graph(program)


def assert_reference_graph(program: torch.export.ExportedProgram) -> None:
    """Counts that follow from the description: one node per layer, and nothing that depends on the data."""
    assert len(program.graph_signature.user_outputs) == 37
    ops = Counter(str(node.target) for node in program.graph.nodes if node.op == "call_function")
    blocks, shortcuts, fusions, branches = 17, 4, 3, 36
    expected = {
        "aten.conv2d.default": 1 + 1 + 2 * blocks + shortcuts + 8 * fusions + 5 + 2 + 3 * branches,
        "aten.batch_norm.default": 1 + 1 + 2 * blocks + shortcuts + 8 * fusions + 4 + 1 + branches,
        "aten.relu.default": 1 + 2 * blocks + 7 * fusions + 2 + 1 + branches,
        "aten.upsample_bilinear2d.vec": fusions,
        "aten.max_pool2d.default": 1,
    }
    assert {name: ops[name] for name in expected} == expected
    assert not any("nonzero" in name or "item" in name or "unbind" in name for name in ops)
