"""Random boxes, batches and outputs for the tests of tasks."""

from __future__ import annotations

import numpy as np
import torch

from lidar_mt.structures.classes import Classes
from lidar_mt.structures.grid import Grid
from lidar_mt.structures.outputs import GroupOutput
from lidar_mt.structures.sample import Batch
from lidar_mt.tasks.detection.target import GroupTarget
from tests.helpers.slow_detection import GROUPS, NAMES

CLASSES = Classes(detection=NAMES, groups=GROUPS, segmentation=("others", "driveable_surface"))
REFERENCE_GRID = Grid((-51.2, -51.2, -5.0, 51.2, 51.2, 3.0), (0.2, 0.2, 8.0))
#: 128 x 128 cells, heads at 32 x 32: small enough for plain loops.
SMALL_GRID = Grid((-12.8, -12.8, -5.0, 12.8, 12.8, 3.0), (0.2, 0.2, 8.0))
CHANNELS = {"reg": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2}


def random_boxes(rng: np.random.Generator, count: int, half_range_m: float) -> np.ndarray:
    """(count, 9) float32 boxes, some of them outside the range, some without velocity, sizes 0.3 to 15 m."""
    boxes = np.empty((count, 9))
    boxes[:, :2] = rng.uniform(-1.1 * half_range_m, 1.1 * half_range_m, (count, 2))
    boxes[:, 2] = rng.uniform(-4, 2, count)
    boxes[:, 3:6] = np.exp(rng.uniform(np.log(0.3), np.log(15), (count, 3)))
    boxes[:, 6] = rng.uniform(-np.pi, np.pi, count)
    boxes[:, 7:] = rng.normal(0, 5, (count, 2))
    boxes[rng.random(count) < 0.2, 7:] = np.nan
    return boxes.astype(np.float32)


def make_batch(boxes: list[np.ndarray], labels: list[np.ndarray], bev_labels: torch.Tensor | None = None) -> Batch:
    count = len(boxes)
    return Batch(
        tokens=[f"token{i}" for i in range(count)],
        points=[torch.zeros(0, 5) for _ in range(count)],
        boxes=[torch.as_tensor(b, dtype=torch.float32).reshape(-1, 9) for b in boxes],
        labels=[torch.as_tensor(v, dtype=torch.int64).reshape(-1) for v in labels],
        bev_labels=bev_labels,
        ego_from_lidar=torch.eye(4, dtype=torch.float64).repeat(count, 1, 1),
        global_from_ego=torch.eye(4, dtype=torch.float64).repeat(count, 1, 1),
    )


def random_output(seed: int, batch_size: int, cells: int, scale: float = 1.0) -> tuple[GroupOutput, ...]:
    generator = torch.Generator().manual_seed(seed)

    def maps(channels: int) -> torch.Tensor:
        return scale * torch.randn(batch_size, channels, cells, cells, generator=generator)

    return tuple(GroupOutput(*(maps(c) for c in CHANNELS.values()), maps(len(group))) for group in GROUPS)


def output_from_targets(targets: tuple[GroupTarget, ...]) -> tuple[GroupOutput, ...]:
    """The output of a head that has learned its targets: their values at centre cells, zero elsewhere."""
    return tuple(_group_output(target) for target in targets)


def _group_output(target: GroupTarget) -> GroupOutput:
    batch_size, _, height, width = target.heatmap.shape
    maps = {name: torch.zeros(batch_size, c, height * width) for name, c in CHANNELS.items()}
    for b in range(batch_size):
        for slot in torch.nonzero(target.mask[b]).flatten().tolist():
            for name, values in target.regression.items():
                maps[name][b, :, target.cell[b, slot]] = values[b, slot]
    shaped = {name: m.view(batch_size, -1, height, width) for name, m in maps.items()}
    return GroupOutput(**shaped, heatmap=torch.logit(target.heatmap.clamp(1e-4, 1 - 1e-4)))
