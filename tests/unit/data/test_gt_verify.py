from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.helpers.tiny_lidar import VERSION, write_raw_nuscenes

from lidar_mt.data.gt_building import DatabasePlan, build_database
from lidar_mt.data.gt_database import load_dbinfos, load_infos
from lidar_mt.data.gt_verify import verify_database
from lidar_mt.data.lmdb_store.manifest import read_manifest
from lidar_mt.data.packing import pack_split
from lidar_mt.data.plain_pickle import write_pickle
from lidar_mt.structures.classes import DETECTION_CLASSES


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("made")
    pack_split(write_raw_nuscenes(root / "raw"), VERSION, "train", root / "packed")
    folder = root / "packed" / VERSION
    build_database(DatabasePlan(root / "packed", VERSION, "train", folder, DETECTION_CLASSES), allow_empty=True)
    return root / "packed"


@pytest.fixture
def folder(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "packed")) / VERSION


def names(folder, **changes):
    manifest = replace_manifest(read_manifest(folder / "train_lmdb"), **changes)
    return {Path(name).name for name, _ in verify_database(folder, manifest)}


def replace_manifest(manifest, **changes):
    return type(manifest)(**{name: getattr(manifest, name) for name in manifest.__struct_fields__} | changes)


def test_all_damaged_files_are_named_and_no_other(folder):
    assert names(folder) == set()
    cut, flipped, lost = sorted((folder / "nuscenes_gt_database").iterdir())[:3]
    cut.write_bytes(cut.read_bytes()[:-1])
    data = bytearray(flipped.read_bytes())
    data[-1] ^= 128
    flipped.write_bytes(data)
    lost.unlink()
    assert names(folder) == {cut.name, flipped.name, lost.name}
    shutil.rmtree(folder / "nuscenes_gt_database")
    assert names(folder) == {"nuscenes_gt_database"}
    (folder / "nuscenes_dbinfos_train.pkl").unlink()
    assert names(folder) == set()


def test_lists_that_are_stale_short_or_damaged_are_named(folder):
    index, keyframes = "nuscenes_dbinfos_train.pkl", "nuscenes_infos_train.pkl"
    assert names(folder, records_hash="another") == {index}
    dbinfos = load_dbinfos(folder)
    next(entries for entries in dbinfos.values() if entries).pop()
    write_pickle(folder / index, dbinfos)
    write_pickle(folder / keyframes, load_infos(folder)[1:])
    assert names(folder) == {index, keyframes}
    for name in (index, keyframes):
        (folder / name).write_bytes((folder / name).read_bytes()[:-40])
    assert names(folder) == {index, keyframes}


def test_the_program_names_what_is_bad_beside_a_good_store(folder, programs):
    arguments = (f"packed='{folder.parent}'", f"version={VERSION}", "split=train")
    done = programs("verify_data", *arguments)
    assert done.status == 0, done.err
    path = next((folder / "nuscenes_gt_database").iterdir())
    path.write_bytes(bytes(len(path.read_bytes())))
    done = programs("verify_data", *arguments)
    assert done.status == 2
    assert f"bad {path}: " in done.out
    assert "1 files of the GT database are bad; run `python -m lidar_mt.create_data version=" in done.err
    table = folder / "meta" / VERSION / "scene.json"
    table.write_text(json.dumps([]))
    done = programs("verify_data", *arguments)
    assert done.status == 2
    assert f"bad {table}: differs from what was copied" in done.out
    assert "1 files are bad; remove this folder and pack again" in done.err
