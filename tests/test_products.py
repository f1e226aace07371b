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
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize("window", [(..., slice(None)), (..., slice(2, 7), slice(3, 12))])
def test_products(
    layout: torch.memory_format, dtype: torch.dtype, channels: int, window: tuple[slice, ...]
) -> None:
    part = feature(channels, dtype, layout)[window]
    matrix = torch.randn(1, channels, channels, dtype=torch.float64)
    exact = part.double().flatten(2)
    found = products.over_positions(part), products.over_channels(matrix.to(dtype), part)
    tolerance = 1e-12 if dtype is torch.float64 else 1e-5
    for got, wanted in zip(found, (exact @ exact.mT, matrix @ exact), strict=True):
        assert got.dtype is dtype
        torch.testing.assert_close(got.double().flatten(2), wanted, rtol=tolerance, atol=tolerance)
    assert found[0].shape == (1, channels, channels)
    assert found[1].shape == part.shape


def test_images_of_a_batch_have_products_of_their_own() -> None:
    one = feature(5, torch.float64, torch.channels_last)
    both = products.over_positions(torch.cat([one, 2 * one]))
    expected = products.over_positions(one)
    torch.testing.assert_close(both, torch.cat([expected, 4 * expected]))
