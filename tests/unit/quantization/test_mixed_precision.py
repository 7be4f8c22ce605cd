from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from lidar_mt.quantization.costs import OutputNoise
from lidar_mt.quantization.mixed_precision import (
    PrecisionSwitch,
    candidate_orders,
    copy_state,
    exception_rules,
    fewest_exceptions,
    layer_kinds,
)
from lidar_mt.quantization.modules import quantizers
from lidar_mt.quantization.sensitivity import PartialRuns, group_layers, layers, measure_effects
from lidar_mt.quantization.spec import build_exceptions
from lidar_mt.structures.errors import ConfigError
from tests.helpers.chain_network import calibrated, chain, image, with_outlier, with_outlier_weight

IMAGES = [image(1), image(2)]


class Searched:
    """A search on a network, as the program does it."""

    def __init__(self, body, limit, precisions=("int16", "float"), by="layer"):
        self.body = body
        self.groups = group_layers(list(layers(body)), by)
        self.effects = measure_effects(body, PartialRuns(body, lambda x: x), self.groups, IMAGES)
        self.switch = PrecisionSwitch(body)
        self.switch.observe(lambda: body(image(7)))
        self.noise = OutputNoise(body, body, IMAGES)
        orders = candidate_orders(self.effects, self.switch, precisions)
        self.found = fewest_exceptions(orders, self.cost, limit)

    def cost(self, kinds):
        self.switch.set(layer_kinds(kinds, self.groups, self.switch))
        return self.noise.quality().total


@pytest.mark.parametrize(
    ("spoil", "precision"), [(with_outlier, "int16"), (with_outlier_weight, "float")], ids=["result", "weight"]
)
def test_the_bad_layer_is_the_one_exception(spoil, precision):
    good = OutputNoise(body := calibrated(chain()), body, IMAGES).quality().total
    bad = calibrated(spoil(chain()))
    assert OutputNoise(bad, bad, IMAGES).quality().total > 10 * good
    search = Searched(bad, 3 * good)
    assert search.effects[0].name == "block.expand"
    assert search.found.exceptions == {"block.expand": precision}
    assert search.found.met
    assert search.found.cost <= 3 * good


def test_without_float_a_bad_weight_cannot_be_helped():
    bad = calibrated(with_outlier_weight(chain()))
    search = Searched(bad, 1e-6, ("int16",))
    assert not search.found.met
    assert search.found.cost == min(search.cost({}), search.cost(search.found.exceptions))
    assert search.found.cost > 1e-6


def test_a_good_network_needs_no_exception():
    search = Searched(calibrated(chain()), 1.0)
    assert search.found.exceptions == {}
    assert search.found.runs == 1


@torch.no_grad()
@pytest.mark.parametrize("kinds", [{"block.expand": "int16", "add": "int16"}, {"stem": "float", "heads.map": "float"}])
def test_switching_is_building_with_exceptions(kinds):
    net = chain()
    body = calibrated(net, observer="mse")
    before = {name: float(quantizer.scale) for name, quantizer in quantizers(body)}
    switch = PrecisionSwitch(body)
    switch.observe(lambda: body(image(7)))
    switch.set(kinds)
    # Built and calibrated with them, on the same data.
    built = calibrated(net, tuple(kinds.items()), observer="mse")
    for task, expected in built(image(1)).items():
        assert torch.equal(body(image(1))[task], expected)
    other = calibrated(net, tuple(kinds.items()))
    copy_state(body, other)
    assert all(torch.equal(other(image(1))[task], expected) for task, expected in built(image(1)).items())
    switch.set({})
    assert {name: float(quantizer.scale) for name, quantizer in quantizers(body)} == before
    plain = calibrated(net, observer="mse")
    assert torch.equal(body(image(1))["map"], plain(image(1))["map"])


def test_what_a_layer_can_be():
    body = calibrated(chain(), rules=(("stem", "int16"), ("block.tail", "float")))
    switch = PrecisionSwitch(body)
    assert "block.tail" not in switch.layers, "there is nothing left to round"
    can = {name: [kind for kind in ("int16", "float") if switch.allows(name, kind)] for name in switch.layers}
    assert can["stem"] == ["float"]
    assert can["heads.map"] == ["float"], "its result is an accumulator"
    assert can["add"] == can["block.expand"] == ["int16", "float"]
    with pytest.raises(ConfigError, match="add cannot be int16"):
        switch.set({"add": "int16"})


def additive(harms, int16_leaves=None):
    """A cost to which each candidate adds its harm, unless it is excepted."""
    leaves = int16_leaves or dict.fromkeys(harms, 0.0)

    def cost(kinds):
        return sum(
            leaves[name] if kinds.get(name) == "int16" else 0.0 if kinds.get(name) == "float" else harm
            for name, harm in harms.items()
        )

    return cost


def test_as_few_as_trying_every_set_finds():
    rng = np.random.default_rng(0)
    for _ in range(60):
        harms = {f"layer{number}": float(value) for number, value in enumerate(rng.lognormal(0, 2, 7))}
        limit = float(rng.uniform(0, 1.1)) * sum(harms.values())
        order = sorted(harms, key=harms.get, reverse=True)
        cost = additive(harms)
        found = fewest_exceptions({"int16": order}, cost, limit)
        sets = (set(some) for size in range(8) for some in itertools.combinations(order, size))
        fewest = next(len(some) for some in sets if cost(dict.fromkeys(some, "int16")) <= limit)
        assert found.met
        assert len(found.exceptions) == fewest
        assert found.cost == pytest.approx(cost(found.exceptions))
        assert found.cost <= limit


def test_what_turns_out_not_to_be_needed_is_left_out():
    # `late` alone is what matters, but ranks last.
    def cost(kinds):
        return 0.0 if "late" in kinds else 1.0

    found = fewest_exceptions({"int16": ["a", "b", "c", "late"]}, cost, 0.5)
    assert found.exceptions == {"late": "int16"}


def test_float_only_where_int16_is_not_enough():
    harms = {"a": 10.0, "b": 8.0, "c": 1.0}
    cost = additive(harms, {"a": 9.0, "b": 0.1, "c": 0.1})
    orders = {"int16": ["b", "a", "c"], "float": ["a", "b", "c"]}
    found = fewest_exceptions(orders, cost, 1.5)
    assert found.exceptions == {"a": "float", "b": "int16"}
    assert fewest_exceptions(orders, cost, 12.0).exceptions == {"b": "int16"}


def test_those_take_int16_that_lose_least_by_it():
    leaves = {"a": 0.5, "b": 0.9, "c": 0.3}
    cost = additive({"a": 10.0, "b": 8.0, "c": 6.0}, leaves)
    orders = {"int16": ["a", "b", "c"], "float": ["a", "b", "c"]}
    found = fewest_exceptions(orders, cost, 1.0, leaves.__getitem__)
    assert found.exceptions == {"a": "int16", "b": "float", "c": "int16"}


def test_the_nearest_is_told_where_nothing_helps():
    found = fewest_exceptions({"int16": ["a", "b"]}, additive({"a": 4.0, "b": 2.0}, {"a": 3.0, "b": 1.0}), 0.1)
    assert not found.met
    assert found.exceptions == {"a": "int16", "b": "int16"}
    assert found.cost == 4.0


def test_rules_match_their_layers_and_no_others():
    names = ["a.x", "a.y", "b.z", "b.other", "b.more.deep", "c"]
    groups = {"a": ("a.x", "a.y"), "b": ("b.z", "b.more.deep"), "c": ("c",)}
    rules = exception_rules({"a": "int16", "b": "float", "c": "int16"}, groups, names)
    assert rules == [
        {"pattern": "a.*", "precision": "int16"},
        {"pattern": "b.z", "precision": "float"},
        {"pattern": "b.more.deep", "precision": "float"},
        {"pattern": "c", "precision": "int16"},
    ]
    exceptions = build_exceptions((rule["pattern"], rule["precision"]) for rule in rules)
    assert [exceptions.precision(name).activation_bits for name in names] == [16, 16, 32, 8, 32, 16]
