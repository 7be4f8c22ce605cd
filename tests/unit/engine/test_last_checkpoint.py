from __future__ import annotations

import os

from lidar_mt.engine.last_checkpoint import find_last, remove_all_stale


def run(runs, name, time, files=("last.ckpt",)):
    folder = runs / name / "checkpoints"
    folder.mkdir(parents=True)
    for file in files:
        (folder / file).touch()
        os.utime(folder / file, (time, time))
    return folder / "last.ckpt"


def test_the_newest_run_that_saved_something_is_found(tmp_path):
    assert find_last(tmp_path) is None
    first = run(tmp_path, "b", 100)
    assert find_last(tmp_path) == first
    second = run(tmp_path, "a", 200, ["last.previous.ckpt"])
    run(tmp_path, "c", 300, [])
    assert find_last(tmp_path) == second


def test_a_finished_run_is_not_gone_on_with(tmp_path):
    run(tmp_path, "old", 100)
    run(tmp_path, "new", 200, ["last.ckpt", "finished"])
    assert find_last(tmp_path) is None


def test_other_files_stay(tmp_path):
    last = run(tmp_path, "a", 100)
    (last.parent / ".hidden.tmp").touch()
    remove_all_stale(tmp_path, tmp_path / "published")
    assert (last.parent / ".hidden.tmp").exists()
