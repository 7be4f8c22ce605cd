"""Two forms of a network on the same frames: every output, every layer that both show, and the decoded results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lidar_mt.deploy.agreement import Agreement, compare_decoded
from lidar_mt.deploy.signature import describe
from lidar_mt.deploy.trace import Form
from lidar_mt.quantization.compare import Activation, Difference, Tally
from lidar_mt.structures.classes import Classes
from lidar_mt.structures.errors import ArtefactError
from lidar_mt.structures.grid import Grid
from lidar_mt.structures.outputs import NetOutput
from lidar_mt.structures.pillars import Pillars
from lidar_mt.tasks.base import AnyTask

#: Unit of each output by its kind, the last part of its name; sine and cosine have none.
UNITS = {
    "segmentation": "logit",
    "reg": "m",
    "height": "m",
    "dim": "log m",
    "rot": "",
    "vel": "m/s",
    "heatmap": "logit",
}
#: Score above which a cell is looked at as that of an object, as the decoder does.
OBJECT_SCORE = 0.1


@dataclass(frozen=True)
class OutputRow:
    """One output.

    Attributes:
        name: as at the export border.
        kind: last part of the name.
        group: classes of the sub-head, empty for other outputs.
        unit: of its values.
        difference: between the two forms.
        at_objects: the same over cells that may hold an object of the group, where a's score exceeds `OBJECT_SCORE`:
            elsewhere boxes are never trained, nor read. None for outputs without a heatmap beside them.
    """

    name: str
    kind: str
    group: str
    unit: str
    difference: Difference
    at_objects: Difference | None


@dataclass(frozen=True)
class Report:
    """Two forms compared.

    Attributes:
        a: how the user named the first.
        b: how the user named the second.
        frames: how many were computed.
        outputs: in the network's order.
        layers: that both show, in the order of computation.
        only_a: layers that a alone shows.
        only_b: layers that b alone shows.
        decoded: agreement of the predictions, by task.
    """

    a: str
    b: str
    frames: int
    outputs: tuple[OutputRow, ...]
    layers: Mapping[str, Difference]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    decoded: Mapping[str, Agreement]

    @property
    def unequal_layers(self) -> list[str]:
        """Layers that differ, in codes or in values."""
        return [name for name, found in self.layers.items() if found.differing_codes or not found.equal]

    @property
    def unequal_outputs(self) -> list[str]:
        """Outputs that differ."""
        return [row.name for row in self.outputs if not row.difference.equal]

    @property
    def equal(self) -> bool:
        """No value differs anywhere."""
        return not (self.unequal_layers or self.unequal_outputs)


@dataclass(frozen=True)
class Frame:
    """What pictures are drawn from.

    Attributes:
        heatmap: (2, H, W) largest probability of any class in each cell, of a and of b; None without detection.
        labels: (2, H, W) segmentation labels of a and of b; None without segmentation.
    """

    heatmap: Tensor | None
    labels: Tensor | None


class Comparison:
    """Compares two forms frame by frame.

    Args:
        a: first form, which errors are measured against.
        b: second form.
        tasks: decoders by task name; those without an output are left out.
        grid: cell size, by which offsets become metres.
        classes: names of the groups of the detection head.
    """

    def __init__(self, a: Form, b: Form, tasks: Mapping[str, AnyTask], grid: Grid, classes: Classes) -> None:
        self.forms = a, b
        self.tasks = tasks
        self.grid = grid
        self.classes = classes
        self.frames = 0
        self._outputs: dict[str, Tally] = {}
        self._at_objects: dict[str, Tally] = {}
        self._layers: dict[str, Tally] = {}
        self._only: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
        self._decoded: dict[str, Agreement] = {}

    def add(self, pillars: Pillars) -> Frame:
        """Computes and compares one frame; returns what can be drawn of it.

        Raises:
            ArtefactError: the two forms have other outputs, or layers of another shape.
        """
        traces = [form.trace(pillars) for form in self.forms]
        outputs = [dict(describe(trace.output)[1]) for trace in traces]
        if list(outputs[0]) != list(outputs[1]):
            raise ArtefactError(
                f"the two networks have other outputs: {sorted(outputs[0].keys() ^ outputs[1].keys())[:3]}; compare "
                "forms of one network"
            )
        for name in outputs[0]:
            one, other = (Activation(self._in_units(name, values[name])) for values in outputs)
            _add(self._outputs, name, one, other)
            seen = _objects(name, outputs[0])
            if seen is not None:
                _add(self._at_objects, name, *(Activation(part.values.movedim(1, -1)[seen]) for part in (one, other)))
        first, second = (trace.layers for trace in traces)
        for name in first:
            if name in second:
                _add(self._layers, name, first[name], second[name])
        self._only = (
            tuple(name for name in first if name not in second),
            tuple(name for name in second if name not in first),
        )
        self.frames += 1
        return self._decode(traces[0].output, traces[1].output)

    def report(self, a: str, b: str) -> Report:
        """What was found.

        Args:
            a: name of the first form.
            b: name of the second.
        """
        rows = (self._row(name, tally.result()) for name, tally in self._outputs.items())
        layers = {name: tally.result() for name, tally in self._layers.items()}
        return Report(a, b, self.frames, tuple(rows), layers, *self._only, self._decoded)

    def _in_units(self, name: str, values: Tensor) -> Tensor:
        """Offsets [cells] become metres; all others have their unit."""
        if name.endswith(".reg") and values.shape[1] == 2:
            return values * values.new_tensor(self.grid.head_cell_size).view(1, 2, 1, 1)
        return values

    def _row(self, name: str, difference: Difference) -> OutputRow:
        parts = name.split(".")
        group = ""
        if len(parts) == 3 and parts[1].isdigit() and int(parts[1]) < len(self.classes.groups):
            group = ", ".join(self.classes.groups[int(parts[1])])
        at_objects = self._at_objects[name].result() if name in self._at_objects else None
        return OutputRow(name, parts[-1], group, UNITS.get(parts[-1], ""), difference, at_objects)

    @torch.no_grad()
    def _decode(self, a: NetOutput, b: NetOutput) -> Frame:
        decoded: dict[str, tuple[Any, Any]] = {
            name: (task.decode(a[name]), task.decode(b[name])) for name, task in self.tasks.items() if name in a
        }
        labels = None
        for name, (one, other) in decoded.items():
            found = compare_decoded(one, other, self._decoded.get(name))
            if found is not None:
                self._decoded[name] = found
            if isinstance(one, Tensor) and one.dim() == 3:
                labels = torch.cat([one[:1], other[:1]])
        return Frame(_heatmaps(a, b), labels)


def _add(tallies: dict[str, Tally], name: str, a: Activation, b: Activation) -> None:
    try:
        tallies.setdefault(name, Tally()).add(a, b)
    except ValueError as error:
        raise ArtefactError(f"{name}: {error}; compare forms of one network") from error


def _objects(name: str, outputs: Mapping[str, Tensor]) -> Tensor | None:
    """(B, H, W) bool: cells whose score in the heatmap beside an output exceeds `OBJECT_SCORE`."""
    heatmap = outputs.get(f"{name.rpartition('.')[0]}.heatmap")
    return None if heatmap is None else heatmap.amax(dim=1).sigmoid() > OBJECT_SCORE


def _heatmaps(a: NetOutput, b: NetOutput) -> Tensor | None:
    best = []
    for output in (a, b):
        maps = [values[0] for name, values in describe(output)[1] if name.endswith(".heatmap")]
        if not maps:
            return None
        best.append(torch.cat(maps).float().amax(dim=0).sigmoid())
    return torch.stack(best)
