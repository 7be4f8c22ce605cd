"""One point cloud file in, (P, 5) out; everything else is an error that names the file."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lidar_mt.data.point_file import read_point_file
from lidar_mt.structures.errors import DataError


@pytest.fixture
def cloud():
    rng = np.random.default_rng(7)
    points = rng.uniform(-50, 50, (11, 5)).astype(np.float32)
    points[:, 4] = rng.integers(0, 32, 11)
    return points


def write(path, values):
    Path(path).write_bytes(np.asarray(values, dtype="<f4").tobytes())
    return path


def save(path, values, **options):
    np.save(path, values, **options)
    return path


def without_lag(points):
    out = np.zeros((len(points), 5), dtype=np.float32)
    out[:, :4] = points[:, :4]
    return out


@pytest.mark.parametrize("name", ["a.pcd.bin", "a.bin", "A.PCD.BIN"])
def test_nuscenes_layout_loses_its_ring(tmp_path, cloud, name):
    points = read_point_file(str(write(tmp_path / name, cloud)))
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points, without_lag(cloud))
    points[0] = 1  # the caller's own, writable memory


def test_four_columns_by_size_and_by_argument(tmp_path, cloud, caplog):
    four = write(tmp_path / "kitti.bin", cloud[:, :4])
    np.testing.assert_array_equal(read_point_file(four), without_lag(cloud))
    # Ten points of four columns are as long as eight of five.
    both = write(tmp_path / "both.bin", cloud[:10, :4])
    np.testing.assert_array_equal(read_point_file(both, columns=4), without_lag(cloud[:10]))
    assert not caplog.records
    assert len(read_point_file(both)) == 8
    assert "columns=4" in caplog.text


def test_no_warning_about_columns_for_real_rings(tmp_path, cloud, caplog):
    assert len(read_point_file(write(tmp_path / "a.bin", cloud[:8]))) == 8
    assert not caplog.records


@given(st.integers(1, 400))
def test_sizes_resolve_as_documented(tmp_path_factory, floats):
    path = write(tmp_path_factory.mktemp("size") / "a.bin", np.ones(floats))
    if floats % 5 == 0:
        assert len(read_point_file(path)) == floats // 5
    elif floats % 4 == 0:
        assert len(read_point_file(path)) == floats // 4
    else:
        with pytest.raises(DataError, match=f"{4 * floats} bytes"):
            read_point_file(path)


@pytest.mark.parametrize("kind", ["<f2", "<f4", "<f8", ">f4"])
@pytest.mark.parametrize("columns", [3, 4])
def test_npy_fills_missing_columns_with_zero(tmp_path, cloud, kind, columns):
    values = cloud[:, :columns].astype(kind)
    points = read_point_file(save(tmp_path / "a.npy", values))
    assert points.dtype == np.dtype(np.float32)
    np.testing.assert_array_equal(points[:, :columns], values.astype(np.float32))
    assert not points[:, columns:].any()


def test_npy_keeps_the_time_lag_of_merged_sweeps(tmp_path, cloud):
    cloud[:, 4] = np.linspace(0, 0.5, 11)
    np.testing.assert_array_equal(read_point_file(save(tmp_path / "a.npy", cloud)), cloud)
    np.testing.assert_array_equal(read_point_file(save(tmp_path / "f.npy", np.asfortranarray(cloud))), cloud)


@pytest.mark.parametrize("lag", [31, 2.5, -0.05])
def test_npy_with_rings_or_negative_lags_is_refused(tmp_path, cloud, lag):
    cloud[:, 4] = 0
    cloud[0, 4] = lag
    with pytest.raises(DataError, match="ring index"):
        read_point_file(save(tmp_path / "a.npy", cloud))


@pytest.mark.parametrize("name", ["a.pcd.bin", "a.npy"])
def test_points_that_are_not_finite_are_dropped_and_counted(tmp_path, cloud, caplog, name):
    cloud[:, 4] = 0
    cloud[2, 0], cloud[5, 3], cloud[6, 1:3] = np.nan, np.inf, -np.inf
    path = (save if name.endswith("npy") else write)(tmp_path / name, cloud)
    with caplog.at_level(logging.WARNING):
        points = read_point_file(path)
    np.testing.assert_array_equal(points, np.delete(cloud, [2, 5, 6], axis=0))
    assert f"{path}: dropped 3 of 11 points" in caplog.text


def test_a_double_too_large_for_float32_is_not_finite(tmp_path, cloud, caplog):
    values = cloud[:, :4].astype(np.float64)
    values[3, 1] = 1e300
    assert len(read_point_file(save(tmp_path / "a.npy", values))) == 10
    assert "dropped 1 of 11" in caplog.text


@pytest.mark.parametrize("seed", range(3))
def test_random_bytes_and_a_cloud_with_altered_bytes_are_damaged(tmp_path, seed):
    """Neither may reach the network, nor get advice about the scale of its intensities."""
    rng = np.random.default_rng(seed)
    (tmp_path / "random.pcd.bin").write_bytes(rng.bytes(20_000))
    points = rng.uniform(-50, 50, (1000, 5)).astype(np.float32)
    altered = bytearray(points.tobytes())
    altered[::7] = rng.bytes(len(altered[::7]))
    (tmp_path / "altered.pcd.bin").write_bytes(altered)
    for name in ("random.pcd.bin", "altered.pcd.bin"):
        with pytest.raises(DataError, match=r"of 1000 points are not finite or far out of range") as caught:
            read_point_file(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("name", ["a.pcd.bin", "a.npy", "a.pcd"])
@pytest.mark.parametrize(("column", "value"), [(0, 1.5e5), (2, -1e30), (3, 2e5)])
def test_one_value_beyond_the_limit_is_named_with_its_point(tmp_path, cloud, name, column, value):
    cloud[:, 4] = 0
    cloud[7, column] = value
    if name == "a.pcd":
        head = "VERSION .7\nFIELDS x y z intensity\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\n"
        rows = "\n".join(" ".join(repr(float(number)) for number in row[:4]) for row in cloud)
        (tmp_path / name).write_text(f"{head}WIDTH 11\nHEIGHT 1\nPOINTS 11\nDATA ascii\n{rows}\n")
    else:
        (save if name.endswith("npy") else write)(tmp_path / name, cloud)
    with pytest.raises(DataError, match=r"1 of 11 points .* the first is number 7") as caught:
        read_point_file(tmp_path / name)
    assert str(float(np.float32(value))) in str(caught.value)


def test_intensities_of_sixteen_bits_pass(tmp_path, cloud):
    cloud[:, 3] = np.linspace(0, 65535, 11)
    np.testing.assert_array_equal(read_point_file(write(tmp_path / "a.pcd.bin", cloud)), without_lag(cloud))


def test_an_organised_cloud_under_an_open_sky_passes_and_one_of_hardly_any_points_does_not(tmp_path, caplog):
    points = np.random.default_rng(0).uniform(-50, 50, (1000, 4)).astype(np.float32)
    points[:600, :3] = np.nan
    assert len(read_point_file(save(tmp_path / "sky.npy", points))) == 400
    assert "dropped 600 of 1000" in caplog.text
    points[:900, :3] = np.nan
    with pytest.raises(DataError, match="900 of 1000 points are not finite"):
        read_point_file(save(tmp_path / "lost.npy", points))


def bad_files():
    ones = np.ones((3, 5), dtype=np.float32)
    return {
        "empty.pcd.bin": (lambda p: p.write_bytes(b""), "empty"),
        "empty.bin": (lambda p: p.write_bytes(b""), "empty"),
        "cut.pcd.bin": (lambda p: p.write_bytes(b"\0" * 59), "59 bytes are no multiple of 20"),
        "four.pcd.bin": (lambda p: write(p, ones[:, :4]), "48 bytes are no multiple of 20"),
        "odd.bin": (lambda p: p.write_bytes(b"\0" * 21), "21 bytes"),
        "nan.pcd.bin": (lambda p: write(p, ones * np.nan), "none of its 3 points"),
        "empty.npy": (lambda p: p.write_bytes(b""), "not a plain numpy array"),
        "text.npy": (lambda p: p.write_text("x y z\n1 2 3\n"), "not a plain numpy array"),
        "cut.npy": (lambda p: (np.save(p, ones), p.write_bytes(p.read_bytes()[:-7])), "not a plain numpy array"),
        "object.npy": (lambda p: np.save(p, np.array([{}], dtype=object)), "not a plain numpy array"),
        "integer.npy": (lambda p: np.save(p, ones.astype(np.int32)), "int32"),
        "bool.npy": (lambda p: np.save(p, ones > 0), "bool"),
        "complex.npy": (lambda p: np.save(p, ones.astype(np.complex64)), "complex64"),
        "record.npy": (lambda p: np.save(p, np.zeros(3, dtype=[("x", "f4")])), "holds"),
        "two.npy": (lambda p: np.save(p, ones[:, :2]), r"shape \(3, 2\)"),
        "six.npy": (lambda p: np.save(p, np.ones((3, 6))), r"shape \(3, 6\)"),
        "flat.npy": (lambda p: np.save(p, np.ones(15)), r"shape \(15,\)"),
        "cube.npy": (lambda p: np.save(p, np.ones((2, 3, 4))), r"shape \(2, 3, 4\)"),
        "none.npy": (lambda p: np.save(p, np.ones((0, 4))), r"shape \(0, 4\)"),
        "cloud.ply": (lambda p: p.write_text("# .PCD v0.7"), "unknown kind"),
        "cloud": (lambda p: write(p, ones), "unknown kind"),
    }


@pytest.mark.parametrize("name", bad_files())
def test_bad_files_are_named(tmp_path, name):
    make, message = bad_files()[name]
    make(tmp_path / name)
    with pytest.raises(DataError, match=message) as caught:
        read_point_file(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))


def test_archive_under_the_name_of_an_array(tmp_path):
    np.savez(tmp_path / "a.npz", points=np.ones((3, 4)))
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(DataError, match="archive"):
        read_point_file(tmp_path / "a.npy")


def test_a_header_that_promises_too_much_takes_no_memory(tmp_path):
    header = {"descr": "<f4", "fortran_order": False, "shape": (10**12, 5)}
    with (tmp_path / "huge.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.write(b"\0" * 20)
    with pytest.raises(DataError, match=r"huge\.npy"):
        read_point_file(tmp_path / "huge.npy")


def test_missing_file_folder_and_wrong_columns(tmp_path, cloud):
    with pytest.raises(DataError, match="no such file"):
        read_point_file(tmp_path / "nowhere.pcd.bin")
    (tmp_path / "folder.bin").mkdir()
    with pytest.raises(DataError, match="no such file"):
        read_point_file(tmp_path / "folder.bin")
    with pytest.raises(DataError, match="columns=6"):
        read_point_file(write(tmp_path / "a.bin", cloud), columns=6)


@pytest.mark.nuscenes
@pytest.mark.skipif("LIDAR_MT_NUSCENES" not in os.environ, reason="needs real frames under $LIDAR_MT_NUSCENES")
def test_real_frames_equal_the_devkit():
    from nuscenes.utils.data_classes import LidarPointCloud

    folder = Path(os.environ["LIDAR_MT_NUSCENES"]) / "samples" / "LIDAR_TOP"
    for path in sorted(folder.glob("*.pcd.bin"))[:3]:
        points = read_point_file(path)
        np.testing.assert_array_equal(points[:, :4], LidarPointCloud.from_file(str(path)).points.T)
        assert not points[:, 4].any()
