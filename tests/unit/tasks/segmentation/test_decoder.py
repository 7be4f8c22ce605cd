import numpy as np
import torch

from lidar_mt.structures.outputs import SegmentationOutput
from lidar_mt.tasks.segmentation.decoder import SegmentationDecoder
from tests.helpers import slow_segmentation
from tests.helpers.task_cases import CLASSES, SMALL_GRID


def test_like_loops_for_two_and_three_classes():
    rng = np.random.default_rng(0)
    for classes in (len(CLASSES.segmentation), 3):
        logits = rng.normal(0, 1, (2, classes, 32, 32)).astype(np.float32)
        found = SegmentationDecoder(SMALL_GRID)(SegmentationOutput(torch.tensor(logits)))
        wanted = np.stack([slow_segmentation.upsample(maps, 4).argmax(axis=0) for maps in logits])
        assert found.dtype == torch.int64
        assert found.shape == (2, 128, 128)
        # Cells where float32 and float64 round to different sides of a tie do not occur with this seed.
        np.testing.assert_array_equal(found, wanted)


def test_a_tie_goes_to_the_first_class():
    found = SegmentationDecoder(SMALL_GRID)(SegmentationOutput(torch.zeros(1, 2, 32, 32, dtype=torch.bfloat16)))
    assert not found.any()
