"""The network: one graph for training, quantization, export and runtimes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lidar_mt.models.pillar_encoder import PillarEncoder
from lidar_mt.models.pillar_scatter import PillarScatter
from lidar_mt.structures.outputs import NetOutput
from lidar_mt.structures.pillars import Pillars


class LidarMultiTaskNet(nn.Module):
    """Pillar encoder, scatter, backbone, neck and one head per task.

        features, coords --- encoder --- scatter --- backbone --- neck --+-- head of task 1
                                           canvas                        +-- head of task 2

    `forward` is the exported graph: it starts after voxelization and ends before decoding. `forward_pillars` gives
    the same outputs from the flat form, without the padding, and is the fast way in training and on a CPU.
    The constructor lays the weights out channels-last, and the scatter makes the canvas channels-last, so all maps are.

    Args:
        encoder: pillars to features.
        scatter: features to the canvas.
        backbone: canvas to maps by stride.
        neck: maps to one map at the heads' stride.
        heads: head by task name; the outputs keep their order.
    """

    def __init__(
        self,
        encoder: PillarEncoder,
        scatter: PillarScatter,
        backbone: nn.Module,
        neck: nn.Module,
        heads: Mapping[str, nn.Module],
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.scatter = scatter
        self.backbone = backbone
        self.neck = neck
        self.heads = nn.ModuleDict(dict(heads))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, features: Tensor, coords: Tensor) -> NetOutput:
        """Runs the deployed form.

        Args:
            features: (B, 5, M, V) float32, see `DensePillars`.
            coords: (B, V, 2) int64 row, column; -1, -1 for padding.
        """
        return self.forward_canvas(self.scatter(self.encoder(features), coords))

    def forward_pillars(self, pillars: Pillars) -> NetOutput:
        """Runs the fast form.

        Args:
            pillars: as the voxelizer returns them.
        """
        rows = self.encoder.forward_points(pillars)
        device = rows.device.type
        if torch.is_autocast_enabled(device):
            # The backbone would round the whole canvas; the few rows that are not zero round to the same.
            rows = rows.to(torch.get_autocast_dtype(device))
        return self.forward_canvas(self.scatter.forward_rows(rows, pillars))

    def forward_canvas(self, canvas: Tensor) -> NetOutput:
        """What both forms share.

        Args:
            canvas: (B, C, H, W) float32.
        """
        x = self.neck(self.backbone(canvas))
        return {name: head(x) for name, head in self.heads.items()}
