"""Whether a value of the configuration fits a type hint, and how to say what was expected."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, Union

#: Stands for a value that is only known once the program runs, such as the run folder; it fits every hint.
UNKNOWN = object()


class Referred(dict[str, Any]):
    """A mapping that stands elsewhere (`${grid}`), where what is in it is checked.

    Args:
        content: the mapping.
        owner: dotted key of the place, empty where it is not a plain one.
    """

    def __init__(self, content: Mapping[str, Any], owner: str) -> None:
        super().__init__(content)
        self.owner = owner


class ObjectNode:
    """Hint of an entry that must be an object: a mapping with `_target_`."""


class Misfit(NamedTuple):
    """A value that does not fit.

    Attributes:
        path: dotted key.
        value: what was found there.
        expected: in words.
    """

    path: str
    value: Any
    expected: str


_SCALARS: dict[Any, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str,), "text"),
    Path: ((str,), "a path"),
    type(None): ((type(None),), "null"),
}


_MAPPINGS = (Mapping, dict)
_LISTS = (Sequence, Iterable, list, tuple, set, frozenset)


def misfit(value: Any, hint: Any, path: str, find_class: Callable[[str], type]) -> Misfit | None:
    """The first part of a value that does not fit a type hint.

    YAML decides what a value is: 3 is a whole number and also a number, 3.0 is no whole number, true is neither, and
    only a quoted "3" is text.

    Args:
        value: plain containers and scalars; a mapping with `_target_` stands for an object of that class.
        hint: a type hint. What cannot be decided (TypeVar, unknown generics) fits.
        path: dotted key of the value, for the report.
        find_class: the class that a `_target_` names.

    Returns:
        None where everything fits.

    Example:
        >>> misfit([1, 2.5], list[int], "sizes", type)
        Misfit(path='sizes.1', value=2.5, expected='a whole number')
    """
    if value is UNKNOWN or hint is Any or isinstance(hint, TypeVar):
        return None
    if len(_alternatives(hint)) > 1:
        return _misfit_of_all(value, hint, path, find_class)
    children = _children(value, hint)
    if children is not None:
        return next(filter(None, (misfit(*child, f"{path}.{name}", find_class) for name, child in children)), None)
    return None if _fits(value, hint, find_class) else Misfit(path, value, describe(hint))


def describe(hint: Any) -> str:
    """A type hint in words, such as "a whole number or null"."""
    alternatives = _alternatives(hint)
    if len(alternatives) == 1:
        return _describe_one(hint)
    words = list(dict.fromkeys(_describe_one(one) for one in alternatives))
    # A hint of numbers or objects, such as `float | Tensor`, is met by numbers in a file.
    plain = [word for word in words if not word.startswith("an object")]
    return " or ".join(words if plain in ([], ["null"]) else plain)


def _describe_one(hint: Any) -> str:
    origin, args = typing.get_origin(hint) or hint, typing.get_args(hint)
    words = _SCALARS[hint][1] if hint in _SCALARS else ""
    if origin is Literal:
        words = f"one of {', '.join(str(choice) for choice in args)}"
    elif origin is tuple and args and args[-1] is not Ellipsis:
        words = f"a list of {len(args)} values"
    elif origin in _MAPPINGS:
        words = f"a mapping, each {describe(args[1])}" if len(args) == 2 else "a mapping"
    elif origin in _LISTS:
        words = f"a list, each {describe(args[0])}" if args else "a list"
    name = "" if hint is ObjectNode else f" of {getattr(hint, '__name__', hint)}"
    return words or f"an object{name} (a mapping with _target_)"


def _alternatives(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) in (Union, types.UnionType):
        return tuple(one for arg in typing.get_args(hint) for one in _alternatives(arg))
    return (hint,)


def _misfit_of_all(value: Any, hint: Any, path: str, find_class: Callable[[str], type]) -> Misfit | None:
    found = [misfit(value, one, path, find_class) for one in _alternatives(hint)]
    # A list with one bad element is told by the element, everything else by the value itself.
    deeper = [each for each in found if each is not None and each.path != path]
    if None in found:
        return None
    return deeper[0] if len(deeper) == 1 else Misfit(path, value, describe(hint))


def _fits(value: Any, hint: Any, find_class: Callable[[str], type]) -> bool:
    """Whether something that is no container fits a hint without alternatives."""
    if isinstance(value, dict) and "_target_" in value:
        # What a partial returns is not known before it is called.
        return bool(value.get("_partial_", False)) or _fits_object(find_class(value["_target_"]), hint)
    if typing.get_origin(hint) is Literal:
        return any(value == choice and type(value) is type(choice) for choice in typing.get_args(hint))
    kinds = _SCALARS[hint][0] if hint in _SCALARS else ()
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))


def _fits_object(found: type, hint: Any) -> bool:
    origin = typing.get_origin(hint) or hint
    if hint in _SCALARS or origin is Literal:
        return False
    # Protocols are not asked: which methods an object has says nothing about what they take.
    decidable = inspect.isclass(origin) and hint is not ObjectNode and not getattr(origin, "_is_protocol", False)
    return not decidable or origin is Callable or issubclass(found, origin)


def _children(value: Any, hint: Any) -> Iterator[tuple[Any, tuple[Any, Any]]] | None:
    """Pairs of element and hint by name, or None where the value is not the container that is asked for."""
    origin, args = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin in _MAPPINGS and isinstance(value, dict) and "_target_" not in value:
        element = args[1] if len(args) == 2 else Any
        return ((name, (one, element)) for name, one in value.items())
    if origin not in _LISTS or not isinstance(value, list):
        return None
    if origin is tuple and args and args[-1] is not Ellipsis:
        return enumerate(zip(value, args, strict=True)) if len(value) == len(args) else None
    element = args[0] if args else Any
    return ((i, (one, element)) for i, one in enumerate(value))
