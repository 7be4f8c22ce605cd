from __future__ import annotations

import pytest

from lidar_mt.quantization.recipe import Quantization
from lidar_mt.structures.errors import ConfigError


def test_what_is_configured_is_what_modules_get() -> None:
    rules = [{"pattern": "*", "precision": "int16"}, {"pattern": "a.*", "precision": "float"}]
    made = Quantization("s8_symmetric", "pow2", "percentile", 99.0, rules, 0.1)
    assert made.settings.scheme.name == "s8_symmetric"
    assert made.settings.scheme.power_of_two
    assert (made.settings.observer, made.settings.percentile, made.settings.moving_momentum) == (
        "percentile",
        99.0,
        0.1,
    )
    assert made.exceptions.precision("a.b").weight_bits == 32
    assert made.exceptions.precision("b").activation_bits == 16


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"percentile": 0.0}, "percentile=0.0"),
        ({"percentile": 101.0}, "percentile=101"),
        ({"moving_momentum": 1.5}, "moving_momentum=1.5"),
        ({"exceptions": [{"patern": "a", "precision": "int8"}]}, "patern"),
        ({"exceptions": [{"pattern": "a"}]}, "pattern: NAME, precision: KIND"),
        ({"exceptions": [{"pattern": "a", "precision": "int3"}]}, "int3"),
    ],
)
def test_bad_values_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Quantization(**values)  # type: ignore[arg-type]
