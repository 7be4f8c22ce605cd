"""How numbers become integers: number formats, schemes and the exceptions of single modules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from lidar_mt.structures.errors import ConfigError

#: Weights use -127..127: symmetric, so that a product never needs the one code without a counterpart.
WEIGHT_MAX = 127
#: Integers up to here are exact in float32, in which accumulators are computed.
EXACT_FLOAT32 = 2**24


@dataclass(frozen=True)
class Format:
    """Integer format of an activation tensor.

    Inside this package codes are *centred*: real value = scale x code, so zero is code 0. What a runtime stores is
    code + zero_point.

    Attributes:
        low: smallest centred code.
        high: largest centred code.
        zero_point: stored code of zero.
        dtype: type that is stored: uint8, int8 or int16.
    """

    low: int
    high: int
    zero_point: int
    dtype: str

    @property
    def signed(self) -> bool:
        """Negative values have codes."""
        return self.low < 0

    @property
    def unsigned_zero(self) -> int:
        """Zero point when the codes of an affine 8-bit format are stored as uint8; else the zero point itself.

        int8 and uint8 codes that differ by 128 everywhere stand for the same numbers, and runtimes on x86 compute with
        uint8: arithmetic that depends on the zero point uses this one, so that both give the same result.
        """
        affine = self.dtype == "int8" and self.high + self.zero_point == 127 and self.high - self.low == 255
        return self.zero_point + 128 if affine else self.zero_point


def largest_bias(form: Format) -> int:
    """Largest bias code of a convolution of such an input: a quarter of what its accumulators may reach.

    Accumulators of 8-bit codes stay exact in float32, those of 16-bit codes within 32 bits.
    """
    return 2**22 if form.high < 2**8 else 2**30


@dataclass(frozen=True)
class Scheme:
    """The formats of a target.

    Attributes:
        name: as chosen in the configuration.
        positive: format of tensors that are never negative, such as those behind a ReLU.
        signed: format of all other tensors.
        power_of_two: all scales are powers of two, so that rescaling is a shift and float32 arithmetic exact.
    """

    name: str
    positive: Format
    signed: Format
    power_of_two: bool = False

    def format(self, positive: bool, bits: int = 8) -> Format:
        """Format of a tensor; 16 bits are int16 around zero in every scheme."""
        if bits == 16:
            return Format(0 if positive else -(2**15), 2**15 - 1, 0, "int16")
        return self.positive if positive else self.signed


_SCHEMES = {
    # onnxruntime and OpenVINO on x86: with signed activations onnxruntime leaves half of the convolutions in float.
    "u8": (Format(0, 255, 0, "uint8"), Format(-128, 127, 128, "uint8")),
    # TFLite and Ethos-U: the codes of u8 less 128, so one trained network serves both.
    "s8_affine": (Format(0, 255, -128, "int8"), Format(-128, 127, 0, "int8")),
    # TensorRT and boards without zero points.
    "s8_symmetric": (Format(0, 127, 0, "int8"), Format(-128, 127, 0, "int8")),
}
SCALES = ("float", "pow2")


def build_scheme(name: str, scales: str) -> Scheme:
    """The scheme of a configuration.

    Args:
        name: u8, s8_affine or s8_symmetric.
        scales: float or pow2.

    Raises:
        ConfigError: another name.

    Example:
        >>> build_scheme("u8", "float").positive.high
        255
    """
    if name not in _SCHEMES:
        raise ConfigError(f"quant.scheme={name}: expected one of {sorted(_SCHEMES)}")
    if scales not in SCALES:
        raise ConfigError(f"quant.scales={scales}: expected one of {list(SCALES)}")
    return Scheme(name, *_SCHEMES[name], power_of_two=scales == "pow2")


@dataclass(frozen=True)
class Precision:
    """Precision of one module.

    Attributes:
        activation_bits: of its output: 8, 16, or 32 for float.
        weight_bits: of its weights: 8, or 32 for float.
    """

    activation_bits: int = 8
    weight_bits: int = 8


#: What an exception may ask for, by name.
PRECISIONS = {
    "int8": Precision(),
    "int16": Precision(activation_bits=16),
    "float": Precision(activation_bits=32, weight_bits=32),
}


@dataclass(frozen=True)
class Exceptions:
    """Modules with another precision than int8.

    Attributes:
        rules: pairs of a name pattern, such as `heads.detection.*`, and a key of `PRECISIONS`; the last match wins.
    """

    rules: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Raises ConfigError for an unknown precision."""
        for pattern, kind in self.rules:
            if kind not in PRECISIONS:
                raise ConfigError(f"quant.exceptions: {pattern}: {kind} is none of {sorted(PRECISIONS)}")

    def precision(self, name: str) -> Precision:
        """Precision of the module of that name."""
        kinds = [kind for pattern, kind in self.rules if fnmatchcase(name, pattern)]
        return PRECISIONS[kinds[-1]] if kinds else PRECISIONS["int8"]

    def check(self, names: Sequence[str]) -> None:
        """Raises ConfigError when a rule matches none of the names."""
        for pattern, _ in self.rules:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ConfigError(
                    f"quant.exceptions: no module is named {pattern}; names look like {', '.join(names[:3])}"
                )


def build_exceptions(rules: Iterable[tuple[str, str]]) -> Exceptions:
    """Exceptions from pairs of pattern and precision, in order."""
    return Exceptions(tuple((str(pattern), str(kind)) for pattern, kind in rules))
