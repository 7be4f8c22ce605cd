"""The fewest exceptions from int8 with which a network is as good as it has to be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from lidar_mt.quantization.modules import OutputQuantizer, QuantConv2d, set_mode
from lidar_mt.quantization.sensitivity import Effect, layers
from lidar_mt.quantization.spec import Format
from lidar_mt.structures.errors import ConfigError

#: Precision of each layer that is not as the network has it.
Kinds = Mapping[str, str]
_WIDE_BITS = 16


class PrecisionSwitch:
    """Gives layers of a prepared network another precision, without building it anew.

    A layer in float is one in mode `float`. A result of int16 has a scale of its own, which comes from `observe`.

    Args:
        root: the prepared network, calibrated, in evaluation mode.
    """

    def __init__(self, root: nn.Module) -> None:
        self.root = root
        self.layers = layers(root)
        self._own = {name: _state(module) for name, module in self.layers.items()}
        self._wide: dict[str, tuple[Format, Tensor] | None] = {}

    @torch.no_grad()
    def observe(self, run: Callable[[], object]) -> None:
        """Chooses the int16 scale of every result, as a calibration with exceptions everywhere would.

        Args:
            run: runs the network on calibration data; it is in mode `observe` then, so nothing is rounded.
        """
        self.set({})
        set_mode(self.root, "observe")
        run()
        for name, module in self.layers.items():
            quantizer = _quantizer(module)
            if quantizer is None:
                continue
            quantizer.form = quantizer.settings.scheme.format(not quantizer.form.signed, _WIDE_BITS)
            quantizer.choose()
            self._wide[name] = _state(module)
        self.set({})

    def set(self, kinds: Kinds) -> None:
        """Lets these layers be int16 or float, and all others as the network has them.

        Args:
            kinds: `int16` or `float` by layer.

        Raises:
            ConfigError: int16 for a layer whose result was not observed.
        """
        set_mode(self.root, "quantize")
        for name, module in self.layers.items():
            kind = kinds.get(name)
            if kind == "float":
                set_mode(module, "float")
            if kind == "int16" and self._wide.get(name) is None:
                raise ConfigError(f"{name} cannot be int16: it has no rounded result, or none was observed")
            state = self._wide[name] if kind == "int16" else self._own[name]
            quantizer = _quantizer(module)
            if quantizer is not None and state is not None:
                quantizer.form = state[0]
                quantizer.scale.copy_(state[1])

    def allows(self, name: str, kind: str) -> bool:
        """An exception of that kind would change the layer."""
        quantizer, module = _quantizer(self.layers[name]), self.layers[name]
        own = self._own[name]
        if kind == "int16":
            return quantizer is not None and own is not None and own[0].dtype != "int16"
        return quantizer is not None or (isinstance(module, QuantConv2d) and module.has_codes)


def _quantizer(module: nn.Module) -> OutputQuantizer | None:
    return next((part for part in module.modules() if isinstance(part, OutputQuantizer)), None)


def _state(module: nn.Module) -> tuple[Format, Tensor] | None:
    quantizer = _quantizer(module)
    return None if quantizer is None else (quantizer.form, quantizer.scale.clone())


@dataclass(frozen=True)
class Found:
    """The end of a search.

    Attributes:
        exceptions: precision by name, the most harmful first; where the budget is not met, those that come nearest.
        cost: with these.
        met: the cost is within the budget.
        runs: how many times the cost was computed.
    """

    exceptions: dict[str, str]
    cost: float
    met: bool
    runs: int


def fewest_exceptions(
    orders: Mapping[str, Sequence[str]],
    cost: Callable[[Kinds], float],
    limit: float,
    left: Callable[[str], float] = lambda _: 0.0,
) -> Found:
    """Finds few exceptions whose cost is within a limit.

    The first precision that can meet the limit at all is taken. The shortest sufficient beginning of its order is
    found by bisection; then each of these exceptions is left out where the limit is met without it, the least harmful
    first, or takes an earlier precision where that is enough, those first that lose least by it.

    Args:
        orders: candidates by precision, in the order in which they are tried; the most worthwhile candidate first.
        cost: of a network with these exceptions; smaller is better.
        limit: largest cost that will do.
        left: about what an earlier precision than the last leaves of a candidate's cost.

    Returns:
        The exceptions. A cost that does not fall with each further exception may leave more of them than needed, but
        the limit is met.
    """
    search = _Search(cost, limit)
    if search.met({}):
        return search.found({}, met=True)
    for kind, order in orders.items():
        if search.met(dict.fromkeys(order, kind)):
            chosen = search.prune(search.shortest(order, kind))
            earlier = list(orders)[: list(orders).index(kind)]
            for cheaper in earlier:
                able = sorted((name for name in chosen if name in orders[cheaper]), key=left)
                chosen = search.lower(chosen, able, cheaper)
            return search.found(chosen, met=True)
    return search.found(search.best(), met=False)


class _Search:
    def __init__(self, cost: Callable[[Kinds], float], limit: float) -> None:
        self._cost = cost
        self._limit = limit
        self._known: dict[tuple[tuple[str, str], ...], float] = {}

    def cost(self, kinds: Kinds) -> float:
        key = tuple(sorted(kinds.items()))
        if key not in self._known:
            self._known[key] = self._cost(kinds)
        return self._known[key]

    def met(self, kinds: Kinds) -> bool:
        return self.cost(kinds) <= self._limit

    def shortest(self, order: Sequence[str], kind: str) -> dict[str, str]:
        """The whole order is enough, none of it is not."""
        too_few, enough = 0, len(order)
        while enough - too_few > 1:
            middle = (too_few + enough) // 2
            if self.met(dict.fromkeys(order[:middle], kind)):
                enough = middle
            else:
                too_few = middle
        return dict.fromkeys(order[:enough], kind)

    def prune(self, chosen: dict[str, str]) -> dict[str, str]:
        for name in reversed(list(chosen)):
            fewer = {other: kind for other, kind in chosen.items() if other != name}
            if self.met(fewer):
                chosen = fewer
        return chosen

    def lower(self, chosen: dict[str, str], names: Sequence[str], kind: str) -> dict[str, str]:
        for name in names:
            if chosen[name] != kind and self.met(changed := {**chosen, name: kind}):
                chosen = changed
        return chosen

    def best(self) -> dict[str, str]:
        nearest = min(self._known, key=lambda key: (self._known[key], len(key)))
        return dict(nearest)

    def found(self, chosen: dict[str, str], *, met: bool) -> Found:
        return Found(chosen, self.cost(chosen), met, len(self._known))


def candidate_orders(
    effects: Sequence[Effect], switch: PrecisionSwitch, precisions: Sequence[str]
) -> dict[str, list[str]]:
    """Groups that may be excepted, by precision, the one that takes away the most noise first.

    Args:
        effects: of all groups.
        switch: of the network.
        precisions: that may be used, in the order in which they are tried.
    """
    gain: dict[str, Callable[[Effect], float]] = {
        "int16": lambda effect: effect.relieved,
        "float": lambda effect: effect.rounded.total,
    }
    orders = {}
    for kind in precisions:
        able = [effect for effect in effects if any(switch.allows(name, kind) for name in effect.members)]
        orders[kind] = [effect.name for effect in sorted(able, key=gain[kind], reverse=True)]
    return orders


def layer_kinds(kinds: Kinds, groups: Mapping[str, Sequence[str]], switch: PrecisionSwitch) -> dict[str, str]:
    """Precision of each layer for exceptions of groups; members that the precision would not change are left out."""
    return {member: kind for name, kind in kinds.items() for member in groups[name] if switch.allows(member, kind)}


def exception_rules(kinds: Kinds, groups: Mapping[str, Sequence[str]], names: Sequence[str]) -> list[dict[str, str]]:
    """Exceptions of groups as `quant.exceptions` takes them.

    Args:
        kinds: precision by group.
        groups: members by name of the group.
        names: of everything that an exception may name.

    Returns:
        One rule for a group where a pattern matches its members and nothing else, else one for each member.
    """
    rules = []
    for name, kind in kinds.items():
        members = list(groups[name])
        pattern = members[0] if len(members) == 1 else f"{name}.*"
        exact = [other for other in names if fnmatchcase(other, pattern)] == members
        rules += [{"pattern": one, "precision": kind} for one in ([pattern] if exact else members)]
    return rules


@torch.no_grad()
def copy_state(source: nn.Module, target: nn.Module) -> None:
    """Gives a network with exceptions the weights and scales of the one that they were found on.

    Raises:
        RuntimeError: the target needs what the source lacks.
    """
    state = source.state_dict()
    own = target.state_dict().keys()
    target.load_state_dict({name: value for name, value in state.items() if name in own})
