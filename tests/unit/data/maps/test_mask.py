from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from nuscenes.utils.map_mask import MapMask
from PIL import Image

from lidar_mt.data.maps import mask as module
from lidar_mt.data.maps.mask import read_mask
from lidar_mt.structures.errors import DataError


def blobs(height, width, seed=0):
    """Rectangles on an empty picture, some of them over the rim, and a few lone pixels."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width), dtype=np.uint8)
    for _ in range(12):
        top, left = rng.integers(-20, height), rng.integers(-20, width)
        picture[max(0, top) : top + rng.integers(5, 90), max(0, left) : left + rng.integers(5, 90)] = 255
    picture[rng.integers(0, height, 40), rng.integers(0, width, 40)] = 255
    picture[-1, -1] = picture[0, 0] = 255
    return picture


@pytest.fixture
def small_strips(monkeypatch):
    monkeypatch.setattr(module, "_STRIP_PIXELS", 3000)


def save(path, picture, **options):
    Image.fromarray(picture).save(path, **options)
    return path


def whole(mask):
    return mask.crop(0, mask.shape[0], 0, mask.shape[1])


@pytest.mark.parametrize("shape", [(160, 230), (1, 40), (40, 1), (7, 2999)])
def test_strips_give_what_pillow_reads(tmp_path, small_strips, shape):
    picture = blobs(*shape)
    mask = read_mask(save(tmp_path / "mask.png", picture))
    assert mask.shape == shape
    np.testing.assert_array_equal(whole(mask), np.asarray(Image.open(tmp_path / "mask.png")) == 255)
    np.testing.assert_array_equal(whole(mask), picture == 255)


@pytest.mark.parametrize("kind", [0, 1, 2, 3, 4])
def test_every_row_filter_of_png_is_undone(tmp_path, small_strips, kind):
    picture = blobs(90, 130, seed=kind)
    filtered = slow_filter(picture, kind)
    header = struct.pack(">IIBBBBB", 130, 90, 8, 0, 0, 0, 0)
    data = zlib.compress(filtered)
    cut = len(data) // 3
    parts = [(b"IHDR", header), (b"IDAT", data[:cut]), (b"tEXt", b"a\0b"), (b"IDAT", data[cut:]), (b"IEND", b"")]
    chunks = (struct.pack(">I", len(b)) + n + b + struct.pack(">I", zlib.crc32(n + b)) for n, b in parts)
    path = tmp_path / "mask.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    np.testing.assert_array_equal(whole(read_mask(path)), picture == 255)


def slow_filter(picture, kind):
    """The filters as the PNG specification words them, pixel by pixel."""
    out = bytearray()
    rows = picture.astype(int)
    for r in range(len(rows)):
        out.append(kind)
        for c in range(rows.shape[1]):
            left = rows[r, c - 1] if c else 0
            up = rows[r - 1, c] if r else 0
            corner = rows[r - 1, c - 1] if r and c else 0
            guess = left + up - corner
            paeth = min((left, up, corner), key=lambda value: abs(guess - value))
            out.append(int(rows[r, c] - (0, left, up, (left + up) // 2, paeth)[kind]) % 256)
    return bytes(out)


def test_only_255_is_foreground_and_other_kinds_of_png_are_read(tmp_path):
    grey = np.array([[0, 254, 255, 1]], dtype=np.uint8)
    assert whole(read_mask(save(tmp_path / "grey.png", grey))).tolist() == [[False, False, True, False]]
    Image.fromarray(blobs(50, 60)).convert("1").save(tmp_path / "bits.png")
    np.testing.assert_array_equal(whole(read_mask(tmp_path / "bits.png")), blobs(50, 60) == 255)


def test_tiles_are_cut_out_of_the_whole(tmp_path):
    picture = blobs(120, 200)
    mask = read_mask(save(tmp_path / "mask.png", picture))
    rng = np.random.default_rng(0)
    for _ in range(100):
        (top, bottom), (left, right) = (sorted(rng.choice(n + 1, 2, replace=False)) for n in picture.shape)
        np.testing.assert_array_equal(mask.crop(top, bottom, left, right), picture[top:bottom, left:right] == 255)


@pytest.mark.parametrize("seed", range(8))
def test_cells_are_looked_up_as_the_devkit_does(tmp_path, seed):
    path = save(tmp_path / "mask.png", blobs(700, 900, seed))
    rng = np.random.default_rng(seed)
    angle, size = rng.uniform(-4, 4), 0.4 * (-1) ** seed
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    affine = np.column_stack([turn * [size, 0.3], rng.uniform(-20, 90, 2)])
    found = read_mask(path).driveable(affine, (150, 120))
    row, column = np.mgrid[:150, :120]
    x, y = affine @ np.stack([column.ravel(), row.ravel(), np.ones(row.size)])
    expected = MapMask(str(path)).is_on_mask(x, y).reshape(150, 120)
    assert 0 < expected.sum() < expected.size
    np.testing.assert_array_equal(found, expected)


def test_far_from_the_picture_nothing_is_driveable(tmp_path):
    mask = read_mask(save(tmp_path / "mask.png", np.full((40, 50), 255, dtype=np.uint8)))
    for x, y in ((-1000.0, 2.0), (2.0, 1e6), (1e5, -1e5)):
        assert not mask.driveable(np.array([[0.2, 0, x], [0, 0.2, y]]), (10, 12)).any()


def test_a_mask_is_read_once_per_process(tmp_path):
    path = save(tmp_path / "mask.png", blobs(30, 30))
    assert read_mask(path) is read_mask(path)


def damaged(data, at):
    return data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: b"GIF89a" + data,
        lambda data: data[:20],
        lambda data: data[: len(data) // 2],
        lambda data: damaged(data, len(data) // 2),
    ],
)
def test_damaged_masks_are_named(tmp_path, spoil):
    path = save(tmp_path / "mask.png", blobs(300, 300))
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(DataError, match=r"map mask .*mask.png (cannot be read|is cut short)"):
        read_mask(path)


def test_a_missing_mask_is_named(tmp_path):
    with pytest.raises(DataError, match=r"map mask .*none.png cannot be read: .*No such file"):
        read_mask(tmp_path / "none.png")
