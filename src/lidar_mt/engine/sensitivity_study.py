"""What the rounding of each layer does to a trained module's outputs and losses, and which exceptions meet a budget."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from lidar_mt.data.collate import collate
from lidar_mt.data.dataset import NuScenesLidarDataset
from lidar_mt.engine.lit_module import LidarMultiTaskModule
from lidar_mt.models.quantized_multitask import QuantizedMultiTaskNet
from lidar_mt.quantization.costs import LossIncrease, OutputNoise
from lidar_mt.quantization.mixed_precision import (
    Found,
    Kinds,
    PrecisionSwitch,
    candidate_orders,
    copy_state,
    exception_rules,
    fewest_exceptions,
    layer_kinds,
)
from lidar_mt.quantization.report import rows
from lidar_mt.quantization.sensitivity import (
    By,
    Effect,
    PartialRuns,
    Quality,
    decibels,
    group_layers,
    layers,
    measure_effects,
    measure_losses,
    no_cells,
)
from lidar_mt.structures.errors import ConfigError
from lidar_mt.structures.pillars import Pillars
from lidar_mt.structures.sample import Batch
from lidar_mt.tasks.detection.object_cells import object_cells

MEASURES = ("sqnr", "loss")
_INTERVAL_S = 15.0

log = logging.getLogger("lidar_mt.sensitivity")


class Keyframe(NamedTuple):
    """A sample that is run many times.

    Attributes:
        pillars: of one sample.
        targets: by task name.
    """

    pillars: Pillars
    targets: dict[str, Any]


class Budget:
    """What a quantized network may cost.

    Args:
        measure: `sqnr` of the outputs, or `loss`.
        value: least SQNR [dB], or largest increase of the loss over that in float [%].

    Raises:
        ConfigError: the measure is unknown.
    """

    def __init__(self, measure: str, value: float) -> None:
        if measure not in MEASURES:
            raise ConfigError(f"measure={measure}: expected one of {list(MEASURES)}")
        self.measure = measure
        #: Largest cost: noise over signal, or share of the loss.
        self.limit = 10 ** (-value / 10) if measure == "sqnr" else value / 100
        self.text = f"SQNR of at least {value:g} dB" if measure == "sqnr" else f"loss at most {value:g} % above float"

    def show(self, cost: float) -> str:
        """A cost in the budget's unit."""
        return f"SQNR {decibels(cost):.2f} dB" if self.measure == "sqnr" else f"loss {100 * cost:+.3f} %"


class SensitivityStudy:
    """Runs a calibrated or trained quantized module with this or that rounded.

    Args:
        module: with a `QuantizedMultiTaskNet`; left in evaluation mode.
        by: see `sensitivity.group_layers`.
        score_threshold: box values count in cells where the float network scores more; None counts all.
    """

    def __init__(self, module: LidarMultiTaskModule, by: By, score_threshold: float | None) -> None:
        if not isinstance(module.net, QuantizedMultiTaskNet):
            raise TypeError(f"expected a quantized network, got {type(module.net).__name__}")
        self.module = module.eval()
        self.net = module.net
        self.groups = group_layers(list(layers(self.net)), by)
        self.cells = no_cells if score_threshold is None else lambda outputs: object_cells(outputs, score_threshold)
        #: What each layer computes, by name; an exception may name any of them.
        self.kinds = {row.module: row.kind for row in rows(self.net) if row.output != "as input"}
        self._runs = PartialRuns(self.net.body, self.net.canvas)

    def keyframes(self, dataset: NuScenesLidarDataset, number: int) -> list[Keyframe]:
        """Keyframes at even distances over a split, loaded and voxelized once."""
        places = np.unique(np.linspace(0, len(dataset) - 1, min(number, len(dataset))).round().astype(int))
        return [self._keyframe(collate([dataset[int(place)]])) for place in places]

    def rank(self, keyframes: Sequence[Keyframe]) -> tuple[list[Effect], Quality]:
        """The effect of each group, largest first, and the quality with everything rounded."""
        pillars = [keyframe.pillars for keyframe in keyframes]
        told = _Progress("measured", len(pillars), "keyframes")
        effects = measure_effects(self.net, self._runs, self.groups, pillars, self.cells, told)
        return effects, OutputNoise(self.net, self.net.forward_pillars, pillars, self.cells).quality()

    def add_losses(self, effects: Sequence[Effect], keyframes: Sequence[Keyframe]) -> None:
        """Measures the losses of these effects as well."""
        measure_losses(self.net, self._runs, effects, keyframes, self._losses)

    def search(
        self,
        effects: Sequence[Effect],
        keyframes: Sequence[Keyframe],
        budget: Budget,
        precisions: Sequence[str],
        calibration: Iterable[Batch],
        build: Callable[[list[dict[str, str]]], QuantizedMultiTaskNet],
    ) -> tuple[Found, float]:
        """The fewest exceptions that meet a budget.

        Args:
            effects: of all groups.
            keyframes: on which the cost is computed.
            budget: what it may be.
            precisions: of exceptions, in the order in which they are tried.
            calibration: batches from which the int16 scales are chosen.
            build: an uncalibrated network with more exceptions, given as rules.

        Returns:
            What was found, by group, and the cost of a network that was built with these exceptions.
        """
        switch = PrecisionSwitch(self.net)
        # Chosen as `stage=calibrate` chooses them, and from the same keyframes.
        switch.observe(lambda: self._run(calibration))
        cost_of = self._cost(keyframes, budget)
        told = _Progress("tried", None, "sets of exceptions")

        def cost(kinds: Kinds) -> float:
            switch.set(layer_kinds(kinds, self.groups, switch))
            told.step()
            return cost_of(self.net)

        left = {effect.name: effect.weights.total for effect in effects}
        orders = candidate_orders(effects, switch, precisions)
        found = fewest_exceptions(orders, cost, budget.limit, left.__getitem__)
        switch.set(layer_kinds(found.exceptions, self.groups, switch))
        built = build(self.rules(found.exceptions)).to(self.module.device).eval()
        copy_state(self.net, built)
        verified = cost_of(built)
        switch.set({})
        return found, verified

    def rules(self, exceptions: Kinds) -> list[dict[str, str]]:
        """Exceptions of groups as `quant.exceptions` takes them."""
        return exception_rules(exceptions, self.groups, list(self.kinds))

    def _cost(self, keyframes: Sequence[Keyframe], budget: Budget) -> Callable[[QuantizedMultiTaskNet], float]:
        pillars = [keyframe.pillars for keyframe in keyframes]
        if budget.measure == "sqnr":
            noise = OutputNoise(self.net, self.net.forward_pillars, pillars, self.cells)
            return lambda net: noise.quality(net.forward_pillars).total
        increase = LossIncrease(self.net, self.net.forward_pillars, keyframes, self._losses)
        return lambda net: increase.shares(net.forward_pillars)["total"]

    def _losses(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> dict[str, float]:
        """Weighted loss of each task, and their sum."""
        terms = {
            name: task.weight * float(sum(task.loss(outputs[name], targets[name]).values()))
            for name, task in self.module.tasks.items()
        }
        return {"total": sum(terms.values()), **terms}

    def _run(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            self.module([points.to(self.module.device) for points in batch.points])

    @torch.no_grad()
    def _keyframe(self, batch: Batch) -> Keyframe:
        batch = self.module.transfer_batch_to_device(batch, self.module.device, 0)
        targets = {name: task.target(batch) for name, task in self.module.tasks.items()}
        return Keyframe(self.module.voxelizer(batch.points), targets)


class _Progress:
    """A line now and then."""

    def __init__(self, verb: str, total: int | None, what: str) -> None:
        self._verb, self._total, self._what = verb, total, what
        self._number = 0
        self._told = time.monotonic()

    def __call__(self, number: int) -> None:
        self._number = number
        now = time.monotonic()
        if now - self._told > _INTERVAL_S:
            self._told = now
            of = "" if self._total is None else f" of {self._total}"
            log.info("%s %d%s %s", self._verb, number, of, self._what)

    def step(self) -> None:
        """One more."""
        self(self._number + 1)
