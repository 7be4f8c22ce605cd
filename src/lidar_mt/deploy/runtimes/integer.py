"""The integer reference as a runtime: what the others are measured against."""

from __future__ import annotations

from torch import Tensor

from lidar_mt.deploy.artefact import Artefact
from lidar_mt.deploy.runtimes.base import Runtime
from lidar_mt.deploy.unsigned import unsigned_graph
from lidar_mt.quantization.integer_reference import IntegerReference
from lidar_mt.structures.errors import ArtefactError


class IntegerRuntime(Runtime):
    """Computes the integer graph in torch. The number of threads is torch's own."""

    name = "integer"

    def __init__(self, artefact: Artefact, threads: int = 1) -> None:
        super().__init__(artefact, threads)
        self._reference = IntegerReference(artefact.graph)
        parts = artefact.graph.split_at_canvas()
        self._canvas = None if parts is None else parts[0]

    @property
    def exact(self) -> bool:
        """It is the definition."""
        return True

    def _network(self, features: Tensor, coords: Tensor) -> list[Tensor]:
        return self._reference.outputs({"features": features, "coords": coords})

    def _from_canvas(self, canvas: Tensor) -> list[Tensor]:
        if self._canvas is None:
            raise ArtefactError("the integer graph has no canvas; feed features and coords")
        form = unsigned_graph(self._reference.graph).codes_of()[self._canvas].form
        centred = canvas.permute(0, 3, 1, 2).float() - form.zero_point
        return self._reference.outputs({self._canvas: centred}, start=self._canvas)
