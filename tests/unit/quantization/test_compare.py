from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lidar_mt.quantization.compare import Activation, Difference, Tally
from lidar_mt.quantization.integer_graph import Codes
from lidar_mt.quantization.spec import Format

POSITIVE, SIGNED = Format(0, 255, 0, "uint8"), Format(-128, 127, 128, "uint8")
SHIFTED = Format(-128, 127, 0, "int8")


def compare(*pairs: tuple[Activation, Activation]) -> Difference:
    tally = Tally()
    for a, b in pairs:
        tally.add(a, b)
    return tally.result()


def real(values: object) -> Activation:
    return Activation(torch.as_tensor(np.asarray(values, np.float32)))


def codes(values: object, scale: float = 0.5, form: Format = SIGNED) -> Activation:
    return Activation(torch.as_tensor(np.asarray(values, np.int16)), Codes(scale, form))


def test_real_values_over_two_frames_as_numpy_computes_them() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(2, 4, 5, 6)).astype(np.float32)
    b = (a + 0.01 * rng.normal(size=a.shape)).astype(np.float32)
    # Another memory layout of one side must not matter.
    other = torch.as_tensor(b[1])[None].contiguous(memory_format=torch.channels_last)[0]
    found = compare((real(a[0]), real(b[0])), (real(a[1]), Activation(other)))
    wide_a, wide_b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    error = wide_b - wide_a
    assert found.count == 240
    assert found.sqnr_db == pytest.approx(10 * np.log10((wide_a**2).sum() / (error**2).sum()), abs=1e-4)
    assert found.cosine == pytest.approx(wide_a @ wide_b / np.linalg.norm(wide_a) / np.linalg.norm(wide_b), abs=1e-7)
    assert found.max_abs == pytest.approx(np.abs(error).max(), rel=1e-5)
    assert found.mean_abs == pytest.approx(np.abs(error).mean(), rel=1e-5)
    assert found.range_a == pytest.approx((a.min(), a.max()))
    assert found.range_b == pytest.approx((b.min(), b.max()))
    assert (found.lsb, found.max_lsb, found.differing_codes, found.clipped, found.equal) == (None,) * 4 + (False,)


def test_codes_are_counted_by_hand() -> None:
    first = codes([-128, 0, 3, 127]), codes([127, 0, 4, 127])
    found = compare(first, (codes([5]), codes([2])))
    assert (found.differing_codes, found.max_code, found.count) == (3, 255, 5)
    assert (found.max_abs, found.max_lsb, found.lsb) == (127.5, 255.0, 0.5)
    assert found.rounding_rms is None


def test_the_stored_type_plays_no_part_but_the_scale_does() -> None:
    assert compare((codes([1, 2]), codes([1, 2], form=SHIFTED))).differing_codes == 0
    other = compare((codes([1, 2]), codes([2, 4], scale=0.25)))
    assert other.differing_codes is None
    assert other.equal  # the same real values
    assert compare((codes([1]), codes([1], form=POSITIVE))).differing_codes is None


def test_one_frame_without_comparable_codes_leaves_nothing_to_count() -> None:
    found = compare((codes([1]), codes([2])), (codes([1]), codes([1], scale=0.25)))
    assert found.differing_codes is None
    assert found.max_code is None


def test_the_error_of_codes_is_split_as_done_by_hand() -> None:
    # In steps of 0.5: 1.2 -> 1; 300 is cut to 255; 255.4 still rounds into the range; -0.4 too.
    wanted = np.array([1.2, 300.0, 255.4, -0.4])
    stored = [3, 255, 255, 0]  # the first inherited an error of two steps
    found = compare((real(0.5 * wanted), codes(stored, form=POSITIVE)))
    assert found.clipped == 0.25
    # Cut at half a step outside the range, from where it is rounded into it.
    assert found.clipping_rms == pytest.approx(math.sqrt((300 - 255.5) ** 2 / 4), rel=1e-5)
    assert found.rounding_rms == pytest.approx(math.sqrt((0.2**2 + 0.5**2 + 0.4**2 + 0.4**2) / 4), rel=1e-4)
    assert found.inherited_rms == pytest.approx(math.sqrt(2**2 / 4), rel=1e-6)
    # The same the other way round: the real side is what was wanted.
    back = compare((codes(stored, form=POSITIVE), real(0.5 * wanted)))
    assert (back.clipped, back.clipping_rms, back.lsb) == (found.clipped, found.clipping_rms, 0.5)


def test_nothing_but_rounding_is_a_twelfth_of_a_step_squared() -> None:
    values = np.linspace(-50, 50, 100_001)
    found = compare((real(values), codes(np.round(values / 0.5).astype(int))))
    assert found.inherited_rms == 0
    assert found.clipping_rms == 0
    assert found.rounding_rms == pytest.approx(math.sqrt(1 / 12), rel=1e-3)


def test_equal_empty_zero_and_undefined_tensors() -> None:
    same = compare((codes([1, -2]), codes([1, -2])))
    assert same.equal
    assert same.sqnr_db == math.inf
    assert same.cosine == pytest.approx(1)
    empty = compare((real(np.zeros((0, 3))), real(np.zeros((0, 3)))))
    assert empty.equal
    assert empty.count == 0
    silent = compare((real([0.0, 0.0]), real([0.0, 1.0])))
    assert silent.sqnr_db == -math.inf
    assert silent.cosine == 0
    assert compare((real([0.0]), real([0.0]))).cosine == 1
    broken = compare((real([1.0, np.nan]), real([1.0, 2.0])), (real([1.0]), real([1.0])))
    assert not broken.equal
    assert math.isnan(broken.sqnr_db)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1,\) with \(2,\)"):
        compare((real([1]), real([1, 2])))
