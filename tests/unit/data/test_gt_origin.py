from __future__ import annotations

import json
import logging
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.tiny_lidar import VERSION, write_raw_nuscenes

from lidar_mt.data.cbgs import count_boxes, split_counts
from lidar_mt.data.datamodule import LidarDataModule
from lidar_mt.data.gt_building import DatabasePlan, build_database
from lidar_mt.data.gt_origin import origin_name, read_origin
from lidar_mt.data.layout import store_path
from lidar_mt.data.lmdb_store.reader import StoreReader
from lidar_mt.data.packing import pack_split
from lidar_mt.data.transforms.gt_sampling import GtSampling
from lidar_mt.structures.classes import DETECTION_CLASSES, Classes
from lidar_mt.structures.errors import DataError

CLASSES = Classes(DETECTION_CLASSES, (DETECTION_CLASSES,), ("others", "driveable_surface"))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A packed split with its GT database beside it, and raw data of which all annotations lost their points since."""
    root = tmp_path_factory.mktemp("made")
    raw = write_raw_nuscenes(root / "raw")
    pack_split(raw, VERSION, "train", root / "packed")
    build_database(
        DatabasePlan(root / "packed", VERSION, "train", root / "packed" / VERSION, DETECTION_CLASSES), allow_empty=True
    )
    table = raw / VERSION / "sample_annotation.json"
    rows = json.loads(table.read_text())
    for row in rows:
        row["num_lidar_pts"] = row["num_radar_pts"] = 0
    table.write_text(json.dumps(rows))
    return root


@pytest.fixture
def copy(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "made"))


def pasting(root: Path, database: Path) -> LidarDataModule:
    steps = {"paste": GtSampling(CLASSES, database, {"car": 2}, min_points=1)}
    return LidarDataModule(str(root / "packed"), VERSION, "train", "train", CLASSES, steps)


def test_files_of_the_same_store_are_used_without_a_word(copy, caplog):
    store = store_path(copy / "packed", VERSION, "train")
    with caplog.at_level(logging.WARNING):
        counts = split_counts(store, DETECTION_CLASSES)
        pasting(copy, store.parent).train_dataloader()
    np.testing.assert_array_equal(counts, count_boxes(StoreReader(store), DETECTION_CLASSES))
    assert "beside it" not in caplog.text


def test_files_of_an_earlier_state_are_named_with_the_command(copy, caplog):
    store = store_path(copy / "packed", VERSION, "train")
    pack_split(copy / "raw", VERSION, "train", copy / "packed", overwrite=True)
    command = re.escape(f"create_data packed={copy / 'packed'} version={VERSION} split=train overwrite=true")
    with pytest.raises(DataError, match=rf"{store.parent}/nuscenes_infos_train.pkl is stale.*{command}"):
        split_counts(store, DETECTION_CLASSES)
    with pytest.raises(DataError, match=rf"{store.parent}/nuscenes_dbinfos_train.pkl is stale.*{command}"):
        pasting(copy, store.parent).train_dataloader()
    # A database that lies elsewhere may be of any store.
    elsewhere = copy / "elsewhere"
    shutil.copytree(store.parent, elsewhere, ignore=shutil.ignore_patterns("*_lmdb"))
    pasting(copy, elsewhere).train_dataloader()
    # Without the file nobody can tell, as with files of another toolkit.
    (store.parent / origin_name()).unlink()
    assert split_counts(store, DETECTION_CLASSES).any()
    assert "nuscenes_infos_train.pkl has no gt_database_train.json beside it" in caplog.text


def test_a_damaged_file_is_named(copy):
    folder = copy / "packed" / VERSION
    assert read_origin(folder, "val") is None
    for spoilt in (b"", b"{}", b"\xff", (folder / origin_name()).read_bytes()[:-4]):
        (folder / origin_name()).write_bytes(spoilt)
        with pytest.raises(DataError, match=rf"{folder / origin_name()} cannot be read.*overwrite=true"):
            read_origin(folder)
