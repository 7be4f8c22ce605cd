import pytest

from lidar_mt.data.simulation import Plan, choose_scenes, write_dataset
from lidar_mt.data.simulation.dataset import MARKER
from lidar_mt.structures.errors import ConfigError, DataError

MINI = {"train": [f"t{i}" for i in range(8)], "val": ["v0", "v1"]}
FULL = {"train": [f"t{i}" for i in range(700)], "val": [f"v{i}" for i in range(150)]}
PLAN = {"version": "v1.0-mini", "scenes": ("scene-0061",), "keyframes": 2, "sweeps": 0, "seed": 0}


@pytest.mark.parametrize(
    ("names", "scenes", "val"),
    [
        (MINI, 10, 2),
        (MINI, 1, 0),
        (MINI, 2, 1),
        (MINI, 5, 1),
        (MINI, 9, 2),
        (FULL, 2, 1),
        (FULL, 60, 11),
        (FULL, 850, 150),
    ],
)
def test_scenes_keep_the_share_of_validation(names, scenes, val):
    chosen = choose_scenes(names, scenes, "v1.0-mini")
    assert len(chosen) == len(set(chosen)) == scenes
    assert sum(name.startswith("v") for name in chosen) == val


@pytest.mark.parametrize("scenes", [0, 11, -3])
def test_too_many_scenes_name_the_larger_version(scenes):
    with pytest.raises(ConfigError, match="trainval has 850"):
        choose_scenes(MINI, scenes, "v1.0-mini")


@pytest.mark.parametrize("wrong", [{"keyframes": 1}, {"sweeps": 11}, {"sweeps": -1}, {"scenes": ()}])
def test_plan_refuses_what_cannot_be(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Plan(**{**PLAN, **wrong})


def test_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("meow")
    with pytest.raises(DataError, match=MARKER):
        write_dataset(tmp_path / "photos", Plan(**PLAN))
    assert (tmp_path / "photos" / "cat.jpg").read_text() == "meow"
    with pytest.raises(DataError, match="is a file"):
        write_dataset(tmp_path / "photos" / "cat.jpg", Plan(**PLAN))


def test_simulated_folder_is_replaced_and_leftovers_go(tmp_path):
    out, leftover = tmp_path / "sim", tmp_path / "sim.partial"
    for folder in (out, leftover):
        folder.mkdir()
        (folder / "old.txt").write_text("")
    (out / MARKER).write_text("{}")
    write_dataset(out, Plan(**PLAN))
    assert not leftover.exists()
    assert not (out / "old.txt").exists()
    assert len(list((out / "samples" / "LIDAR_TOP").iterdir())) == 2
    assert not list((out / "sweeps" / "LIDAR_TOP").iterdir())
