"""Learning-rate schedules that know their length from the start."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def cyclic_factor(step: int, total_steps: int, peak_ratio: float, final_ratio: float, rise: float) -> float:
    """Factor on the base learning rate: cosine from 1 up to the peak, then cosine down to the final ratio.

    Args:
        step: optimizer steps done, from 0.
        total_steps: length of the cycle in optimizer steps; later steps stay at the final ratio.
        peak_ratio: learning rate at the peak, in units of the base rate.
        final_ratio: learning rate at the end, in units of the base rate.
        rise: share of the cycle before the peak, in (0, 1).

    Source: the cyclic schedule of SECOND and CenterPoint, with cosine ramps.

    Example:
        >>> [round(cyclic_factor(s, 100, 10.0, 1e-4, 0.4), 4) for s in (0, 20, 40, 100)]
        [1.0, 5.5, 10.0, 0.0001]
    """
    peak_step = rise * total_steps
    if step < peak_step:
        start, end, progress = 1.0, peak_ratio, step / peak_step
    else:
        progress = min(1.0, (step - peak_step) / max(1e-9, total_steps - peak_step))
        start, end = peak_ratio, final_ratio
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))


class CyclicLR(LambdaLR):
    """Per-step schedule of `cyclic_factor`.

    Args:
        optimizer: its groups' `lr` is the base rate.
        total_steps: optimizer steps of the whole training.
        peak_ratio: see `cyclic_factor`.
        final_ratio: see `cyclic_factor`.
        rise: see `cyclic_factor`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        peak_ratio: float = 10.0,
        final_ratio: float = 1e-4,
        rise: float = 0.4,
    ) -> None:
        def factor(step: int) -> float:
            return cyclic_factor(step, total_steps, peak_ratio, final_ratio, rise)

        super().__init__(optimizer, factor)
