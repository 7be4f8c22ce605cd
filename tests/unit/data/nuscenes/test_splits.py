import subprocess
import sys

import pytest
from nuscenes.utils.splits import create_splits_scenes

from lidar_mt.data.nuscenes.splits import scene_names
from lidar_mt.structures.errors import DataError


@pytest.mark.parametrize(
    ("version", "train", "val"),
    [("v1.0-mini", 8, 2), ("v1.0-complete-mini", 8, 2), ("v1.0-trainval", 700, 150)],
)
def test_official_names(version, train, val):
    names = scene_names(version)
    assert (len(names["train"]), len(names["val"])) == (train, val)
    assert not set(names["train"]) & set(names["val"])
    assert ("scene-0103" in names["val"]) == version.endswith(("mini", "trainval"))


def test_unknown_version_is_named():
    with pytest.raises(DataError, match=r"v1\.0-part"):
        scene_names("v1.0-part")


def test_the_test_split_has_a_version_of_its_own():
    assert {split: len(names) for split, names in scene_names("v1.0-test").items()} == {"test": 150}


def test_names_are_those_of_the_devkit():
    theirs = create_splits_scenes()
    assert scene_names("v1.0-trainval") == {split: theirs[split] for split in ("train", "val")}
    assert scene_names("v1.0-mini") == {split: theirs[f"mini_{split}"] for split in ("train", "val")}
    assert scene_names("v1.0-test") == {"test": theirs["test"]}


def test_names_are_found_without_loading_the_devkit():
    program = "import sys; from lidar_mt.data.nuscenes.splits import scene_names; scene_names('v1.0-mini');"
    program += "print([name for name in ('nuscenes', 'cv2', 'matplotlib') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
