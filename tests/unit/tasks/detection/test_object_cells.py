from __future__ import annotations

import torch

from lidar_mt.tasks.detection.object_cells import object_cells


def test_cells_of_a_group_are_those_its_heatmap_scores():
    heat = torch.full((1, 2, 3, 3), -5.0)
    heat[0, 1, 2, 0] = 0.0  # a score of a half
    heat[0, 0, 1, 1] = -1.0  # 0.27
    maps = torch.zeros(1, 4, 3, 3)
    outputs = {
        **{"detection.0.reg": maps, "detection.0.heatmap": heat, "detection.1.reg": maps},
        **{"detection.1.heatmap": torch.full((1, 1, 3, 3), -5.0), "segmentation.logits": maps},
    }
    found = object_cells(outputs, 0.4)
    assert set(found) == {"detection.0.reg", "detection.1.reg"}
    assert found["detection.0.reg"].nonzero().tolist() == [[0, 0, 2, 0]]
    assert not found["detection.1.reg"].any()
    assert object_cells(outputs, 0.2)["detection.0.reg"].sum() == 2
