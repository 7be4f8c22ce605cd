"""Which frames of an earlier run stand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lidar_mt.config import compose, instantiate
from lidar_mt.engine.earlier_results import EarlierResults
from lidar_mt.visualization.viewer_page import ViewerPage, read_frames


def write(out, name, made_with, **more):
    (out / f"{name}.json").write_text(json.dumps({"boxes": [], "made_with": made_with, **more}))


def test_a_picture_of_other_settings_does_not_stand_for_one_of_these(tmp_path):
    bare = EarlierResults(tmp_path, {"runtime": "torch"}, pictures=False)
    drawn = EarlierResults(tmp_path, {"runtime": "torch"}, pictures=True)
    made = bare.made_with(["file", 3])
    (tmp_path / "a.png").touch()
    write(tmp_path, "a", made, picture=False)
    assert bare.is_done("a", made, on_page=False)
    assert not drawn.is_done("a", made, on_page=False), "the PNG is older than the JSON file"
    write(tmp_path, "a", made, picture=True)
    assert drawn.is_done("a", made, on_page=False)
    assert not drawn.is_done("a", drawn.made_with(["file", 4]), on_page=False)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b'{"boxes": []}'])
def test_a_damaged_result_is_not_done(tmp_path, content):
    earlier = EarlierResults(tmp_path, {}, pictures=False)
    (tmp_path / "a.json").write_bytes(content)
    assert not earlier.is_done("a", earlier.made_with([]), on_page=False)


def test_frames_of_a_page_are_read_again_and_keep_their_order(tmp_path):
    cfg = compose("calops", ["grid.voxel_size=[1.6,1.6,8.0]"])
    page = ViewerPage("</script>", instantiate(cfg.grid), instantiate(cfg.classes))
    earlier = EarlierResults(tmp_path, {}, pictures=False, page_points=7)
    made = earlier.made_with(["file"])
    points = np.zeros((3, 5), np.float32)
    page.add("b", points, None, None, made=earlier.page_key(made))
    page.save(tmp_path / "index.html")
    again = ViewerPage("</script>", instantiate(cfg.grid), instantiate(cfg.classes))
    again.add("c", points, None, None)
    again.keep(read_frames(tmp_path / "index.html")["b"])
    again.add("a", points, None, None)
    again.save(tmp_path / "index.html", ["a", "b", "c"])
    assert list(read_frames(tmp_path / "index.html")) == ["a", "b", "c"]
    write(tmp_path, "b", made)
    for more, done in (({"page_points": 7}, True), ({"page_points": 8}, False)):
        found = EarlierResults(tmp_path, {}, pictures=False, page=tmp_path / "index.html", **more)
        assert found.is_done("b", made, on_page=True) is done
        assert not found.is_done("a", made, on_page=True)
    whole = (tmp_path / "index.html").read_text()
    for text in (whole[:-5], whole.replace("@", "#")[9:], whole.replace('"frames"', '"farmes"')):
        (tmp_path / "index.html").write_text(text)
        assert read_frames(tmp_path / "index.html") == {}
    assert read_frames(tmp_path / "nowhere.html") == {}
