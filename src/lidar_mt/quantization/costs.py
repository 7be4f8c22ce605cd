"""What quantization costs on some samples: noise in the outputs, and higher losses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lidar_mt.quantization.modules import set_mode
from lidar_mt.quantization.sensitivity import Cells, Quality, named_outputs, no_cells

Forward = Callable[[Any], Any]


class OutputNoise:
    """Compares outputs with those of the network without rounding.

    Args:
        root: the prepared network; it ends in mode `quantize`.
        forward: sample -> outputs of that network.
        samples: kept, together with their float outputs.
        cells: which values of the outputs count.
    """

    @torch.no_grad()
    def __init__(self, root: nn.Module, forward: Forward, samples: Sequence[Any], cells: Cells = no_cells) -> None:
        self._forward, self._cells = forward, cells
        set_mode(root, "float")
        self._pairs = [(sample, named_outputs(forward(sample))) for sample in samples]
        set_mode(root, "quantize")

    @torch.no_grad()
    def quality(self, forward: Forward | None = None) -> Quality:
        """Signal and noise as the network is now.

        Args:
            forward: of another network of the same outputs.
        """
        quality = Quality()
        for sample, reference in self._pairs:
            found = named_outputs((forward or self._forward)(sample))
            quality.add(found, reference, self._cells(reference))
        return quality


class LossIncrease:
    """Compares losses with those of the network without rounding, on the same samples.

    Args:
        root: the prepared network; it ends in mode `quantize`.
        forward: sample -> outputs of that network.
        samples: inputs and what `losses` needs to know.
        losses: terms from outputs and that; `total` is one of them.
    """

    @torch.no_grad()
    def __init__(
        self,
        root: nn.Module,
        forward: Forward,
        samples: Sequence[tuple[Any, Any]],
        losses: Callable[[Any, Any], Mapping[str, Tensor | float]],
    ) -> None:
        self._forward, self._samples, self._losses = forward, samples, losses
        set_mode(root, "float")
        #: Losses of the float network, summed over the samples.
        self.reference = self._sums(forward)
        set_mode(root, "quantize")

    @torch.no_grad()
    def shares(self, forward: Forward | None = None) -> dict[str, float]:
        """Increase of each term, as a share of the float network's total.

        Args:
            forward: of another network of the same outputs.
        """
        found = self._sums(forward or self._forward)
        return {term: (value - self.reference[term]) / self.reference["total"] for term, value in found.items()}

    def _sums(self, forward: Forward) -> dict[str, float]:
        sums: dict[str, float] = defaultdict(float)
        for sample, truth in self._samples:
            for term, value in self._losses(forward(sample), truth).items():
                sums[term] += float(value)
        return sums
