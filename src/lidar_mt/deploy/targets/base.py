"""What all targets share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from lidar_mt.deploy.artefact import Artefact
from lidar_mt.deploy.board_report import BoardReport
from lidar_mt.deploy.devices import DEVICES, Bound, Device, bound
from lidar_mt.deploy.graph_cost import GraphCost


class Target(ABC):
    """A compiler and the hardware it compiles for.

    Args:
        name: of the target, for folders and reports.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def compile(self, artefact: Artefact, folder: Path) -> BoardReport:
        """Compiles the network behind the canvas.

        Args:
            artefact: what was exported.
            folder: where the compiled network goes; it is there and empty.

        Raises:
            ConfigError: the compiler or the hardware is missing.
            ArtefactError: the compiler refuses the network.
        """


def bounds(cost: GraphCost, own: Device | None = None) -> tuple[Bound, ...]:
    """Roofline of all known devices; the target's own stands first, under its published name if it is one of them."""
    known = list(DEVICES.values())
    if own is None:
        return tuple(bound(device, cost) for device in known)
    first = next((device for device in known if device.title == own.title), own)
    return tuple(bound(device, cost) for device in (first, *(device for device in known if device != first)))
