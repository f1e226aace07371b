"""Both ways of either product."""

import pytest
import torch
from torch import Tensor

from nst.objective import products


def feature(channels: int, dtype: torch.dtype, layout: torch.memory_format) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    made = torch.randn(1, channels, 9, 14, generator=generator, dtype=torch.float64)
    return made.to(dtype).to(memory_format=layout)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize("window", [(..., slice(None)), (..., slice(2, 7), slice(3, 12))])
def test_products(
    layout: torch.memory_format, dtype: torch.dtype, channels: int, window: tuple[slice, ...]
) -> None:
    part = feature(channels, dtype, layout)[window]
    matrix = torch.randn(1, channels, channels, dtype=torch.float64)
    exact = part.double().flatten(2)
    found = products.over_positions(part), products.over_channels(matrix.to(dtype), part)
    wanted = exact @ exact.mT, matrix.to(dtype).double() @ exact
    # Sums over positions are in float32 at least.
    types = torch.float32 if dtype is torch.bfloat16 else dtype, dtype
    tolerances = {torch.bfloat16: 2e-2, torch.float32: 1e-5, torch.float64: 1e-12}
    for got, exactly, kind in zip(found, wanted, types, strict=True):
        assert got.dtype is kind
        tolerance = tolerances[kind]
        torch.testing.assert_close(got.double().flatten(2), exactly, rtol=tolerance, atol=tolerance)
    assert found[0].shape == (1, channels, channels)
    assert found[1].shape == part.shape


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_sums_of_many_positions_on_a_gpu(layout: torch.memory_format) -> None:
    made = torch.rand(1, 64, 1024, 1024, device="cuda").to(torch.bfloat16)
    found = products.over_positions(made.to(memory_format=layout))
    exact = made[0].flatten(1).double() @ made[0].flatten(1).double().mT
    assert found.dtype is torch.float32
    assert ((found[0] - exact).norm() / exact.norm()).item() < 2e-4


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_what_is_added_to_a_gradient_has_its_layout(
    count: int, layout: torch.memory_format
) -> None:
    made = torch.rand(count, 5, 9, 14).to(memory_format=layout)
    found = products.over_channels(torch.rand(1, 3, 5), made)
    assert found.is_contiguous(memory_format=layout)


def test_images_of_a_batch_have_products_of_their_own() -> None:
    one = feature(5, torch.float64, torch.channels_last)
    both = products.over_positions(torch.cat([one, 2 * one]))
    expected = products.over_positions(one)
    torch.testing.assert_close(both, torch.cat([expected, 4 * expected]))
