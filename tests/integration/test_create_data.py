"""Packed split -> program -> GT database -> readers."""

from __future__ import annotations

import numpy as np
import pytest

from lidar_mt.config import compose, instantiate
from lidar_mt.data.gt_database import load_dbinfos, load_infos, read_object_points
from lidar_mt.data.lmdb_store.reader import StoreReader
from lidar_mt.data.packing import pack_split
from lidar_mt.structures.boxes import points_in_boxes
from lidar_mt.structures.classes import DETECTION_CLASSES
from tests.helpers.tiny_lidar import VERSION, write_raw_nuscenes


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    root = tmp_path_factory.mktemp("create data")
    raw = write_raw_nuscenes(root / "raw", keyframes=4, between=9)
    for split in ("train", "val"):
        pack_split(raw, VERSION, split, root / "packed")
    return root / "packed"


def test_the_program_makes_a_database_that_its_readers_understand(packed, tmp_path, programs):
    arguments = (f"packed='{packed}'", f"version={VERSION}", "workers=1")
    done = programs("create_data", *arguments)
    # Scattered points miss some class; the message says which and why.
    assert done.status == 2
    assert "error: the GT database lacks classes: " in done.err
    assert "because none of the" in done.err
    done = programs("create_data", *arguments, "allow_empty=true")
    assert done.status == 0, done.err
    folder = packed / VERSION
    dbinfos, infos = load_dbinfos(folder), load_infos(folder)
    lines = [line.split() for line in done.out.splitlines()]
    table = {line[0]: line for line in lines if line and line[0] in DETECTION_CLASSES}
    assert {name: int(line[4]) for name, line in table.items()} == {name: len(list_) for name, list_ in dbinfos.items()}
    assert [info["sample_token"].encode() for info in infos] == StoreReader(
        folder / "train_lmdb"
    ).sample_tokens.tolist()
    # Training's own reading of a keyframe holds the points of its objects, where the nine nearest sweeps have them.
    config = compose("train", [f"paths.packed='{packed}'", f"data.version={VERSION}", "augmentation=none"])
    dataset = instantiate(config.data, num_sweeps=10).dataset(training=True)
    index = 1
    sample = dataset[index]
    compared = 0
    for entry in (entry for list_ in dbinfos.values() for entry in list_ if entry["image_idx"] == sample.token):
        points = read_object_points(folder, entry)
        points[:, :3] += entry["box3d_lidar"][:3]
        inside = sample.points[points_in_boxes(sample.points, entry["box3d_lidar"][None].astype(float))[0]]
        far = (np.abs(inside[:, :2]) >= 3).any(axis=1)  # training keeps the own roof in keyframes
        if far.all() and len(inside) == len(points):
            np.testing.assert_allclose(points, inside, atol=2e-5)
            compared += 1
    assert compared > 3
    done = programs("create_data", *arguments)
    assert done.status == 2
    assert "exists already" in done.err


def test_another_split_has_names_of_its_own(packed, tmp_path, programs):
    arguments = (f"packed='{packed}'", f"version={VERSION}", "split=val", f"out='{tmp_path}'", "workers=1")
    done = programs("create_data", *arguments, "allow_empty=true")
    assert done.status == 0, done.err
    names = ["gt_database_val.json", "nuscenes_dbinfos_val.pkl", "nuscenes_gt_database_val", "nuscenes_infos_val.pkl"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    entry = next(entry for list_ in load_dbinfos(tmp_path, "val").values() for entry in list_)
    assert len(read_object_points(tmp_path, entry)) == entry["num_points_in_gt"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("split=trian", "unknown split 'trian'; expected one of train, val"),
        ("version=v1.0-nope", "run `make pack-data"),
        ("alow_empty=true", "Did you mean 'allow_empty'?"),
        ("workers=0", "workers=0; expected 1 or more"),
    ],
)
def test_mistakes_end_with_one_error_line(packed, tmp_path, programs, override, message):
    done = programs("create_data", f"packed='{packed}'", f"version={VERSION}", f"out='{tmp_path}'", override)
    assert done.status == 2
    assert "error: " in done.err
    assert message in done.err
    assert not list(tmp_path.iterdir())
