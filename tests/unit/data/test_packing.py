from __future__ import annotations

import logging
import shutil

import numpy as np
import pytest
from nuscenes.nuscenes import NuScenes
from tests.helpers.tiny_lidar import VERSION, read_table, write_raw_nuscenes, write_table

from lidar_mt.data.layout import meta_path, store_path
from lidar_mt.data.lmdb_store.reader import StoreReader
from lidar_mt.data.nuscenes.keyframes import keyframe_record
from lidar_mt.data.nuscenes.tables import load_tables
from lidar_mt.data.packing import META_TABLES, copy_meta, pack_split
from lidar_mt.structures.errors import DataError


@pytest.fixture
def damaged(tmp_path):
    """A raw data root of one keyframe pair per scene, to damage."""
    return write_raw_nuscenes(tmp_path / "raw", keyframes=2, between=2)


def test_every_sweep_is_stored_once_and_bit_exact(raw, tmp_path):
    manifest = pack_split(raw, VERSION, "val", tmp_path)
    tables = load_tables(raw, VERSION)
    reader = StoreReader(store_path(tmp_path, VERSION, "val"))
    names = {"scene-0103", "scene-0916"}
    samples = [sample for scene, rows in tables.samples_of.items() if scene in names for sample in rows]
    # Sweeps before a scene's second keyframe and so on: all 16 of each scene are within reach of a keyframe.
    assert (manifest.scenes, manifest.keyframes, manifest.sweeps) == (2, 8, 32)
    assert manifest.has_lidarseg
    wanted = [row for row in tables.lidar.values() if tables.samples[row.sample_token].scene_token in names]
    assert len(wanted) == 32
    for row in wanted:
        assert reader.sweep(row.token).tobytes() == (raw / row.filename).read_bytes()
    for sample in samples:
        record = reader.keyframe(sample.token)
        content = (raw / tables.lidarseg[record.lidar_token].filename).read_bytes()
        assert record.lidarseg.numpy().tobytes() == content
        expected = keyframe_record(tables, sample)
        np.testing.assert_array_equal(record.boxes.numpy(), expected.boxes.numpy())
        assert record.detection_names == expected.detection_names
        assert record.sample_token == sample.token
    assert reader.manifest.data_bytes < 1.6 * sum((raw / row.filename).stat().st_size for row in wanted) + 200_000


def test_sweeps_out_of_reach_are_not_stored(tmp_path):
    raw = write_raw_nuscenes(tmp_path / "raw", keyframes=2, between=14)
    manifest = pack_split(raw, VERSION, "train", tmp_path / "out")
    assert (manifest.keyframes, manifest.sweeps) == (2, 12)


def test_the_devkit_opens_the_copied_tables(raw, tmp_path):
    pack_split(raw, VERSION, "train", tmp_path)
    meta = meta_path(tmp_path, VERSION)
    devkit = NuScenes(VERSION, str(meta), verbose=False)
    assert len(devkit.sample) == 12
    assert {path.stem for path in (meta / VERSION).iterdir()} == set(META_TABLES)
    assert all(path.is_file() or path.is_dir() for path in meta.rglob("*"))
    assert not list(meta.rglob("*.partial"))


def test_tables_that_changed_are_copied_again_and_others_not(damaged, tmp_path):
    meta = tmp_path / "meta"
    copy_meta(damaged, VERSION, meta)
    before = {path.name: path.stat().st_ino for path in (meta / VERSION).iterdir()}
    write_table(damaged, "log", [*read_table(damaged, "log"), {"token": "another"}])
    copy_meta(damaged, VERSION, meta)
    after = {path.name: path.stat().st_ino for path in (meta / VERSION).iterdir()}
    assert {name for name in after if after[name] != before[name]} == {"log.json"}
    assert "another" in (meta / VERSION / "log.json").read_text()


def test_a_set_without_lidarseg_is_packed_with_one_warning(tmp_path, caplog):
    raw = write_raw_nuscenes(tmp_path / "raw", keyframes=2, lidarseg=False)
    with caplog.at_level(logging.WARNING):
        manifest = pack_split(raw, VERSION, "val", tmp_path / "out")
    assert not manifest.has_lidarseg
    assert [record.getMessage() for record in caplog.records if "no lidarseg.json" in record.getMessage()] == [
        f"{raw / VERSION} has no lidarseg.json: packing without point labels, segmentation cannot be trained"
    ]
    reader = StoreReader(store_path(tmp_path / "out", VERSION, "val"))
    assert reader.keyframe(reader.sample_tokens[0].decode()).lidarseg is None


def cut_points(raw):
    path = next((raw / "sweeps/LIDAR_TOP").glob("scene-0061*"))
    path.write_bytes(path.read_bytes()[:-3])
    return rf"{path.name} \(sample_data {path.name[:32]}\) has \d+ bytes"


def remove_points(raw):
    path = next((raw / "samples/LIDAR_TOP").glob("scene-0061*"))
    path.unlink()
    return rf"missing point file .*{path.name} \(sample_data {path.name[:32]}\)"


def cut_labels(raw):
    path = next((raw / "lidarseg" / VERSION).glob("scene-0061*"))
    path.write_bytes(path.read_bytes()[:-1])
    return rf"{path.name} has \d+ labels"


def remove_map(raw):
    (raw / "maps/mask.png").unlink()
    return r"missing .*maps/mask.png"


def remove_table(raw):
    (raw / VERSION / "visibility.json").unlink()
    return r"missing .*visibility.json"


def break_map_table(raw):
    (raw / VERSION / "map.json").write_text("{")
    return r"map.json cannot be read"


@pytest.mark.parametrize("damage", [cut_points, remove_points, cut_labels, remove_map, remove_table, break_map_table])
def test_damaged_raw_data_is_named_and_leaves_no_store(damaged, tmp_path, damage):
    message = damage(damaged)
    with pytest.raises(DataError, match=message):
        pack_split(damaged, VERSION, "train", tmp_path / "out")
    assert not store_path(tmp_path / "out", VERSION, "train").exists()


def test_a_token_too_long_for_the_index_is_refused(damaged, tmp_path):
    token, long = "scene-0061-1".ljust(32, "0"), "x" * 40
    for path in (damaged / VERSION).glob("*.json"):
        path.write_text(path.read_text().replace(f'"{token}"', f'"{long}"'))
    with pytest.raises(DataError, match=r"sample token 'x{40}' is longer than 32 bytes"):
        pack_split(damaged, VERSION, "train", tmp_path / "out")


def test_packing_the_same_twice_gives_the_same_bytes(damaged, tmp_path):
    for out in ("a", "b"):
        pack_split(damaged, VERSION, "val", tmp_path / out)
    contents = [(store_path(tmp_path / out, VERSION, "val") / "data.mdb").read_bytes() for out in ("a", "b")]
    assert contents[0] == contents[1]


def test_packing_works_from_a_read_only_source(damaged, tmp_path):
    for path in sorted(damaged.rglob("*"), reverse=True):
        path.chmod(0o555 if path.is_dir() else 0o444)
    for _ in range(2):  # the copies of read-only tables stay replaceable
        pack_split(damaged, VERSION, "train", tmp_path / "out", overwrite=True)
        (damaged / VERSION).chmod(0o755)
        (damaged / VERSION / "log.json").chmod(0o644)
        write_table(damaged, "log", [*read_table(damaged, "log"), {"token": "more"}])
    for path in damaged.rglob("*"):
        path.chmod(0o755)
    shutil.rmtree(damaged)
