from __future__ import annotations

import contextlib
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from nuscenes.utils.geometry_utils import transform_matrix
from pyquaternion import Quaternion

from lidar_mt.data.lmdb_store import codec
from lidar_mt.data.lmdb_store.codec import decode, encode, keyframe_key, sweep_key
from lidar_mt.data.lmdb_store.records import Array, IndexRecord, KeyframeRecord, Pose, SweepRecord
from lidar_mt.structures.errors import DataError

ARRAYS = st.sampled_from(["<f4", "<f8", "<i4", "|u1", "|b1"]).flatmap(
    lambda dtype: st_numpy.arrays(
        np.dtype(dtype), st_numpy.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)
    )
)


def index(array: np.ndarray) -> IndexRecord:
    return IndexRecord(sample_tokens=Array.pack(array))


@settings(max_examples=60, deadline=None)
@given(ARRAYS)
def test_arrays_come_back_bit_for_bit(array):
    got = decode(b"index", encode(b"index", index(array)), IndexRecord).sample_tokens.numpy()
    assert got.dtype == array.dtype
    assert got.shape == array.shape
    assert got.tobytes() == array.tobytes()  # NaN payloads and the sign of zero too


def test_big_endian_and_strided_arrays_are_normalised():
    array = np.arange(12, dtype=">f4").reshape(3, 4)[:, ::2]
    got = Array.pack(array).numpy()
    assert got.dtype == np.dtype("<f4")
    np.testing.assert_array_equal(got, [[0, 2], [4, 6], [8, 10]])


def test_every_single_bit_flip_is_noticed():
    key = sweep_key("abc")
    value = encode(key, index(np.array([1.5, -2.0], dtype=np.float32)))
    for bit in range(8 * len(value)):
        damaged = bytearray(value)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DataError, match="sweep/abc"):
            decode(key, bytes(damaged), IndexRecord)


def test_another_keys_record_is_noticed():
    value = encode(sweep_key("a"), index(np.zeros(3, dtype=np.float32)))
    with pytest.raises(DataError, match=r"'sweep/b' is damaged"):
        decode(sweep_key("b"), value, SweepRecord)


def test_another_schema_version_is_named(monkeypatch):
    key = keyframe_key("t")
    monkeypatch.setattr(codec, "SCHEMA_VERSION", 7)
    value = encode(key, index(np.zeros(1, dtype=np.float32)))
    monkeypatch.undo()
    with pytest.raises(DataError, match=r"schema version 7.*reads 2.*lidar_mt.pack_data"):
        decode(key, value, SweepRecord)


def test_a_record_of_the_first_schema_is_named_by_its_version():
    key = sweep_key("a")
    body = b"\x91\xa0" * 9
    first = struct.pack("<4sHI", b"LMTR", 1, zlib.crc32(body, zlib.crc32(b"\x01\0", zlib.crc32(key)))) + body
    with pytest.raises(DataError, match=r"schema version 1, this program reads 2; .*overwrite=true"):
        decode(key, first, SweepRecord)


def test_another_kind_of_record_is_refused():
    key = sweep_key("a")
    with pytest.raises(DataError, match="no KeyframeRecord"):
        decode(key, encode(key, index(np.zeros(1, dtype=np.float32))), KeyframeRecord)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60), st.booleans())
def test_garbage_gives_only_our_error(garbage, with_valid_header):
    key = sweep_key("a")
    if with_valid_header:
        header = codec._HEADER.pack(b"LMTR", 2, codec._checksum(key, 2, garbage))
        garbage = header + garbage
    for kind in (SweepRecord, KeyframeRecord, IndexRecord):
        # Any other exception fails the test.
        with contextlib.suppress(DataError):
            decode(key, garbage, kind)


@pytest.mark.parametrize(
    ("dtype", "shape", "size"),
    [("<f4", (2,), 7), ("<f4", (-1, -2), 8), ("<f4", (), 0), ("O", (1,), 8), ("<M8[s]", (1,), 8), ("|S32", (2,), 63)],
)
def test_arrays_that_do_not_add_up_are_refused(dtype, shape, size):
    with pytest.raises(DataError):
        Array(dtype, shape, memoryview(bytes(size))).numpy()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1))
def test_pose_matrix_equals_the_devkit(rotation):
    pose = Pose(tuple(rotation), (10.0, -20.0, 0.5))
    expected = transform_matrix(pose.translation, Quaternion(pose.rotation).normalised)
    np.testing.assert_allclose(pose.matrix(), expected, atol=1e-12)
