"""Which frames a run has, what they are called and what the network gets of them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from lidar_mt.data.frames import PointFiles, choose_samples, evenly, find_point_files
from lidar_mt.data.sensor import Sensor
from lidar_mt.structures.errors import ConfigError, DataError


def cloud(count=6, largest=200.0):
    points = np.random.default_rng(count).uniform(2, 40, (count, 4)).astype(np.float32)
    points[:, 3] = np.linspace(0, largest, count)
    return points


@pytest.fixture
def folder(tmp_path):
    for name in ("b.npy", "a.pcd.npy", "deep/c.npy", "deep/.hidden.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / name, cloud())
    (tmp_path / "notes.txt").write_text("no points")
    (tmp_path / "folder.bin").mkdir()
    cloud()[:, :4].tofile(tmp_path / "b.bin")
    return tmp_path


def test_files_are_sorted_and_folders_of_folders_are_asked_for(folder):
    assert [path.name for path in find_point_files(folder)] == ["a.pcd.npy", "b.bin", "b.npy"]
    assert [path.name for path in find_point_files(folder, recursive=True)] == ["a.pcd.npy", "b.bin", "b.npy", "c.npy"]
    # A file that is named is taken, whatever it is called: reading says what is wrong with it.
    assert find_point_files(folder / "notes.txt") == [folder / "notes.txt"]


def test_nothing_to_read_is_named(folder):
    with pytest.raises(DataError, match=r"no \.pcd\.bin.* file; recursive=true"):
        find_point_files(folder / "folder.bin")
    with pytest.raises(DataError, match="nowhere"):
        find_point_files(folder / "nowhere")


def test_names_are_unlike_one_another(folder):
    frames = PointFiles(find_point_files(folder, recursive=True), folder, Sensor(), 0)
    assert list(frames.names) == ["a.pcd", "b.bin", "b.npy", "deep/c"]


def test_a_single_sweep_is_repeated_and_a_merged_cloud_is_not(tmp_path):
    points = cloud()
    np.save(tmp_path / "one.npy", points)
    np.save(tmp_path / "merged.npy", np.column_stack([points, [0, 0, 0.05, 0.05, 0.1, 0.1]]))
    frames = PointFiles([tmp_path / "one.npy", tmp_path / "merged.npy"], tmp_path, Sensor(), 3)
    one, merged = frames.read(0), frames.read(1)
    assert (len(one.points), len(one.merged), len(merged.merged)) == (6, 24, 6)
    np.testing.assert_array_equal(one.merged[:6], one.points)
    assert one.truth_boxes is None


@pytest.mark.parametrize(
    ("largest", "scale", "hint"), [(1.0, 1.0, "intensity_scale=255"), (65535.0, 1.0, "0.00389"), (1.0, 255.0, "")]
)
def test_intensities_of_another_scale_are_noticed_once(tmp_path, caplog, largest, scale, hint):
    path = tmp_path / "a.npy"
    np.save(path, cloud(largest=largest))
    frames = PointFiles([path, path], tmp_path, Sensor(intensity_scale=scale), 0)
    with caplog.at_level(logging.WARNING):
        frames.read(0), frames.read(1)
    assert len(caplog.records) == bool(hint)
    assert hint in caplog.text


def test_unknown_columns_are_refused_before_reading():
    for columns in (["x", "y"], ["x", "y", "z", "z"], ["x", "y", "z", "colour"], "xyz", True):
        with pytest.raises(ConfigError, match=r"columns=.*x y z and any of intensity"):
            PointFiles([], Path(), Sensor(columns), 0)


def test_samples_are_chosen_by_number_index_and_token():
    tokens = [f"t{i}" for i in range(10)]
    assert choose_samples(tokens, None) == list(range(10))
    assert choose_samples(tokens, 4) == [0, 3, 6, 9]
    assert choose_samples(tokens, 99) == list(range(10))
    assert choose_samples(tokens, [7, "t2", 7, 0]) == [7, 2, 0]
    for samples, word in (
        (0, "samples=0"),
        (-1, "positive"),
        (True, "positive"),
        ("t1", "list"),
        (["t1", "t11"], "t11"),
        ([10], "0 to 9"),
        ([-1], "samples=-1"),
        ([], "positive"),
    ):
        with pytest.raises(ConfigError, match=word):
            choose_samples(tokens, samples)


def test_evenly_keeps_both_ends():
    assert evenly(5, 1) == [0]
    assert evenly(0, 3) == []
    assert evenly(100, 3) in ([0, 50, 99], [0, 49, 99])
