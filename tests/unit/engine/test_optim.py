import math

import pytest
import torch

from lidar_mt.engine.optim import CyclicLR


def test_cyclic_schedule_against_torch_one_cycle():
    """torch's OneCycleLR draws the same two cosines; its total counts the last step."""
    lr, peak_ratio, final_ratio, steps = 2e-4, 10.0, 1e-4, 101
    ours = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    theirs = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    cyclic = CyclicLR(ours, total_steps=steps - 1, peak_ratio=peak_ratio, final_ratio=final_ratio, rise=0.4)
    # pct_start * total_steps - 1 is its peak step.
    one_cycle = torch.optim.lr_scheduler.OneCycleLR(
        theirs,
        max_lr=lr * peak_ratio,
        total_steps=steps,
        pct_start=41 / 101,
        div_factor=peak_ratio,
        final_div_factor=1 / final_ratio,
        cycle_momentum=False,
    )
    for step in range(steps):
        assert ours.param_groups[0]["lr"] == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-6), step
        if step < steps - 1:
            ours.step(), theirs.step()
            cyclic.step(), one_cycle.step()


def test_schedule_stays_at_the_end_after_its_length():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = CyclicLR(optimizer, total_steps=4)
    for _ in range(10):
        optimizer.step()
        schedule.step()
    assert math.isclose(optimizer.param_groups[0]["lr"], 1e-4, rel_tol=1e-9)
