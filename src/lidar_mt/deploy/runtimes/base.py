"""What all runtimes share: one sample after the other, tensors in, the network's outputs out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lidar_mt.deploy.artefact import Artefact
from lidar_mt.deploy.pillar_codes import PillarCodes
from lidar_mt.deploy.unsigned import unsigned_graph
from lidar_mt.ops.voxelize import to_dense
from lidar_mt.structures.errors import ArtefactError
from lidar_mt.structures.outputs import NetOutput
from lidar_mt.structures.pillars import Pillars


@dataclass(frozen=True)
class RunNode:
    """An operator as a runtime executes it.

    Attributes:
        name: in the runtime's own graph.
        kind: operator.
        precision: `int8` for integer arithmetic on codes, `float`, or `move` for layout, copies and lookups.
    """

    name: str
    kind: str
    precision: str


class Runtime(ABC):
    """Computes an exported network.

    Args:
        artefact: what was exported.
        threads: processor threads.
    """

    #: As chosen in configurations.
    name: str

    def __init__(self, artefact: Artefact, threads: int = 1) -> None:
        self.signature = artefact.signature
        self.threads = threads
        self._artefact = artefact
        self._encoder: PillarCodes | None = None

    def run(self, features: Tensor, coords: Tensor) -> list[Tensor]:
        """Computes the whole network.

        Args:
            features: (B, 5, M, V) float32, see `DensePillars`.
            coords: (B, V, 2) int64 row, column; -1, -1 for padding.

        Returns:
            The outputs in the signature's order, float32, batch first.

        Raises:
            ArtefactError: the shapes are not those that were exported.
        """
        expected = [spec.shape[1:] for spec in self.signature.inputs]
        if [tuple(features.shape[1:]), tuple(coords.shape[1:])] != expected or len(features) != len(coords):
            raise ArtefactError(
                f"the network takes features (B, 5, M, V) and coords (B, V, 2) of {expected} per sample, got "
                f"{tuple(features.shape)} and {tuple(coords.shape)}"
            )
        samples = zip(torch.split(features, 1), torch.split(coords, 1), strict=True)
        return _join(self._network(one.contiguous(), at.contiguous()) for one, at in samples)

    def run_pillars(self, pillars: Pillars) -> list[Tensor]:
        """Encodes pillars from their points alone and computes the rest; the same outputs as `run`."""
        return self.run_canvas(self.encode(pillars))

    def encode(self, pillars: Pillars) -> Tensor:
        """The canvas (B, H, W, C) of stored codes; no runtime takes part."""
        if self._encoder is None:
            self._encoder = PillarCodes(unsigned_graph(self._artefact.graph))
        return self._encoder.canvas(pillars)

    def run_canvas(self, canvas: Tensor) -> list[Tensor]:
        """Computes what stands behind the canvas (B, H, W, C) of stored codes."""
        return _join(self._from_canvas(one) for one in torch.split(canvas, 1))

    def pad(self, pillars: Pillars) -> tuple[Tensor, Tensor]:
        """Features and coords of pillars, for `run`."""
        limits = self.signature.preprocessing
        return to_dense(pillars, limits.max_pillars, limits.points_per_pillar)

    @property
    def exact(self) -> bool | None:
        """Whether the outputs are those of the integer reference to the bit; None where it is not known."""
        return None

    def nodes(self) -> Iterator[RunNode]:
        """The operators behind the canvas as they are executed; nothing where the runtime does not tell."""
        return iter(())

    @abstractmethod
    def _network(self, features: Tensor, coords: Tensor) -> list[Tensor]:
        """Outputs of one sample."""

    @abstractmethod
    def _from_canvas(self, canvas: Tensor) -> list[Tensor]:
        """Outputs of one sample from its canvas (1, H, W, C) of stored codes."""


class RuntimeNet(nn.Module):
    """A runtime in the place of the network: decoders, metrics and pictures work on it unchanged.

    A trainer's mixed precision does not reach it: integers in float32 would not survive bfloat16.

    Args:
        runtime: what computes.
    """

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self.runtime = runtime

    def forward(self, features: Tensor, coords: Tensor) -> NetOutput:
        """See `LidarMultiTaskNet.forward`."""
        with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
            return self._output(self.runtime.run(features, coords))

    def forward_pillars(self, pillars: Pillars) -> NetOutput:
        """See `LidarMultiTaskNet.forward_pillars`."""
        with torch.no_grad(), torch.autocast(pillars.features.device.type, enabled=False):
            return self._output(self.runtime.run_pillars(pillars))

    def _output(self, tensors: list[Tensor]) -> NetOutput:
        signature = self.runtime.signature
        names = (spec.name for spec in signature.outputs)
        return signature.net_output(dict(zip(names, tensors, strict=True)))


def _join(samples: Iterable[list[Tensor]]) -> list[Tensor]:
    return [torch.cat(parts) for parts in zip(*samples, strict=True)]
