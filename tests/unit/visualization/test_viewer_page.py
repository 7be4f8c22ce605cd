"""The page of a run: what is packed into it comes out of it, and it needs nothing but itself."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch

from lidar_mt.config import compose, instantiate
from lidar_mt.structures.outputs import Detections
from lidar_mt.visualization.palette import rgb, surface_colors
from lidar_mt.visualization.viewer_page import ViewerPage, template

DATA = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)


@pytest.fixture(scope="module")
def parts():
    cfg = compose("calops")
    return instantiate(cfg.grid), instantiate(cfg.classes)


@pytest.fixture(scope="module")
def cloud():
    rng = np.random.default_rng(3)
    points = np.column_stack(
        [rng.uniform(-70, 70, (4000, 2)), rng.uniform(-4, 8, 4000), rng.integers(0, 256, 4000), np.zeros(4000)]
    ).astype(np.float32)
    points[0, :3] = 500, 0, 0  # too far away to be shown
    return points


@pytest.fixture(scope="module")
def boxes():
    rows = torch.tensor([[1.0, 20, -1, 1.9, 4.5, 1.6, 0.5, 3, 4], [5, -9, 0, 0.7, 0.8, 1.8, -3, 0, 0]])
    return Detections(rows, torch.tensor([0.9, 0.4]), torch.tensor([0, 8]))


@pytest.fixture
def written(parts, cloud, boxes, tmp_path):
    """A page of two frames, as text and as data."""
    page = ViewerPage("a </script><b>", *parts, max_points=5000, notes={"run": "demo"})
    segmentation = torch.zeros(128, 128, dtype=torch.int64)
    segmentation[10:90, 40:70] = 1
    truth = np.array([[1, 20, -1, 1.9, 4.5, 1.6, 0.5, np.nan, np.nan], [0.0] * 9], dtype=np.float32)
    page.add("first", cloud, boxes, segmentation, truth, np.array([0, -1]))
    page.add("second", cloud[:7], None, None)
    text = page.save(tmp_path / "deep/index.html").read_text(encoding="utf-8")
    (found,) = DATA.findall(text)
    return text, json.loads(found), segmentation


def unpack(data, frame):
    codes = np.frombuffer(base64.b64decode(frame["xyz"]), "<u2").reshape(-1, 3) / 65535
    low, high = np.array(data["low"]), np.array(data["high"])
    return low + codes * (high - low), np.frombuffer(base64.b64decode(frame["intensity"]), np.uint8)


def test_points_come_out_within_millimetres(written, cloud):
    _, data, _ = written
    xyz, intensity = unpack(data, data["frames"][0])
    assert np.abs(xyz - cloud[1:, :3]).max() < 2e-3
    np.testing.assert_array_equal(intensity, cloud[1:, 3])
    assert data["frames"][0]["count"] == 4000
    assert len(unpack(data, data["frames"][1])[0]) == 6


def test_boxes_and_truth_come_out(written, boxes):
    _, data, _ = written
    rows = np.array(data["frames"][0]["boxes"])
    np.testing.assert_array_equal(rows[:, 0], [0, 8])
    np.testing.assert_allclose(rows[:, 1], [0.9, 0.4], atol=1e-6)
    np.testing.assert_allclose(rows[:, 2:], boxes.boxes.numpy(), atol=1e-3)
    assert data["frames"][0]["truth"] == [[0, 1.0, 1, 20, -1, 1.9, 4.5, 1.6, 0.5, 0, 0]]
    assert not {"boxes", "truth", "surface"} & set(data["frames"][1])
    assert [item["name"] for item in data["classes"]][8] == "pedestrian"
    assert all(len(rgb(item["color"])) == 3 for item in data["classes"])


def test_the_surface_comes_out(written, parts):
    _, data, segmentation = written
    packed = data["frames"][0]["surface"]
    runs = np.frombuffer(base64.b64decode(packed["runs"]), np.uint8).reshape(-1, 2)
    np.testing.assert_array_equal(np.repeat(runs[:, 0], runs[:, 1]).reshape(packed["shape"]), segmentation.numpy())
    assert tuple(item["color"] for item in data["surfaces"]) == surface_colors(parts[1].segmentation)


@pytest.mark.parametrize("shape", [(512, 512), (300, 100)])
def test_large_surfaces_are_thinned_out(parts, cloud, tmp_path, shape):
    page = ViewerPage("a", *parts)
    page.add("one", cloud, None, np.full(shape, -1))
    (text,) = DATA.findall(page.save(tmp_path / "a.html").read_text(encoding="utf-8"))
    packed = json.loads(text)["frames"][0]["surface"]
    assert packed["shape"] == [side // 2 for side in shape]
    runs = np.frombuffer(base64.b64decode(packed["runs"]), np.uint8).reshape(-1, 2)
    assert runs[:, 1].sum() == shape[0] * shape[1] // 4
    assert set(runs[:, 0]) == {255}  # a label of no class: not drawn


def test_many_points_are_thinned_out_alike_each_time(parts, cloud, tmp_path):
    texts = []
    for _ in range(2):
        page = ViewerPage("a", *parts, max_points=100)
        page.add("one", torch.from_numpy(cloud), None, None)
        texts.append(page.save(tmp_path / "a.html").read_text(encoding="utf-8"))
    assert texts[0] == texts[1]
    data = json.loads(DATA.findall(texts[0])[0])
    xyz, _ = unpack(data, data["frames"][0])
    nearest = np.abs(xyz[:, None] - cloud[None, :, :3]).max(axis=2).min(axis=1)
    assert len(xyz) == 100
    assert nearest.max() < 2e-3


def test_the_page_needs_no_network_and_no_name_breaks_it(written):
    text, data, _ = written
    assert data["title"] == "a </script><b>"
    assert text.count("</script>") == 2  # the data and the program
    assert not re.findall(r"https?:|\b(?:src|href)\s*=|@import|url\(|fetch\(|XMLHttp|import\(", template())
    assert "default-src 'none'" in text


def test_every_element_that_the_program_asks_for_is_there():
    text = template()
    asked = set(re.findall(r'\$\("([\w-]+)"\)', text))
    assert len(asked) > 20
    assert asked <= set(re.findall(r'id="([\w-]+)"', text))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_a_browser_shows_it(written, tmp_path):
    options = "--headless=new --no-sandbox --disable-dev-shm-usage --use-gl=angle --use-angle=swiftshader "
    options += f"--enable-unsafe-swiftshader --user-data-dir={tmp_path / 'profile'} --virtual-time-budget=3000"
    page = (tmp_path / "deep/index.html").as_uri()
    command = ["chromium", *options.split(), "--dump-dom", page]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert "1 / 2" in shown  # the program ran to its end
    assert "4,000 points, 3,999 shown" in shown
    assert re.search(r'id="fault"(?! style="display: block)', shown)
