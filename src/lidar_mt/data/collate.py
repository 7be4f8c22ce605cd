"""Makes a batch of tensors from samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from lidar_mt.structures.errors import DataError
from lidar_mt.structures.sample import Batch, Sample


def collate(samples: Sequence[Sample]) -> Batch:
    """Makes a batch; points, boxes and labels stay ragged.

    Args:
        samples: B samples.

    Raises:
        DataError: some samples have a BEV label map and others have none.
    """
    maps = [sample.bev_labels for sample in samples if sample.bev_labels is not None]
    if maps and len(maps) < len(samples):
        missing = [sample.token for sample in samples if sample.bev_labels is None]
        raise DataError(f"keyframes {missing} have no BEV labels but others of their batch do; pack the data again")
    return Batch(
        tokens=[sample.token for sample in samples],
        points=[torch.from_numpy(sample.points) for sample in samples],
        boxes=[torch.from_numpy(sample.boxes) for sample in samples],
        labels=[torch.from_numpy(sample.labels) for sample in samples],
        bev_labels=torch.from_numpy(np.stack(maps)) if maps else None,
        ego_from_lidar=torch.from_numpy(np.stack([sample.ego_from_lidar for sample in samples])),
        global_from_ego=torch.from_numpy(np.stack([sample.global_from_ego for sample in samples])),
    )
