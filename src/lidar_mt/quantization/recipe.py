"""How a network becomes integers, as a user writes it down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from lidar_mt.quantization.modules import Settings
from lidar_mt.quantization.spec import build_exceptions, build_scheme
from lidar_mt.structures.errors import ConfigError

_RULE = {"pattern", "precision"}


class Quantization:
    """Settings and exceptions of a quantized network.

    Args:
        scheme: number formats, see `spec.build_scheme`.
        scales: any float32, or powers of two.
        observer: how calibration chooses activation scales, see `observers.choose_scale`.
        percentile: for that observer [%].
        exceptions: mappings of `pattern`, a name with `*`, and `precision`, one of int8, int16 and float; the last
            match wins.
        moving_momentum: share of the newest batch in activation scales during training; 0 freezes them.

    Raises:
        ConfigError: a value is out of range, or an exception is no pair of pattern and precision.
    """

    def __init__(
        self,
        scheme: Literal["u8", "s8_affine", "s8_symmetric"] = "u8",
        scales: Literal["float", "pow2"] = "float",
        observer: Literal["mse", "minmax", "percentile"] = "mse",
        percentile: float = 99.99,
        exceptions: Sequence[Mapping[str, str]] = (),
        moving_momentum: float = 0.0,
    ) -> None:
        if not 0 < percentile <= 100:
            raise ConfigError(f"quant.percentile={percentile}: expected a number above 0 and up to 100")
        if not 0 <= moving_momentum <= 1:
            raise ConfigError(f"quant.moving_momentum={moving_momentum}: expected a number from 0 to 1")
        wrong = [dict(rule) for rule in exceptions if set(rule) != _RULE]
        if wrong:
            raise ConfigError(f"quant.exceptions: expected {{pattern: NAME, precision: KIND}}, got {wrong[0]}")
        self.settings = Settings(build_scheme(scheme, scales), observer, percentile, moving_momentum)
        self.exceptions = build_exceptions((rule["pattern"], rule["precision"]) for rule in exceptions)
