from __future__ import annotations

import pytest

from lidar_mt.data.gt_extraction import FrameObjects
from lidar_mt.data.gt_summary import ClassCount, check_files, count_classes, format_counts
from lidar_mt.structures.errors import DataError

FRAMES = [
    FrameObjects("a", ["car", "animal", "car", "bus"], [True, True, False, True], [0], [4], b"", [0]),
    FrameObjects("b", ["car", "car", "bus"], [True, True, True], [0, 1], [5, 7], b"", [0, 0]),
]


def test_counts_by_class():
    car, bus, tram = count_classes(FRAMES, ("car", "bus", "tram"))
    assert car == ClassCount("car", keyframes=2, annotated=4, valid=3, stored=3, usable=2, points=16)
    assert bus == ClassCount("bus", keyframes=0, annotated=2, valid=2, stored=0, usable=0, points=0)
    assert tram == ClassCount("tram")


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (ClassCount("bus"), "bus, because no keyframe of the split 'train' has one annotated"),
        (ClassCount("bus", annotated=3), "bus, because none of the 3 annotated ones has a LiDAR or radar point"),
        (ClassCount("bus", annotated=3, valid=2), "bus, because none of the 2 valid ones holds a LiDAR point"),
    ],
)
def test_why_a_class_is_empty(count, message):
    assert count.why_empty("train").startswith(message)


def test_files_and_bytes_are_counted(tmp_path):
    counts = [ClassCount("car", stored=2, points=3), ClassCount("bus")]
    (tmp_path / "a.bin").write_bytes(bytes(20))
    (tmp_path / "b.bin").write_bytes(bytes(40))
    check_files(tmp_path, counts)
    (tmp_path / "b.bin").write_bytes(bytes(39))
    with pytest.raises(DataError, match="holds 2 files of 59 bytes, but 2 objects of 60 bytes"):
        check_files(tmp_path, counts)
    (tmp_path / "b.bin").unlink()
    with pytest.raises(DataError, match="holds 1 files of 20 bytes"):
        check_files(tmp_path, counts)
    with pytest.raises(DataError, match="cannot read"):
        check_files(tmp_path / "none", counts)


def test_the_table_has_a_line_per_class_and_a_total():
    lines = format_counts(count_classes(FRAMES, ("car", "bus"))).splitlines()
    assert [line.split()[0] for line in lines] == ["class", "car", "bus", "all"]
    assert lines[1].split() == ["car", "2", "4", "3", "3", "2", "16"]
    assert lines[3].split() == ["all", "6", "5", "3", "2", "16"]
    assert len({len(line) for line in lines}) == 1
