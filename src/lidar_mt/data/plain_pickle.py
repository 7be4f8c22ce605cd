"""Reads and writes pickles of plain values: the format that other toolkits expect of some files.

A pickle is a program that its reader runs. This reader runs none: it makes dicts, lists, tuples, sets, numbers,
strings, bytes, None and numpy arrays of numbers, truth values and strings, and refuses every other name that a file
asks for before anything is imported or called. Numpy's own functions are not called with what a file says either,
because a forged dtype can make them read memory that is not theirs: small stand-ins take their place and check it.

Files written here end with a checksum behind the pickle, where other readers do not look.
"""

from __future__ import annotations

import math
import os
import pickle
import pickletools
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from lidar_mt.structures.errors import DataError

#: Readable by every supported Python; 5 would send arrays through another function of numpy.
_PROTOCOL = 4
_KINDS = "biufSU"
# What a damaged or forged stream makes the unpickler raise, from its own checks and from those below.
_STREAM_ERRORS = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    MemoryError,
    RecursionError,
    ImportError,
)


def read_pickle(path: str | Path) -> Any:
    """Reads a pickle of plain values.

    Args:
        path: the file; from any pickle protocol and from numpy 1 or 2.

    Raises:
        DataError: the file is missing, unreadable or damaged, or asks for anything but plain values and plain arrays;
            the message names what it asked for.
    """
    try:
        with Path(path).open("rb") as file:
            if not _has_good_checksum(file):
                _check_memo(file)
            file.seek(0)
            return _finish(_PlainUnpickler(file).load(), {})
    except FileNotFoundError as error:
        raise DataError(f"no such file: {path}; run `make create-data`") from error
    except _RefusedError as error:
        raise DataError(
            f"{path} asks for {error}, which is neither a plain value nor a numpy array: it was not written by "
            "`make create-data`, nothing of it was run; do not open it with other programs"
        ) from error
    except (*_STREAM_ERRORS, OSError) as error:
        raise DataError(f"{path} is no readable pickle ({type(error).__name__}: {error}); write it again") from error


def write_pickle(path: Path, value: Any) -> None:
    """Writes a pickle; the file appears whole or not at all.

    Args:
        path: the file; an older one is replaced.
        value: plain containers, numbers, strings and numpy arrays. Lists of a million small dicts are written in
            place, without a second copy in memory.

    Raises:
        DataError: the file cannot be written, for example because the disk is full.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w+b") as file:
            pickle.dump(value, file, protocol=_PROTOCOL)
            file.flush()
            file.write(_TRAILER + _checksum(file, file.tell()))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise DataError(f"cannot write {path}: {error.strerror or error}; free space and run it again") from error


_SIMPLE = frozenset({int, float, str, bytes, bool, type(None)})
_CONTAINERS = frozenset({dict, list, tuple, set, frozenset})


_TRAILER = b"LMTR-CRC"
_CRC_BYTES = 4
_BLOCK = 1 << 20


class _RefusedError(Exception):
    """The pickle asks for a name that is not allowed."""


def _checksum(file: BinaryIO, size: int) -> bytes:
    """Of the first `size` bytes; leaves the file behind them."""
    crc = 0
    file.seek(0)
    while size:
        block = file.read(min(size, _BLOCK))
        size -= len(block)
        crc = zlib.crc32(block, crc)
    return crc.to_bytes(_CRC_BYTES, "little")


def _has_good_checksum(file: BinaryIO) -> bool:
    """Whether the file ends with a checksum; False for a pickle of other programs.

    Raises:
        ValueError: the checksum is wrong.
    """
    size = file.seek(0, os.SEEK_END) - len(_TRAILER) - _CRC_BYTES
    file.seek(max(size, 0))
    trailer = file.read()
    if not trailer.startswith(_TRAILER):
        return False
    if trailer[len(_TRAILER) :] != _checksum(file, size):
        raise ValueError("its checksum is wrong")
    return True


def _check_memo(file: BinaryIO) -> None:
    """Refuses a pickle that numbers its objects so high that the table of them would fill the memory.

    Raises:
        ValueError: it does, or is no pickle.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= int(str(argument)) <= size:
            raise ValueError(f"it numbers an object {argument}")


class _Dtype:
    """Stands in for `numpy.dtype`: a type code of plain numbers or strings and a byte order."""

    def __init__(self, code: str, align: bool = False, copy: bool = False) -> None:
        del align, copy
        if not isinstance(code, str):
            raise ValueError("a dtype that is no text")
        self.numpy = np.dtype(code)
        if self.numpy.kind not in _KINDS or self.numpy.hasobject or self.numpy.names or self.numpy.subdtype:
            raise _RefusedError(f"an array of the type {code!r}")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1]
        if order not in ("<", ">", "|", "="):
            raise ValueError(f"unknown byte order {order!r}")
        self.numpy = self.numpy.newbyteorder(order)


class _Array:
    """Stands in for an array until the whole file is read."""

    def __init__(self) -> None:
        self.numpy = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        self.numpy = _array(data, dtype, shape, "F" if fortran else "C")


def _array(data: Any, dtype: Any, shape: Any, order: str) -> Any:
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes | bytearray):
        raise ValueError("an array without a plain dtype and bytes")
    sizes = tuple(int(size) for size in shape)
    if min(sizes, default=0) < 0 or math.prod(sizes) * dtype.numpy.itemsize != len(data) or order not in ("C", "F"):
        raise ValueError(f"an array of shape {sizes} and type {dtype.numpy} with {len(data)} bytes")
    if not len(data):
        return np.empty(sizes, dtype.numpy)
    # A copy, so that the array can be written to.
    flat = np.frombuffer(data, dtype.numpy)
    return flat.reshape(sizes, order="F" if order == "F" else "C").copy(order="K")


class _StandIn:
    """Takes the place of a function or class that a pickle names; it cannot be changed by the pickle."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def __setstate__(self, state: object) -> NoReturn:
        raise _RefusedError("a change to an allowed name")


def _no_instance(*args: object) -> NoReturn:
    del args
    raise ValueError("an array without content")


_NDARRAY = _StandIn(_no_instance)


def _reconstruct(kind: Any, shape: Any, code: Any) -> _Array:
    del shape, code  # numpy sends (0,) and b'b'; the state that follows says what the array is
    if kind is not _NDARRAY:
        raise ValueError("an array of an unknown class")
    return _Array()


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    out = _Array()
    out.numpy = _array(data, dtype, shape, order)
    return out


def _scalar(dtype: Any, data: Any) -> Any:
    return _array(data, dtype, (), "C")[()]


def _encode(text: Any, encoding: Any) -> bytes:
    """How protocols 0 to 2 write bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


def _empty_bytes() -> bytes:
    """How protocols 0 to 2 write no bytes at all."""
    return b""


# Everything that plain arrays need, and sets before protocol 4; numpy 2 moved `numpy.core` to `numpy._core`.
_ALLOWED: dict[tuple[str, str], _StandIn] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _StandIn(_Dtype),
    ("_codecs", "encode"): _StandIn(_encode),
    **{
        (builtins, name): _StandIn(function)
        for builtins in ("builtins", "__builtin__")
        for name, function in (("set", set), ("frozenset", frozenset), ("bytes", _empty_bytes))
    },
    **{
        (f"numpy.{core}.{module}", name): _StandIn(function)
        for core in ("core", "_core")
        for module, name, function in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}


class _PlainUnpickler(pickle.Unpickler):
    """An unpickler that imports nothing: it knows the stand-ins above and no other name."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """The stand-in of an allowed name; every other is refused."""
        found = _ALLOWED.get((module_name, global_name))
        if found is None:
            raise _RefusedError(f"{module_name}.{global_name}")
        return found

    def persistent_load(self, pid: Any) -> NoReturn:
        """Refuses references to objects outside the file."""
        raise _RefusedError(f"the external object {pid!r}")


def _finish(value: Any, seen: dict[int, Any]) -> Any:
    """Replaces the stand-ins of arrays, in place where a container allows it.

    Args:
        value: what the unpickler made.
        seen: finished containers by id, for files whose containers hold one another.
    """
    kind = type(value)
    if kind is _Array:
        return value.numpy
    if kind in (_StandIn, _Dtype):
        raise _RefusedError("a type or function as a value")
    if kind not in _CONTAINERS or id(value) in seen:
        return seen.get(id(value), value)
    seen[id(value)] = value
    if kind is tuple:
        value = seen[id(value)] = tuple(_finish(item, seen) for item in value)
    elif kind in (dict, list):
        for key, item in value.items() if kind is dict else enumerate(value):
            if type(item) not in _SIMPLE:
                value[key] = _finish(item, seen)
    if kind in (dict, set, frozenset):
        for key in value:
            _check_key(key)
    return value


def _check_key(key: Any) -> None:
    """Keys and members of sets cannot be replaced, so no stand-in may be among them."""
    if type(key) is tuple:
        for part in key:
            _check_key(part)
    elif type(key) not in _SIMPLE and not isinstance(key, np.generic):
        raise _RefusedError("a key that is neither a number nor a string")
