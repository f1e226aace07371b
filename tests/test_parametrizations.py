"""The variables that stand for an image, and the precision of the network that looks at it."""

from functools import partial

import pytest
import torch
from torch import Tensor

import nst
from nst.optim import parametrizations
from support import checker_picture, stylize, xor_picture

KINDS = {
    "pixel": parametrizations.pixel,
    "fourier": parametrizations.fourier,
    "fourier_unlimited": partial(parametrizations.fourier, power=1.0, wavelength=None),
}


def picture(height: int, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("size", [(24, 32), (31, 17), (1, 8)])
def test_variables_stand_for_the_image_they_were_made_of(make, size: tuple[int, int]) -> None:
    image, other = picture(*size), 3 * picture(*size) + 1
    given = image.clone()
    made = make(image)
    torch.testing.assert_close(made(), image, atol=1e-5, rtol=1e-5)
    made.assign(other)
    torch.testing.assert_close(made(), other, atol=1e-5, rtol=1e-5)
    assert torch.equal(image, given)
    for variable in made.variables:
        assert variable.is_leaf
        assert variable.requires_grad
        assert variable.is_contiguous()


def test_pixels_are_the_variable_itself() -> None:
    made = parametrizations.pixel(picture(4, 4))
    assert made() is made.variables[0]


@pytest.mark.parametrize("size", [(6, 8), (5, 7)])
def test_gradient_of_fourier(size: tuple[int, int]) -> None:
    made = parametrizations.fourier(picture(*size, dtype=torch.float64), power=1.3)

    def image(variables: Tensor) -> Tensor:
        made.variables = [variables]
        return made()

    assert torch.autograd.gradcheck(image, made.variables[0])


def heights(side: int, **options: float | None) -> dict[int, float]:
    """Of the waves along one axis of a square that a variable of 1 makes, by cycles."""
    found = {}
    for cycles in (1, 2, 4, 8):
        black = torch.zeros(1, 3, side, side, dtype=torch.float64)
        made = parametrizations.fourier(black, **options)
        with torch.no_grad():
            made.variables[0][0, 0, 0, cycles, 0] = 1.0
            found[cycles] = made()[0, 0].max().item()
    return found


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 1.5])
def test_variables_at_high_frequencies_move_the_image_less(power: float) -> None:
    """A wave of f cycles has 1 / f**power of the first's height."""
    found = heights(32, power=power, wavelength=None)
    assert found[2] / found[1] == pytest.approx(2**-power)
    assert found[8] / found[1] == pytest.approx(8**-power)


def test_waves_beyond_the_wavelength_are_all_as_free() -> None:
    found = heights(32, power=1.0, wavelength=8)  # so 4 cycles
    assert found[1] == pytest.approx(found[4])
    assert found[8] / found[4] == pytest.approx(0.5)


def test_wavelength_is_in_pixels_whatever_the_size() -> None:
    small, large = (heights(side, power=1.0, wavelength=16) for side in (32, 64))
    # 32 px / 4 cycles = 64 px / 8 cycles, and a wave in twice as many rows and columns is half as
    # high.
    assert small[4] / small[2] == pytest.approx(large[8] / large[4])


@pytest.mark.slow
def test_network_in_bfloat16_gives_nearly_the_same_losses() -> None:
    given = {"size": 64, "weights": "random", "budget": nst.Budget(evaluations=12)}
    given |= {"optimizer": nst.adam}
    pictures = xor_picture(), checker_picture()
    whole, half = (stylize(*pictures, precision=kind, **given) for kind in ("fp32", "bf16"))
    for a, b in zip(whole.losses, half.losses, strict=True):
        assert b.total == pytest.approx(a.total, rel=0.05)
    assert [row.total for row in whole.losses] != [row.total for row in half.losses]
