from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lidar_mt.models.pillar_encoder import PillarEncoder
from lidar_mt.ops.voxelize import to_dense
from lidar_mt.structures.pillars import Pillars
from tests.helpers.ranks import run_ranks
from tests.helpers.slow_pillars import encoder_step, encoder_step_of_rank, make_encoder, random_pillars

PER_SAMPLE = 150


def dense_rows(encoder: PillarEncoder, pillars: Pillars) -> torch.Tensor:
    """(V, C) of the deployed form, in the order of the flat one."""
    return encoder(to_dense(pillars, PER_SAMPLE).features).transpose(1, 2).flatten(0, 1)


def slow_rows(encoder: PillarEncoder, pillars: Pillars) -> torch.Tensor:
    """Pillar by pillar and slot by slot, in evaluation mode."""
    norm, kernel = encoder.point.norm, encoder.point.conv.weight[:, :, 0, 0]
    rows = []
    for v in range(len(pillars.coords)):
        mine = pillars.features[pillars.point_to_pillar == v]
        slots = torch.cat([mine, torch.zeros(20 - len(mine), 5)])
        value = (slots @ kernel.T - norm.running_mean) / torch.sqrt(norm.running_var + 1e-3) * norm.weight + norm.bias
        rows.append(value.clamp(min=0).amax(dim=0))
    return torch.stack(rows)


@torch.no_grad()
def test_both_forms_equal_a_loop_in_evaluation() -> None:
    encoder, pillars = make_encoder().eval(), random_pillars(0, count=PER_SAMPLE)
    expected = slow_rows(encoder, pillars)
    torch.testing.assert_close(dense_rows(encoder, pillars), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(encoder.forward_points(pillars), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_forms_agree_in_outputs_statistics_and_gradients(training: bool, dtype: torch.dtype, tolerance: float) -> None:
    # The padded form runs in double precision: in float32 its batch statistics cost it 6e-5, the fast form 2e-6.
    fast, dense = make_encoder().to(dtype).train(training), make_encoder().double().train(training)
    pillars = random_pillars(1, count=PER_SAMPLE)
    upstream = torch.randn(len(pillars.coords), 64, generator=torch.Generator().manual_seed(2)) / 16
    expected = dense_rows(dense, pillars._replace(features=pillars.features.double()))
    found = fast.forward_points(pillars)
    expected.backward(upstream.double())
    found.backward(upstream.to(dtype))

    compared = {"output": (found, expected)}
    compared |= {name: (p.grad, dense.get_parameter(name).grad) for name, p in fast.named_parameters()}
    compared |= {name: (b, dense.get_buffer(name)) for name, b in fast.named_buffers()}
    for name, (one, other) in compared.items():
        torch.testing.assert_close(
            one.double(), other.double(), rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )
    moved = not torch.equal(fast.point.norm.running_mean, make_encoder().to(dtype).point.norm.running_mean)
    assert moved == training


@torch.no_grad()
def test_the_zero_slot_counts_only_where_a_pillar_is_not_full() -> None:
    encoder = make_encoder().eval()
    # The bias alone is what an empty slot gives; make it larger than anything a point of ones can reach.
    encoder.point.conv.weight.fill_(-1.0)
    encoder.point.norm.reset_running_stats()
    encoder.point.norm.weight.fill_(1.0)
    encoder.point.norm.bias.fill_(10.0)
    counts = torch.tensor([19, 20])
    pillars = Pillars(
        torch.ones(39, 5), torch.arange(2).repeat_interleave(counts), torch.tensor([[0, 0, 0], [0, 0, 1]]), counts, 1
    )
    out = encoder.forward_points(pillars)
    torch.testing.assert_close(out[0], torch.full((64,), 10.0))
    torch.testing.assert_close(out[1], torch.full((64,), 10.0 - 5.0 / (1 + 1e-3) ** 0.5))


def test_running_statistics_start_as_the_average_of_the_batches() -> None:
    encoder = make_encoder().train()
    encoder.point.norm.reset_running_stats()
    means, variances = [], []
    for seed in range(5):
        pillars = random_pillars(seed)
        encoder.forward_points(pillars)
        slots = len(pillars.coords) * 20
        values = torch.zeros(slots, 64, dtype=torch.float64)
        values[: len(pillars.features)] = (pillars.features @ encoder.point.conv.weight.flatten(1).T).double()
        means.append(values.mean(dim=0))
        variances.append(values.var(dim=0))
    norm = encoder.point.norm
    torch.testing.assert_close(norm.running_mean.double(), torch.stack(means).mean(dim=0), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(norm.running_var.double(), torch.stack(variances).mean(dim=0), rtol=1e-4, atol=1e-6)
    assert norm.num_batches_tracked == 5


def test_no_pillars_leave_the_statistics_alone() -> None:
    encoder = make_encoder().train()
    before = encoder.point.norm.running_var.clone()
    empty = Pillars(torch.zeros(0, 5), torch.zeros(0).long(), torch.zeros(0, 3).long(), torch.zeros(0).long(), 2)
    out = encoder.forward_points(empty)
    out.sum().backward()
    assert out.shape == (0, 64)
    assert torch.equal(encoder.point.norm.running_var, before)
    assert all(bool(torch.isfinite(p.grad).all()) for p in encoder.parameters())


def test_autocast_does_not_round_the_points() -> None:
    encoder, pillars = make_encoder().eval(), random_pillars(4)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = encoder.forward_points(pillars)
    with torch.no_grad():
        torch.testing.assert_close(found, encoder.forward_points(pillars), rtol=0, atol=0)


@pytest.mark.parametrize("counts", [(150, 40), pytest.param((90, 0), marks=pytest.mark.slow)])
def test_synchronised_statistics_are_those_of_one_process(tmp_path: Path, counts: tuple[int, int]) -> None:
    parts = [random_pillars(rank, batch_size=1, count=count) for rank, count in enumerate(counts)]
    whole = Pillars(
        features=torch.cat([part.features for part in parts]),
        point_to_pillar=torch.cat([parts[0].point_to_pillar, parts[1].point_to_pillar + counts[0]]),
        coords=torch.cat([part.coords for part in parts]),
        num_points=torch.cat([part.num_points for part in parts]),
        batch_size=1,
    )
    expected = encoder_step(make_encoder(), whole)
    for found in run_ranks(encoder_step_of_rank, tmp_path, counts):
        assert list(found) == list(expected)
        for name, value in expected.items():
            torch.testing.assert_close(torch.tensor(found[name]), value, rtol=1e-4, atol=1e-4)
