from __future__ import annotations

import io
import pickle
import pickletools
import struct
from collections import OrderedDict
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from lidar_mt.data.plain_pickle import read_pickle, write_pickle
from lidar_mt.structures.errors import DataError

PLAIN = {
    "text": "ü",
    "bytes": b"\x00\xff",
    "numbers": [1, 2**80, -1.5, True, None],
    "nested": ({"a": (1, [2])}, {3, 4}, frozenset({5}), ()),
    (1, "key"): "tuple as key",
}
ARRAYS = {
    "float32": np.arange(6, dtype=np.float32).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big endian": np.array([1, 2], dtype=">i4"),
    "bool": np.array([True, False]),
    "uint8": np.array([[255]], dtype=np.uint8),
    "texts": np.array(["car", "traffic_cone"]),
    "byte strings": np.array([b"ab", b"c"]),
    "empty": np.empty((0, 9), dtype=np.float32),
    "nothing named": np.array([], dtype=np.str_),
    "zero dimensions": np.array(1.5),
    "scalar": np.float32(2.5),
    "nan": np.array([np.nan, 1.0]),
}


def same(found, expected):
    assert type(found) is type(expected)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype
    assert np.isfortran(found) == np.isfortran(expected)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("core", [b"numpy.core.", b"numpy._core."])
def test_plain_values_and_arrays_of_every_protocol_and_numpy_are_read(tmp_path, protocol, core):
    path = tmp_path / "file.pkl"
    data = pickle.dumps({**PLAIN, **ARRAYS, "list": list(ARRAYS.values())}, protocol=protocol)
    if protocol < 4:  # names in later protocols carry their length
        data = data.replace(b"numpy.core.", b"numpy._core.").replace(b"numpy._core.", core)
        assert core in data
    path.write_bytes(data)
    found = read_pickle(path)
    for key, value in PLAIN.items():
        assert found[key] == value
    for key, value in ARRAYS.items():
        same(found[key], value)
    for value, expected in zip(found["list"], ARRAYS.values(), strict=True):
        same(value, expected)
    found["float32"][0, 0] = 7.0  # arrays can be written to


def test_names_of_both_numpys_are_read_in_protocol_4(tmp_path):
    def rename(data: bytes, core: str) -> bytes:
        for old in ("numpy.core.multiarray", "numpy._core.multiarray"):
            new = f"numpy.{core}.multiarray"
            data = data.replace(b"\x8c" + bytes([len(old)]) + old.encode(), b"\x8c" + bytes([len(new)]) + new.encode())
        start = data.index(b"\x95") + 1  # the frame's length has to follow
        return data[:start] + struct.pack("<Q", len(data) - start - 8) + data[start + 8 :]

    for core in ("core", "_core"):
        path = tmp_path / f"{core}.pkl"
        path.write_bytes(rename(pickle.dumps(np.arange(3), protocol=4), core))
        assert f"numpy.{core}.multiarray".encode() in path.read_bytes()
        same(read_pickle(path), np.arange(3))


def test_what_is_written_is_read_back_and_plain_pickle_reads_it_too(tmp_path):
    path = tmp_path / "ü file.pkl"
    write_pickle(path, {**PLAIN, **ARRAYS})
    with path.open("rb") as file:
        other = pickle.load(file)  # noqa: S301 - written by this test
    for found in (read_pickle(path), other):
        for key, value in PLAIN.items():
            assert found[key] == value
        for key, value in ARRAYS.items():
            if found is not other or key != "big endian":  # which numpy turns into the machine's order
                same(found[key], value)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_containers_that_hold_one_another_are_read(tmp_path):
    loop: list = [np.arange(2)]
    loop.append({"loop": loop})
    path = tmp_path / "loop.pkl"
    write_pickle(path, loop)
    found = read_pickle(path)
    assert found[1]["loop"] is found
    same(found[0], np.arange(2))


class Call:
    """Pickles as a call of any importable function."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def call(module: str, name: str, *args: object) -> bytes:
    """A pickle that calls a function that need not exist here."""
    body = f"c{module}\n{name}\n".encode() + pickle.dumps(args, protocol=2)[2:-1]
    return b"\x80\x02" + body + b"R."


MARK = "touched"
GADGETS = {
    "os.system": lambda path: call("os", "system", f"touch {path}"),
    "posix.system": lambda path: call("posix", "system", f"touch {path}"),
    "subprocess.Popen": lambda path: call("subprocess", "Popen", ["touch", str(path)]),
    "builtins.eval": lambda path: call("builtins", "eval", f"open({str(path)!r}, 'w')"),
    "builtins.exec": lambda path: pickle.dumps([Call(exec, f"open({str(path)!r}, 'w')")], protocol=4),
    "builtins.open": lambda path: call("builtins", "open", str(path), "w"),
    "builtins.getattr": lambda path: call("builtins", "getattr", "", "format"),
    "importlib.import_module": lambda path: call("importlib", "import_module", "antigravity"),
    "pathlib.Path": lambda path: pickle.dumps({"a": [Call(Path, str(path))]}, protocol=2),
    "pickle.loads": lambda path: call("pickle", "loads", pickle.dumps(1)),
    "numpy.load": lambda path: call("numpy", "load", str(path)),
    "numpy.testing._private.utils.runstring": lambda path: call(
        "numpy.testing._private.utils", "runstring", f"open({str(path)!r}, 'w')", {}
    ),
    "torch.load": lambda path: call("torch", "load", str(path)),
    "torch.storage._load_from_bytes": lambda path: call("torch.storage", "_load_from_bytes", b""),
    "collections.OrderedDict": lambda path: pickle.dumps(OrderedDict(a=1), protocol=4),
    "datetime.date": lambda path: pickle.dumps([date(2020, 1, 1)]),
    "numpy.core.multiarray.fromfile": lambda path: call("numpy.core.multiarray", "fromfile", str(path)),
    # The opcodes INST and OBJ and a name with a dot find classes as well.
    "os.popen": lambda path: f"(S'touch {path}'\nios\npopen\n.".encode(),
    "os.execlp": lambda path: f"(cos\nexeclp\nS'touch'\nS'{path}'\no.".encode(),
    "numpy.ndarray.__class__": lambda path: b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93.",
}


@pytest.mark.parametrize("name", GADGETS)
def test_everything_else_is_refused_by_name_and_not_run(tmp_path, name):
    target = tmp_path / MARK
    path = tmp_path / "gadget.pkl"
    path.write_bytes(GADGETS[name](target))
    with pytest.raises(DataError, match=f"{path} asks for {name.replace('.', chr(92) + '.')}, which is neither"):
        read_pickle(path)
    assert not target.exists()


FORGED = {
    "an object array": pickle.dumps(np.array([1, "a"], dtype=object)),
    "a record array": pickle.dumps(np.zeros(1, dtype=[("a", "f4")])),
    "a bare function": b"\x80\x02cnumpy\ndtype\n.",
    "an array without content": call("numpy", "ndarray", (3,)),
    "a changed stand-in": b"\x80\x02cnumpy\nndarray\n}X\x01\x00\x00\x00aK\x01sb.",
    "an array as a key": b"\x80\x02}" + pickle.dumps(np.array(1), protocol=2)[2:-1] + b"K\x01s.",
    "too few bytes": pickle.dumps(np.arange(300.0), protocol=2).replace(b"M,\x01", b"M-\x01"),
    "an external object": b"\x80\x02K\x01Q.",
    "bytes in a codec": call("_codecs", "encode", "print", "rot13"),
    "a high number": b"\x80\x02K\x01r\xff\xff\xff\xff.",
    "nothing": b"",
    "text": b"hello",
    "half a file": pickle.dumps(list(range(1000)))[:500],
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_and_damaged_pickles_are_refused(tmp_path, name):
    path = tmp_path / "forged.pkl"
    path.write_bytes(FORGED[name])
    with pytest.raises(DataError, match=str(path)):
        read_pickle(path)


def test_a_forged_dtype_does_not_reach_numpy(tmp_path):
    """Numpy itself would take the flags of this dtype, which make it read floats as addresses of objects."""
    data = pickle.dumps(np.arange(4, dtype=np.float32), protocol=2)
    flags = b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"
    assert flags in data
    path = tmp_path / "flags.pkl"
    path.write_bytes(data.replace(flags, b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ft"))
    same(read_pickle(path), np.arange(4, dtype=np.float32))


def test_flipped_bits_and_cuts_never_give_other_values(tmp_path):
    value = [{"name": "car", "box": np.arange(9, dtype=np.float32), "gt_idx": i} for i in range(5)]
    path = tmp_path / "file.pkl"
    write_pickle(path, value)
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(good), 300):
        bad = bytearray(good)
        bad[place] ^= 1 << rng.integers(8)
        refused_or_same(path, bytes(bad), value)
    for size in rng.integers(0, len(good), 30):
        refused_or_same(path, good[:size], value)


def test_flipped_bits_in_pickles_of_other_programs_raise_our_error_only(tmp_path):
    good = pickle.dumps([{"name": "car", "box": np.arange(9, dtype=np.float32), "gt_idx": i} for i in range(5)])
    path = tmp_path / "file.pkl"
    rng = np.random.default_rng(0)
    refused = 0
    for place in range(len(good)):
        bad = bytearray(good)
        bad[place] ^= 1 << rng.integers(8)
        path.write_bytes(bytes(bad))
        try:
            read_pickle(path)
        except DataError:
            refused += 1
    assert refused > len(good) // 4


def refused_or_same(path, data, value):
    path.write_bytes(data)
    try:
        found = read_pickle(path)
    except DataError:
        return
    for entry, expected in zip(found, value, strict=True):
        assert (entry["name"], entry["gt_idx"]) == (expected["name"], expected["gt_idx"])
        same(entry["box"], expected["box"])


def test_a_missing_file_and_a_full_disk_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no such file: .*missing.pkl"):
        read_pickle(tmp_path / "missing.pkl")
    with pytest.raises(DataError, match=r"cannot write .*no/folder.pkl"):
        write_pickle(tmp_path / "no" / "folder.pkl", 1)


def test_the_pickle_is_written_without_names_beyond_those_of_arrays(tmp_path):
    path = tmp_path / "file.pkl"
    write_pickle(path, {"a": np.arange(3, dtype=np.float32)})
    strings = [arg for op, arg, _ in pickletools.genops(io.BytesIO(path.read_bytes())) if op.name == "SHORT_BINUNICODE"]
    assert {"ndarray", "dtype", "_reconstruct"} < set(strings)
