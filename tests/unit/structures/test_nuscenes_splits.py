import pytest
from nuscenes.utils.splits import create_splits_scenes

from lidar_mt.structures.nuscenes_splits import official_scenes, official_splits


def test_equal_the_devkits_lists():
    theirs = create_splits_scenes()
    assert set(official_splits()) == set(theirs)
    for split, scenes in theirs.items():
        assert official_scenes(split) == scenes


def test_unknown_split():
    with pytest.raises(KeyError):
        official_scenes("vall")
