"""What the segmentation head is trained on."""

from __future__ import annotations

from torch import Tensor

from lidar_mt.structures.errors import DataError
from lidar_mt.structures.grid import Grid
from lidar_mt.structures.sample import Batch


class SegmentationTarget:
    """Hands out the BEV label maps that the data pipeline rasterized after augmentation.

    Args:
        grid: the label maps' resolution.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid

    def __call__(self, batch: Batch) -> Tensor | None:
        """Label maps of a batch.

        Returns:
            (B, H, W) int64, -1 where ignored; None if the data set has no lidarseg labels.

        Raises:
            DataError: the maps were built for another grid.
        """
        if batch.bev_labels is None:
            return None
        if tuple(batch.bev_labels.shape[1:]) != self.grid.shape:
            raise DataError(
                f"expected BEV label maps of {self.grid.shape} cells, got {tuple(batch.bev_labels.shape[1:])}; "
                "give the label map transform and the segmentation task the same grid"
            )
        return batch.bev_labels
