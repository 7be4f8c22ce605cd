from __future__ import annotations

import torch

from lidar_mt.ops.scatter import scatter_dense, scatter_rows

SHAPE = (6, 9)


def random_coords(batch_size: int, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    cells = torch.stack([torch.randperm(SHAPE[0] * SHAPE[1], generator=generator)[:count] for _ in range(batch_size)])
    return torch.stack([cells // SHAPE[1], cells % SHAPE[1]], dim=2)


def test_dense_form_writes_each_pillar_to_its_row_and_column() -> None:
    features, coords = torch.randn(2, 4, 20), random_coords(2, 20)
    coords[0, 5:] = -1
    coords[1, ::3] = -1
    expected = torch.zeros(2, 4, *SHAPE)
    for b in range(2):
        for v in range(20):
            if coords[b, v, 0] >= 0:
                expected[b, :, coords[b, v, 0], coords[b, v, 1]] = features[b, :, v]
    canvas = scatter_dense(features, coords, SHAPE)
    torch.testing.assert_close(canvas, expected, rtol=0, atol=0)
    assert canvas.is_contiguous(memory_format=torch.channels_last)


def test_flat_form_equals_dense_form() -> None:
    coords = random_coords(3, 15)
    rows = torch.randn(45, 4)
    flat = torch.cat([torch.arange(3).repeat_interleave(15)[:, None], coords.flatten(0, 1)], dim=1)
    canvas = scatter_rows(rows, flat, 3, SHAPE)
    torch.testing.assert_close(
        canvas, scatter_dense(rows.view(3, 15, 4).transpose(1, 2), coords, SHAPE), rtol=0, atol=0
    )
    assert canvas.is_contiguous(memory_format=torch.channels_last)


def test_a_batch_without_pillars_is_an_empty_canvas() -> None:
    canvas = scatter_rows(torch.zeros(0, 4), torch.zeros(0, 3, dtype=torch.int64), 2, SHAPE)
    assert canvas.shape == (2, 4, *SHAPE)
    assert not canvas.any()
    assert not scatter_dense(torch.ones(1, 4, 3), torch.full((1, 3, 2), -1), SHAPE).any()


def test_gradients_reach_written_pillars_only() -> None:
    features, coords = torch.randn(1, 4, 3, requires_grad=True), torch.tensor([[[0, 1], [-1, -1], [5, 8]]])
    upstream = torch.randn(1, 4, *SHAPE)
    scatter_dense(features, coords, SHAPE).backward(upstream)
    expected = torch.stack([upstream[0, :, 0, 1], torch.zeros(4), upstream[0, :, 5, 8]], dim=1)
    torch.testing.assert_close(features.grad[0], expected, rtol=0, atol=0)
