"""The names under which a run logs losses and scores, known before there is any data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from lidar_mt.structures.told_names import told_names
from lidar_mt.tasks.base import Task

#: Of training steps and of validations.
PREFIXES = ("train", "val")
#: Logged whatever the tasks are: the total loss, and what the learning rate's callback tells.
TOTAL, LEARNING_RATE = "loss", "optimizer/learning_rate"


class LoggedNames(NamedTuple):
    """Names that callbacks can watch.

    Attributes:
        names: all that the tasks and metrics tell.
        untold: beginnings of the names that an object logs without telling them.
    """

    names: tuple[str, ...]
    untold: tuple[str, ...]


def logged_names(tasks: Mapping[str, Any], metrics: Mapping[str, Any]) -> LoggedNames:
    """What `LidarMultiTaskModule` logs in training and validation.

    Args:
        tasks: by name.
        metrics: by name of their task.
    """
    found = {f"{prefix}/{TOTAL}": None for prefix in PREFIXES}
    untold: list[str] = []
    for metric in metrics.values():
        names = told_names(metric, "score_names", "compute")
        untold += ["val/"] if names is None else []
        found.update({f"val/{name}": None for name in names or ()})
    for task in tasks.values():
        names = told_names(task, "term_names", "loss")
        # A loss of one's own still gets its task's name in front, unless the task makes its terms by itself.
        inner = f"{task.name}/" if isinstance(task, Task) and type(task).loss is Task.loss else ""
        for prefix in PREFIXES:
            untold += [f"{prefix}/{inner}"] if names is None else []
            found.update({f"{prefix}/{name}": None for name in names or ()})
    return LoggedNames((*found, LEARNING_RATE), tuple(dict.fromkeys(untold)))
