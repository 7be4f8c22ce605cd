from __future__ import annotations

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from lidar_mt.data.lmdb_store.points import Column, PackedPoints
from lidar_mt.structures.errors import DataError


def raw_points(count: int = 3000, seed: int = 0) -> np.ndarray:
    """Points in the pattern of a nuScenes file."""
    rng = np.random.default_rng(seed)
    points = rng.normal(0, 20, (count, 5)).astype(np.float32)
    points[:, 3] = rng.geometric(0.06, count).clip(0, 255)
    points[:, 4] = np.arange(count) % 32
    return points


def assert_same_bits(points: np.ndarray) -> PackedPoints:
    packed = PackedPoints.pack(points)
    got = packed.unpack()
    assert got.shape == points.shape
    assert got.dtype == np.float32
    assert got.tobytes() == points.astype("<f4").tobytes()
    return packed


@settings(max_examples=100, deadline=None)
@given(st_numpy.arrays(np.uint32, st.tuples(st.integers(0, 70), st.just(5))))
def test_any_bits_come_back(bits):
    assert_same_bits(bits.view(np.float32))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 70), st.sampled_from([3, 4]), st.data())
def test_one_odd_value_in_a_regular_column_comes_back(count, column, data):
    points = raw_points(count)
    if count:
        odd = [0x80000000, 0x7FC00001, 0xFF800000, 0x00000001, 0x43800000, 0x3F800001, 0xBF800000, 0x437F0000]
        points.view(np.uint32)[data.draw(st.integers(0, count - 1)), column] = data.draw(st.sampled_from(odd))
    assert_same_bits(points)


def test_regular_columns_take_their_small_forms():
    packed = assert_same_bits(raw_points())
    assert (packed.intensity.form, packed.ring.form) == ("u1-zstd", "index-mod-32")
    assert len(packed.ring.data) == 0
    assert len(packed.xyz) + len(packed.intensity.data) < 13 * 3000


def test_other_columns_fall_back_step_by_step():
    points = raw_points()
    points[:, 4] = 31 - points[:, 4]
    points[5, 3] = 0.5
    packed = assert_same_bits(points)
    assert (packed.intensity.form, packed.ring.form) == ("f4", "u1-zstd")


def test_more_points_than_the_kept_pattern_come_back():
    assert assert_same_bits(raw_points(70_001)).ring.form == "index-mod-32"


def test_strided_and_big_endian_points_come_back():
    assert_same_bits(raw_points(100).astype(">f4"))
    assert_same_bits(np.asfortranarray(raw_points(100))[::3])


def test_unpacked_columns_are_contiguous_and_read_only():
    points = PackedPoints.pack(raw_points()).unpack()
    assert all(points[:, i].flags.c_contiguous for i in range(5))
    with pytest.raises(ValueError, match="read-only"):
        points[0, 0] = 1


@pytest.mark.parametrize("points", [np.zeros((3, 4), np.float32), np.zeros(5, np.float32), np.zeros((3, 5))])
def test_what_is_no_sweep_is_refused(points):
    with pytest.raises(DataError, match="a sweep is"):
        PackedPoints.pack(points)


FRAME = zstandard.ZstdCompressor().compress(bytes(10))


@pytest.mark.parametrize(
    ("form", "data"),
    [
        ("f4", bytes(39)),
        ("f8", bytes(40)),
        ("index-mod-32", b"x"),
        ("u1-zstd", bytes(10)),
        ("u1-zstd", FRAME[:-2]),
        ("u1-zstd", zstandard.ZstdCompressor().compress(bytes(11))),
        ("u1-zstd", zstandard.ZstdCompressor(write_content_size=False).compress(bytes(10))),
        ("u1-zstd", zstandard.ZstdCompressor().compress(bytes(1 << 24))),
        ("u1-zstd", b""),
    ],
)
def test_columns_that_do_not_add_up_are_refused(form, data):
    with pytest.raises(DataError, match="packed column"):
        Column(form, memoryview(data)).values(10)


@pytest.mark.parametrize(("count", "size"), [(2, 23), (-2, 24), (1 << 40, 24)])
def test_coordinates_that_do_not_add_up_are_refused(count, size):
    column = Column("index-mod-32", memoryview(b""))
    with pytest.raises(DataError, match="bytes of coordinates"):
        PackedPoints(count, memoryview(bytes(size)), column, column).unpack()


@pytest.mark.nuscenes
def test_real_sweeps_come_back_and_shrink(nuscenes_root):
    raw = packed = 0
    for path in sorted(nuscenes_root.glob("s*/LIDAR_TOP/*.pcd.bin")):
        points = np.fromfile(path, dtype="<f4").reshape(-1, 5)
        record = assert_same_bits(points)
        assert (record.intensity.form, record.ring.form) == ("u1-zstd", "index-mod-32")
        raw += points.nbytes
        packed += len(record.xyz) + len(record.intensity.data)
    assert 0 < packed < 0.64 * raw
