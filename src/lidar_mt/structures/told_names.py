"""Names that an object tells beforehand of what it is going to make."""

from __future__ import annotations

from typing import Any


def told_names(owner: Any, teller: str, maker: str) -> tuple[str, ...] | None:
    """The names that an object tells; None where it tells none, or those of another class.

    A subclass that makes things anew and says nothing about their names inherits names that need not be its own.

    Args:
        owner: the object.
        teller: its property with the names.
        maker: its method that makes what is named.

    Example:
        >>> class Loss:
        ...     terms = ("l1",)
        ...     def __call__(self): ...
        >>> class Other(Loss):
        ...     def __call__(self): ...
        >>> told_names(Loss(), "terms", "__call__"), told_names(Other(), "terms", "__call__")
        (('l1',), None)
    """
    told, made = _place(owner, teller), _place(owner, maker)
    if told is None or (made is not None and made < told):
        return None
    names = getattr(owner, teller)
    return None if names is None else tuple(names)


def _place(owner: Any, name: str) -> int | None:
    """How far up its line of classes a name is defined."""
    return next((place for place, base in enumerate(type(owner).__mro__) if name in vars(base)), None)
