"""PCD files that are written here by hand, in all three forms, whole and damaged."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidar_mt.data.pcd_file import read_pcd
from lidar_mt.data.point_file import read_point_file
from lidar_mt.structures.errors import DataError

HEADER = """# .PCD v0.7 - Point Cloud Data file format
VERSION 0.7
FIELDS {fields}
SIZE {sizes}
TYPE {types}
COUNT {counts}
WIDTH {points}
HEIGHT 1
VIEWPOINT 0 0 0 1 0 0 0
POINTS {points}
DATA {data}
"""
POINTS = [(1.5, -2.25, 0.125, 7), (40.0, 3.0, -1.84, 255), (-8.5, 0.0, 2.0, 0)]
#: As ROS drivers write it: padding after z, intensity as a byte, a ring and a time stamp.
RICH = {
    "fields": "x y z _ intensity ring t",
    "sizes": "4 4 4 1 1 2 8",
    "types": "F F F U U U F",
    "counts": "1 1 1 4 1 1 1",
}


def head(data, points=3, **rest):
    plain = {"fields": "x y z intensity", "sizes": "4 4 4 4", "types": "F F F F", "counts": "1 1 1 1"}
    return HEADER.format(**{**plain, "points": points, "data": data, **rest}).encode()


def rich_rows():
    return b"".join(struct.pack("<fff4xBHd", *row, 5, 1e9) for row in POINTS)


def rich_columns():
    """The same bytes, field after field."""
    xyz = b"".join(struct.pack("<3f", *(row[axis] for row in POINTS)) for axis in range(3))
    intensity = bytes(row[3] for row in POINTS)
    return xyz + bytes(4 * 3) + intensity + struct.pack("<3H", 5, 5, 5) + struct.pack("<3d", 1e9, 1e9, 1e9)


def compress(data):
    """LZF: takes the longest earlier match it finds, or writes the byte itself."""
    out, at = b"", 0
    while at < len(data):
        best, length = 0, 0
        for back in range(1, min(at, 8192) + 1):
            n = 0
            while at + n < len(data) and n < 264 and data[at + n] == data[at + n - back]:
                n += 1
            if n > length:
                best, length = back, n
        if length < 3:
            out, at = out + bytes([0, data[at]]), at + 1
            continue
        count, offset = length - 2, best - 1
        first = (min(count, 7) << 5) | (offset >> 8)
        out += bytes([first, *([count - 7] if count >= 7 else []), offset & 255])
        at += length
    return out


def packed(plain):
    data = compress(plain)
    return struct.pack("<II", len(data), len(plain)) + data


WHOLE = {
    "ascii": head("ascii") + "".join(" ".join(map(str, row)) + "\n" for row in POINTS).encode(),
    "binary": head("binary", **RICH) + rich_rows(),
    "compressed": head("binary_compressed", **RICH) + packed(rich_columns()),
}


@pytest.mark.parametrize("form", WHOLE)
def test_every_form_gives_the_points(tmp_path, form):
    path = tmp_path / "a.PCD"
    path.write_bytes(WHOLE[form])
    expected = np.array([(*row, 0) for row in POINTS], dtype=np.float32)
    np.testing.assert_array_equal(read_point_file(path), expected)


def test_fields_are_found_by_name_or_named_by_position(tmp_path):
    path = tmp_path / "a.pcd"
    path.write_bytes(head("ascii", 1, fields="z i y x").replace(b"COUNT 1 1 1 1\n", b"") + b"3 9 2 1\n")
    np.testing.assert_array_equal(read_point_file(path), [[1, 2, 3, 9, 0]])
    np.testing.assert_array_equal(read_point_file(path, ["x", "skip", "z", "y"]), [[3, 1, 2, 0, 0]])
    with pytest.raises(DataError, match=r"needs \(P, 3\)"):
        read_point_file(path, ["x", "y", "z"])


def test_the_decompressor_undoes_runs_that_overlap_themselves(tmp_path):
    zeros = b"".join(struct.pack("<4f", *([1.0] * 4)) for _ in range(150))
    path = tmp_path / "a.pcd"
    path.write_bytes(head("binary_compressed", 150) + packed(zeros))
    assert path.stat().st_size < 300
    names, values = read_pcd(path)
    assert names == ("x", "y", "z", "intensity")
    np.testing.assert_array_equal(values, np.ones((150, 4)))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no PCD header"),
        (b"\x00" * 5000, "no PCD header"),
        (head("ascii") + b"1 2 3 4\n", "4 values; 3 points"),
        (head("ascii", 1) + b"1 2 x 4\n", "no number"),
        (head("binary") + b"1234", "cut short"),
        (head("zipped"), "DATA zipped"),
        (head("binary", 0), "0 points"),
        (head("binary", 10**15), "points: cannot be read"),
        (head("binary", -1), "cannot be read"),
        (head("binary", sizes="4 4 4 3"), "cannot be read"),
        (head("binary", types="F F F"), "3 types"),
        (head("binary", "many"), "lacks a number"),
        (head("binary", counts="1 1 1 0"), "cannot be read"),
        (head("ascii", 1, fields="x y intensity z2") + b"1 2 3 4\n", "one each of x, y and z"),
        (head("binary_compressed") + b"123", "compressed data"),
        (head("binary_compressed") + struct.pack("<II", 2, 48) + b"\xe0\x00", "damaged"),
        (head("binary_compressed") + struct.pack("<II", 3, 48) + b"\x20\xff\x00", "before its beginning"),
        (head("binary_compressed") + struct.pack("<II", 2, 48) + b"\x00\x00", "1 bytes instead of 48"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, content, words):
    path = tmp_path / "a.pcd"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.pcd.*{words}"):
        read_point_file(path)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(WHOLE)), st.integers(0, 600), st.binary(max_size=4), st.booleans())
def test_damage_gives_points_or_a_message(tmp_path_factory, form, place, bytes_, cut):
    content = WHOLE[form]
    place %= len(content)
    rest = b"" if cut else content[place + len(bytes_) :]
    path = tmp_path_factory.mktemp("pcd") / "a.pcd"
    path.write_bytes(content[:place] + bytes_ + rest)
    try:
        points = read_point_file(path)
    except DataError:
        return
    assert points.shape[1] == 5
    assert np.isfinite(points).all()
