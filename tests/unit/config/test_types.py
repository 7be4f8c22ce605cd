from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Optional, Union

import pytest
from torch import Tensor

from lidar_mt.config.types import UNKNOWN, Misfit, ObjectNode, describe, misfit
from lidar_mt.structures.grid import Grid

CLASSES = {"Grid": Grid, "dict": dict}
GRID = {"_target_": "Grid"}


def fits(value, hint):
    return misfit(value, hint, "key", CLASSES.__getitem__) is None


@pytest.mark.parametrize(
    ("hint", "good", "bad"),
    [
        (int, [0, -3], [1.0, True, "1", None, [1], {}]),
        (float, [0, 1.5], [True, "1.5", None, [1.0]]),
        (bool, [True, False], [0, 1, "true", None]),
        (str, ["", "a"], [1, True, None, ["a"]]),
        (Path, ["a/b"], [1, None]),
        (int | None, [1, None], ["1", 1.5]),
        (Optional[float], [1, None], ["1"]),  # noqa: UP045
        (Union[int, str, list[int]], [1, "a", [1]], [1.5, ["a"], None]),  # noqa: UP007
        (Literal["a", 16], ["a", 16], ["b", "16", True]),
        (Literal[1], [1], [True, 1.0]),
        (tuple[float, float], [[1, 2.0]], [[1], [1, 2, 3], ["a", 1], 1, "ab"]),
        (tuple[int, ...], [[], [1, 2]], [[1.5], 1]),
        (tuple[tuple[str, ...], ...], [[["a"], []]], [["a"], [[1]]]),
        (Sequence[str], [["a"]], ["a", [1]]),
        (Mapping[str, int], [{}, {"a": 1}], [{"a": "b"}, [1], 1]),
        (Mapping[str, int | None], [{"a": None}], [{"a": 1.5}]),
        (Mapping[str, ObjectNode | None], [{"a": GRID, "b": None}], [{"a": 1}, {"a": {}}, GRID]),
        (float | Tensor, [1.5], ["a", GRID]),
        (Grid, [GRID], [1, None, {}, {"_target_": "dict"}]),
        (ObjectNode, [GRID], [1, {}, None]),
        (Callable[[int], int], [GRID], [1, "f"]),
        (int, [UNKNOWN, {"_target_": "Grid", "_partial_": True}], [GRID]),
        (Any, [1, None, GRID, [{}]], []),
    ],
)
def test_values_and_hints(hint, good, bad):
    assert [value for value in good if not fits(value, hint)] == []
    assert [value for value in bad if fits(value, hint)] == []


def test_the_part_that_does_not_fit_is_named():
    assert misfit({"a": {"b": "x"}}, Mapping[str, Mapping[str, int] | int], "key", dict) == Misfit(
        "key.a.b", "x", "a whole number"
    )
    assert misfit([1, [2, "x"]], list[int | list[int]], "key", dict) == Misfit("key.1.1", "x", "a whole number")
    assert misfit([[1]], list[int] | None, "key", dict) == Misfit("key.0", [1], "a whole number")


def test_descriptions_say_what_a_file_can_hold():
    assert describe(float | Tensor) == "a number"
    assert describe(int | None) == "a whole number or null"
    assert describe(Mapping[str, ObjectNode | None]) == "a mapping, each an object (a mapping with _target_) or null"
    assert describe(tuple[float, float]) == "a list of 2 values"
