from __future__ import annotations

import pytest
import torch

from lidar_mt.quantization.observers import HistogramObserver, choose_scale
from lidar_mt.quantization.spec import Format, build_scheme
from lidar_mt.structures.errors import ConfigError

SCHEME = build_scheme("u8", "float")


def observe(*batches: torch.Tensor) -> HistogramObserver:
    observer = HistogramObserver()
    for batch in batches:
        observer.update(batch)
    return observer


def squared_error(x: torch.Tensor, scale: float, form: Format) -> float:
    codes = (x.double() / scale).round().clamp(form.low, form.high)
    return float((codes * scale - x.double()).square().sum())


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("power_of_two", [True, False])
def test_mse_is_as_good_as_a_search_over_the_values_themselves(positive: bool, power_of_two: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50_000, generator=generator) ** 3
    x = x.abs() if positive else x
    form = SCHEME.format(positive)
    chosen = choose_scale(observe(*x.split(9_000)), form, "mse", power_of_two=power_of_two)
    full = float(x.abs().max()) / (form.high if positive else 127.5)
    tried = (
        [2.0**k for k in range(-30, 10)] if power_of_two else [full * share for share in torch.linspace(0.02, 1, 400)]
    )
    best = min(squared_error(x, float(scale), form) for scale in tried)
    assert squared_error(x, chosen, form) <= 1.02 * best
    if not power_of_two:
        assert squared_error(x, full, form) > 1.03 * best  # the search has something to find


@pytest.mark.parametrize("power_of_two", [True, False])
def test_minmax_cuts_nothing_off(power_of_two: bool) -> None:
    x = torch.tensor([-3.0, 0.2, 2.0])
    scale = choose_scale(observe(x), SCHEME.signed, "minmax", power_of_two=power_of_two)
    assert scale == (2.0**-5 if power_of_two else pytest.approx(3 / 128))


def test_percentile_leaves_out_the_largest_values() -> None:
    x = torch.cat([torch.linspace(0, 1, 9_990), torch.full((10,), 100.0)])
    scale = choose_scale(observe(x), SCHEME.positive, "percentile", percentile=99.8)
    assert 255 * scale == pytest.approx(1.0, abs=0.1)


def test_order_and_split_of_the_batches_do_not_matter() -> None:
    x = torch.randn(1_000, generator=torch.Generator().manual_seed(1)) * 3
    one, two = observe(x), observe(*x.flip(0).split(7))
    assert torch.equal(one.counts, two.counts)
    assert (one.exponent, one.low, one.high) == (two.exponent, two.low, two.high)


def test_nothing_seen_or_only_zeros_gives_a_harmless_scale() -> None:
    for observer in (observe(), observe(torch.zeros(5)), observe(torch.tensor([torch.nan, torch.inf]))):
        assert choose_scale(observer, SCHEME.positive, "mse") == 1.0


def test_unknown_method() -> None:
    with pytest.raises(ConfigError, match=r"quant\.observer=entropy"):
        choose_scale(observe(torch.ones(1)), SCHEME.positive, "entropy")


def test_large_maps_are_thinned_out_but_keep_their_extremes() -> None:
    x = torch.randn(3, 64, 128, 128, generator=torch.Generator().manual_seed(0))
    x[1, 5, 7, 9] = 40.0
    whole, maps = observe(x.flatten()), observe(*x.split(2))
    assert (maps.low, maps.high) == (whole.low, whole.high)
    assert 3 * 2**16 < maps.counts.sum() < 3 * 2**18
    share = (maps.counts / maps.counts.sum() - whole.counts / whole.counts.sum()).abs().sum()
    assert share < 0.05
    assert torch.equal(observe(x).counts, maps.counts)
    found, expected = (choose_scale(one, SCHEME.signed, "mse") for one in (maps, whole))
    assert found == pytest.approx(expected, rel=0.03)
