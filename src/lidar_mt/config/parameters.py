"""What a mapping of the configuration may hold: the parameters of the class that it names."""

from __future__ import annotations

import functools
import inspect
import typing
from typing import Any

import hydra.utils

from lidar_mt.config.instantiate import check_target

#: Classes whose `**kwargs` go to a class that is no base of theirs.
_WRAPPERS = {"DDPStrategy": "torch.nn.parallel.DistributedDataParallel"}
_VAR_POSITIONAL, _VAR_KEYWORD = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD


class Parameters(typing.NamedTuple):
    """Keys that a mapping may hold.

    Attributes:
        owner: what takes them, for messages.
        hints: type hint by key.
        closed: no other keys are taken.
    """

    owner: str
    hints: dict[str, Any]
    closed: bool = True


def find_class(target: str) -> type:
    """The class that a `_target_` names.

    Raises:
        ConfigError: it is not on the allow-list, or not to be found.
    """
    check_target(target)
    found: type = hydra.utils.get_class(target)
    return found


@functools.lru_cache(maxsize=256)
def parameters_of(target: str) -> Parameters:
    """Parameters of the constructor of the class that a `_target_` names.

    Where a constructor hands `**kwargs` on, those of the base classes count as well.

    Raises:
        ConfigError: the class is not on the allow-list, or not to be found.
    """
    found = find_class(target)
    hints: dict[str, Any] = {}
    for owner in inspect.getmro(found):
        if owner is object or "__init__" not in vars(owner):
            continue
        init = vars(owner)["__init__"]
        own = list(inspect.signature(init).parameters.values())[1:]
        known = typing.get_type_hints(init)
        named = [each.name for each in own if each.kind not in (_VAR_POSITIONAL, _VAR_KEYWORD)]
        hints = {**{name: known.get(name, Any) for name in named}, **hints}
        if all(each.kind != _VAR_KEYWORD for each in own):
            return Parameters(found.__name__, {**_wrapped(found), **hints})
    # What the last `**kwargs` takes is not known, unless there is no constructor at all.
    return Parameters(found.__name__, hints, closed=not hints)


def _wrapped(found: type) -> dict[str, Any]:
    """Parameters, with any type, of what a wrapper makes; none of a class that is no wrapper."""
    targets = [_WRAPPERS[base.__name__] for base in inspect.getmro(found) if base.__name__ in _WRAPPERS]
    names = (name for target in targets for name in inspect.signature(hydra.utils.get_class(target)).parameters)
    return {name: Any for name in names if name not in ("module", "kwargs")}
