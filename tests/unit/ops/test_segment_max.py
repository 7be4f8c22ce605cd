from __future__ import annotations

import pytest
import torch

from lidar_mt.ops import segment_max
from lidar_mt.ops.segment_max import linear_segment_max


def case(seed: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    """Points of 12 segments, one of them empty; every third segment without a zero of its own."""
    generator = torch.Generator().manual_seed(seed)
    segment = torch.randint(0, 12, (60,), generator=generator).sort().values
    segment[segment == 4] = 5
    points = torch.randn(60, 5, generator=generator, dtype=dtype)
    weight = torch.randn(8, 5, generator=generator, dtype=dtype)
    initial = torch.zeros(12, dtype=dtype)
    initial[::3] = -torch.inf
    return points, weight, segment, initial


@pytest.fixture(params=[7, 16384], ids=["many blocks", "one block"])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_max, "_CPU_BLOCK", request.param)


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("shuffled", [False, True])
def test_equals_a_loop_over_segments(shuffled: bool) -> None:
    points, weight, segment, initial = case(0)
    if shuffled:
        order = torch.randperm(len(points), generator=torch.Generator().manual_seed(1))
        points, segment = points[order], segment[order]
    expected = initial[:, None].repeat(1, 8)
    for point, index in zip(points, segment, strict=True):
        expected[index] = torch.maximum(expected[index], weight @ point)
    torch.testing.assert_close(linear_segment_max(points, weight, segment, initial), expected)


@pytest.mark.usefixtures("block")
def test_gradients_equal_finite_differences() -> None:
    points, weight, segment, initial = case(1)
    initial[4] = 0  # the empty segment; differences of -inf say nothing
    points.requires_grad_()
    weight.requires_grad_()
    assert torch.autograd.gradcheck(lambda p, w: linear_segment_max(p, w, segment, initial), (points, weight))


@pytest.mark.usefixtures("block")
def test_equal_points_share_the_gradient() -> None:
    # Twice the same point, in one segment: the weight's gradient must be that of the point alone.
    point = torch.tensor([[1.0, 2.0]])
    weight = torch.tensor([[1.0, 1.0]], requires_grad=True)
    segment, initial = torch.zeros(16, dtype=torch.int64), torch.tensor([-torch.inf])
    linear_segment_max(point.repeat(16, 1), weight, segment, initial).sum().backward()
    torch.testing.assert_close(weight.grad, point)


def test_no_points() -> None:
    weight = torch.ones(3, 5, requires_grad=True)
    out = linear_segment_max(torch.zeros(0, 5), weight, torch.zeros(0, dtype=torch.int64), torch.zeros(2))
    out.sum().backward()
    assert out.tolist() == [[0.0] * 3] * 2
    assert not weight.grad.any()
