from __future__ import annotations

import numpy as np

from lidar_mt.count_classes import render
from lidar_mt.data.cbgs import ClassCounts
from lidar_mt.data.packing import pack_split
from tests.helpers.tiny_lidar import VERSION, write_raw_nuscenes


def test_table_and_plot_of_a_split(programs, tmp_path):
    pack_split(write_raw_nuscenes(tmp_path / "raw"), VERSION, "val", tmp_path / "packed")
    options = (f"packed={tmp_path / 'packed'}", f"version={VERSION}", "split=val", f"out={tmp_path / 'out'}")
    run = programs("count_classes", *options)
    assert run.status == 0, run.err
    rows = {line.split()[0]: line.split()[1:] for line in run.out.splitlines() if line.strip()}
    assert rows["all"][0] == "8"
    assert int(rows["car"][0]) <= 8 < int(rows["all"][1])
    assert (tmp_path / "out" / f"{VERSION}_val_classes.png").stat().st_size > 5000
    assert programs("count_classes", *options).out == run.out


def test_a_missing_store_is_named(programs, tmp_path):
    run = programs("count_classes", f"packed={tmp_path}", f"version={VERSION}", f"out={tmp_path}")
    assert run.status == 2
    assert "no lmdb at" in run.err


def test_columns_hold_what_their_heads_say():
    before = ClassCounts(10, np.array([4]), np.array([7]))
    table = render(("car",), before, ClassCounts(20, np.array([15]), np.array([30])), "x")
    cells = [next(iter(column.cells)) for column in table.columns]
    assert cells == ["car", "4", "15", "40.0", "75.0", "7", "30"]
