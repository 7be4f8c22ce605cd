"""Where the detection head's values are read."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def object_cells(outputs: Mapping[str, Tensor], score_threshold: float) -> dict[str, Tensor]:
    """Cells in which a group sees something; elsewhere the decoder never reads where, how large and how fast it is.

    Args:
        outputs: maps (B, C, H, W) by names such as `detection.0.reg`; heatmaps as logits.
        score_threshold: the best class of the group scores more than this.

    Returns:
        (B, 1, H, W) bool for each map that has a heatmap beside it.
    """
    found = {}
    for name in outputs:
        around, _, last = name.rpartition(".")
        heatmap = outputs.get(f"{around}.heatmap")
        if heatmap is not None and last != "heatmap":
            found[name] = heatmap.sigmoid().amax(dim=1, keepdim=True) > score_threshold
    return found
