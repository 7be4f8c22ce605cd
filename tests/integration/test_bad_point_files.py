"""Packing raw data with damaged point files: stop, or leave them out and say so."""

from __future__ import annotations

import logging
import shutil

import pytest

from lidar_mt.data import packing
from lidar_mt.data.layout import store_path
from lidar_mt.data.lmdb_store.manifest import read_manifest
from lidar_mt.data.lmdb_store.reader import StoreReader
from lidar_mt.data.lmdb_store.verify import verify_store
from lidar_mt.data.nuscenes.tables import load_tables
from lidar_mt.data.packing import pack_split
from lidar_mt.structures.errors import ConfigError, DataError
from tests.helpers.tiny_lidar import VERSION, write_raw_nuscenes

MINI_TRAIN = [f"scene-{n}" for n in ("0061", "0553", "0655", "0757", "0796", "1077", "1094", "1100")]


@pytest.fixture
def raw(tmp_path):
    return write_raw_nuscenes(tmp_path / "raw", keyframes=3, between=3, scenes=MINI_TRAIN)


def lidar_rows(raw):
    """LIDAR_TOP rows of the first scene in time order, by whether they are keyframes."""
    tables = load_tables(raw, VERSION)
    scene = min(tables.scenes.values(), key=lambda scene: scene.name)
    keyframes = [tables.keyframe_lidar[sample.token] for sample in tables.samples_of[scene.token]]
    between, row = [], keyframes[-1]
    while row.prev:
        row = tables.lidar[row.prev]
        if row not in keyframes:
            between.append(row)
    return keyframes, between


def test_by_default_the_first_bad_file_stops_the_run(raw, tmp_path):
    _, (row, *_) = lidar_rows(raw)
    (raw / row.filename).write_bytes(b"x" * 30)
    with pytest.raises(DataError, match=rf"{row.token}.* has 30 bytes"):
        pack_split(raw, VERSION, "train", tmp_path / "out")
    assert not store_path(tmp_path / "out", VERSION, "train").exists()


@pytest.mark.parametrize("damage", [None, b"", b"x" * 30])
def test_a_bad_sweep_is_left_out_of_every_keyframe_and_named(raw, tmp_path, monkeypatch, caplog, damage):
    monkeypatch.setattr(packing, "_MAX_SKIPPED_SHARE", 0.05)  # the set is small
    whole = pack_split(raw, VERSION, "train", tmp_path / "whole")
    _, (row, *_) = lidar_rows(raw)
    shutil.copytree(raw, tmp_path / "hurt")
    path = tmp_path / "hurt" / row.filename
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    with caplog.at_level(logging.WARNING):
        hurt = pack_split(tmp_path / "hurt", VERSION, "train", tmp_path / "out", on_bad_file="skip")
    assert row.token in caplog.text
    assert (hurt.skipped_files, whole.skipped_files) == (1, 0)
    assert (hurt.keyframes, hurt.sweeps) == (whole.keyframes, whole.sweeps - 1)

    store = store_path(tmp_path / "out", VERSION, "train")
    assert read_manifest(store).skipped_files == 1
    assert not verify_store(store).bad
    fewer = 0
    for one, other in zip(keyframes(store), keyframes(store_path(tmp_path / "whole", VERSION, "train")), strict=True):
        found, expected = ([sweep.token for sweep in record.sweeps] for record in (one, other))
        assert found == [token for token in expected if token != row.token]
        fewer += found != expected
    assert fewer >= 1


def keyframes(store):
    reader = StoreReader(store)
    return [reader.keyframe(token.decode()) for token in reader.sample_tokens]


def test_a_keyframe_with_a_bad_file_is_left_out(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "_MAX_SKIPPED_SHARE", 0.05)
    (_, second, _), _ = lidar_rows(raw)
    (raw / second.filename).unlink()
    manifest = pack_split(raw, VERSION, "train", tmp_path / "out", on_bad_file="skip")
    records = keyframes(store_path(tmp_path / "out", VERSION, "train"))
    assert manifest.keyframes == len(records) == 3 * len(MINI_TRAIN) - 1
    assert second.sample_token not in {record.sample_token for record in records}
    assert second.token not in {sweep.token for record in records for sweep in record.sweeps}


def test_too_many_bad_files_are_no_accident(raw, tmp_path):
    _, (row, *_) = lidar_rows(raw)
    (raw / row.filename).unlink()
    with pytest.raises(DataError, match=r"1 of \d+ point files are missing or damaged, more than 0\.1%"):
        pack_split(raw, VERSION, "train", tmp_path / "out", on_bad_file="skip")
    assert not store_path(tmp_path / "out", VERSION, "train").exists()


def test_unknown_policy(raw, tmp_path):
    with pytest.raises(ConfigError, match="on_bad_file=ignore"):
        pack_split(raw, VERSION, "train", tmp_path / "out", on_bad_file="ignore")
