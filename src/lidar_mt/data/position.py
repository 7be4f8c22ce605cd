"""Where training stands in its data: what a checkpoint needs so that a resumed run sees the next batch next."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch.utils.data import DataLoader

from lidar_mt.structures.errors import CheckpointError
from lidar_mt.structures.sample import Sample

#: What decides which samples make up which step of an epoch, and how the user sets it.
_GEOMETRY = {
    "batch_size": "data.batch_size",
    "world_size": "trainer.devices (times trainer.num_nodes)",
    "accumulate": "trainer.accumulate_grad_batches",
    "seed": "seed",
}


@dataclass(frozen=True)
class Position:
    """The batch that comes next.

    Attributes:
        epoch: from 0.
        batches: batches of this epoch that are done, on each rank.
        batch_size: samples per rank and batch.
        world_size: ranks.
        accumulate: batches per optimizer step.
        seed: of the sample order.
    """

    epoch: int
    batches: int
    batch_size: int
    world_size: int
    accumulate: int
    seed: int

    def check(self, own: Position) -> None:
        """Compares how this position's batches were put together with a run's own way.

        At the start of an epoch any way will do: the epoch's order is the same.

        Raises:
            CheckpointError: they differ in the middle of an epoch.
        """
        changed = [
            f"{key}={getattr(self, name)} (now {getattr(own, name)})"
            for name, key in _GEOMETRY.items()
            if getattr(self, name) != getattr(own, name)
        ]
        if self.batches and changed:
            raise CheckpointError(
                f"the checkpoint was saved after batch {self.batches} of epoch {self.epoch + 1} with "
                f"{', '.join(changed)}; go on with the same, or from a checkpoint at the end of an epoch"
            )

    def state_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_state_dict(cls, state_dict: dict[str, Any]) -> Position:
        """The inverse of `state_dict`.

        Raises:
            CheckpointError: a value is missing or no whole number.
        """
        names = cls.__dataclass_fields__
        if set(state_dict) != set(names) or not all(isinstance(value, int) for value in state_dict.values()):
            raise CheckpointError(f"the checkpoint's place in the data is damaged: {state_dict}")
        return cls(**state_dict)


class ResumableLoader(DataLoader[Sample]):
    """A DataLoader that tells Lightning that training may go on in the middle of an epoch.

    There is no state of its own: the sampler begins at the right place by itself.
    """

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to do."""
