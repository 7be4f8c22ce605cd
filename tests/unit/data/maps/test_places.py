from __future__ import annotations

import json

import pytest
from tests.helpers.tiny_lidar import VERSION, read_table, write_table
from tests.helpers.tiny_nuscenes import write_tiny_nuscenes

from lidar_mt.data.maps.places import Places
from lidar_mt.structures.errors import DataError


def test_every_keyframe_finds_its_scene_and_map(raw):
    places = Places(raw, VERSION)
    for sample in read_table(raw, "sample"):
        place = places[sample["token"]]
        assert place == (sample["scene_token"], "nowhere", "maps/mask.png")  # scenes are named like their tokens


@pytest.mark.nuscenes
def test_real_tables(nuscenes_root):
    """scene-0103 was driven in Boston, scene-0916 in Singapore."""
    tables = nuscenes_root / "v1.0-mini"
    places = Places(nuscenes_root, "v1.0-mini")
    rows = {name: json.loads((tables / f"{name}.json").read_text()) for name in ("map", "log", "scene", "sample")}
    masks = {token: row["filename"] for row in rows["map"] for token in row["log_tokens"]}
    logs, scenes = ({row["token"]: row for row in rows[name]} for name in ("log", "scene"))
    found = set()
    for sample in rows["sample"]:
        scene = scenes[sample["scene_token"]]
        expected = (scene["name"], logs[scene["log_token"]]["location"], masks[scene["log_token"]])
        assert places[sample["token"]] == expected
        found.add(expected[:2])
    assert found == {("scene-0103", "boston-seaport"), ("scene-0916", "singapore-queenstown")}


@pytest.mark.parametrize("token", ["", "0" * 32, "z" * 32, "a" * 40])
def test_an_unknown_keyframe_is_named(raw, token):
    with pytest.raises(DataError, match=rf"keyframe {token} is not in .*sample.json; pack the data again"):
        Places(raw, VERSION)[token]


@pytest.mark.parametrize("table", ["sample", "scene", "log", "map"])
def test_missing_and_inconsistent_tables_are_named(tmp_path, table):
    root = write_tiny_nuscenes(tmp_path / "raw", VERSION)
    if table in ("scene", "log", "map"):
        write_table(root, table, [])
        with pytest.raises(DataError, match="have no row"):
            Places(root, VERSION)
    (root / VERSION / f"{table}.json").unlink()
    with pytest.raises(DataError, match=rf"{table}.json cannot be read"):
        Places(root, VERSION)
