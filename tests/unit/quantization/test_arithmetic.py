from __future__ import annotations

import pytest
import torch

from lidar_mt.quantization.arithmetic import Quantized, add_codes, requantize, weight_codes, weight_scale
from lidar_mt.quantization.spec import build_scheme

U8 = build_scheme("u8", "float")


def test_requantize_rounds_half_to_even_and_cuts() -> None:
    x = torch.tensor([-3.0, 1.0, 3.0, 5.0, 600.0])
    assert requantize(x, torch.tensor(0.5), U8.positive).tolist() == [0, 0, 2, 2, 255]


def test_gradients_are_those_of_torch_fake_quantize() -> None:
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(2, 3, 8, 8, generator=generator) * 40).requires_grad_()
    scale, upstream = 0.25, torch.randn(2, 3, 8, 8, generator=generator)
    real = requantize(x / scale, torch.ones(()), U8.signed) * scale
    real.backward(upstream)
    found, x.grad = x.grad, None
    expected = torch.fake_quantize_per_tensor_affine(x, scale, 128, 0, 255)
    expected.backward(upstream)
    assert torch.equal(real, expected)
    torch.testing.assert_close(found, x.grad)
    assert (x.grad == 0).any()  # some values are cut


@pytest.mark.parametrize("power_of_two", [True, False])
def test_weights_use_127_codes_on_each_side(power_of_two: bool) -> None:
    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    weight[2] = 0
    scale = weight_scale(weight, power_of_two=power_of_two)
    codes = weight_codes(weight, scale)
    largest = codes.abs().flatten(1).amax(dim=1)
    assert largest[2] == 0
    if power_of_two:
        assert torch.equal(torch.log2(scale), torch.log2(scale).round())
        assert (largest[[0, 1, 3]] >= 64).all()
    else:
        assert (largest[[0, 1, 3]] == 127).all()
    torch.testing.assert_close(codes * scale.view(-1, 1, 1, 1), weight, atol=float(scale.max()) / 2, rtol=0)


def test_weight_gradient_passes_rounding() -> None:
    weight = torch.randn(2, 3, 1, 1, generator=torch.Generator().manual_seed(0)).requires_grad_()
    scale = weight_scale(weight, power_of_two=False)
    (weight_codes(weight, scale) * scale.view(-1, 1, 1, 1)).sum().backward()
    torch.testing.assert_close(weight.grad, torch.ones_like(weight))


@pytest.mark.parametrize("scheme", ["u8", "s8_affine", "s8_symmetric"])
def test_a_sum_is_off_by_at_most_half_a_step(scheme: str) -> None:
    formats = build_scheme(scheme, "float")
    generator = torch.Generator().manual_seed(0)
    a = Quantized(torch.randint(-128, 128, (1000,), generator=generator).float(), torch.tensor(0.013), formats.signed)
    b = Quantized(torch.randint(0, 128, (1000,), generator=generator).float(), torch.tensor(0.021), formats.positive)
    scale = torch.tensor(0.04)
    real = a.real() + b.real()
    found = add_codes(a, b, scale, formats.signed) * scale
    inside = (real / scale > formats.signed.low) & (real / scale < formats.signed.high)
    assert (found - real)[inside].abs().max() <= 0.5001 * scale
