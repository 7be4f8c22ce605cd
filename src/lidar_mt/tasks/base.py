"""What a task is, apart from its head: what the engine loops over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from torch import Tensor

from lidar_mt.structures.errors import ConfigError
from lidar_mt.structures.sample import Batch
from lidar_mt.structures.told_names import told_names

OutputT = TypeVar("OutputT")
TargetsT = TypeVar("TargetsT")
PredictionsT = TypeVar("PredictionsT")


class Task(Generic[OutputT, TargetsT, PredictionsT]):
    """One task: its name, its weight in the total loss, and its target, loss and decoder.

    Training, evaluation and export take every task that the configuration names; CONTRIBUTING lists what a new one
    consists of. Pictures, `infer` and its page draw `detection` and `segmentation`, and leave other tasks out.

    Attributes:
        name: key of the task in the network's output, and first part of its terms' names.
        weight: factor of the task in the total loss.

    Args:
        name: see above.
        weight: see above, >= 0.
        target: builds the targets of a batch; None if the batch holds no labels for this task.
        loss: compares output and targets; returns scalar terms by name, not yet weighted by the task. Where it has a
            property `terms`, these are the names.
        decoder: turns output into predictions.

    Raises:
        ConfigError: the weight is negative.
    """

    def __init__(
        self,
        name: str,
        weight: float,
        target: Callable[[Batch], TargetsT | None],
        loss: Callable[[OutputT, TargetsT], Mapping[str, Tensor]],
        decoder: Callable[[OutputT], PredictionsT],
    ) -> None:
        if weight < 0:
            raise ConfigError(f"task.{name}.weight: expected a number >= 0, got {weight}")
        self.name = name
        self.weight = float(weight)
        self._target = target
        self._loss = loss
        self._decoder = decoder

    def target(self, batch: Batch) -> TargetsT | None:
        """Targets of a batch, on the device of its labels; None if it has no labels for this task."""
        return self._target(batch)

    def loss(self, output: OutputT, targets: TargetsT | None) -> dict[str, Tensor]:
        """Scalar loss terms such as `detection/car/box`, not yet times `weight`; none without targets."""
        if targets is None:
            return {}
        return {f"{self.name}/{term}": value for term, value in self._loss(output, targets).items()}

    @property
    def term_names(self) -> tuple[str, ...] | None:
        """Names of what `loss` returns when there are targets; None where the loss does not tell them."""
        terms = told_names(self._loss, "terms", "__call__")
        return None if terms is None else tuple(f"{self.name}/{term}" for term in terms)

    def decode(self, output: OutputT) -> PredictionsT:
        """Predictions of a batch from the head's output."""
        return self._decoder(output)


#: A task whose output, targets and predictions the caller only passes on.
AnyTask = Task[Any, Any, Any]
