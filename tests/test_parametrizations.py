"""The variables that stand for an image, and the precision of the network that looks at it."""

from functools import partial

import pytest
import torch
from torch import Tensor

import nst
from nst import parametrizations
from support import checker_picture, xor_picture

KINDS = {
    "pixel": parametrizations.pixel,
    "fourier": parametrizations.fourier,
    "fourier_half": partial(parametrizations.fourier, power=0.5),
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


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 1.5])
def test_variables_at_high_frequencies_move_the_image_less(power: float) -> None:
    """Along one axis of a square: a wave of f cycles has 1 / f**power of the first's height."""
    heights = {}
    for cycles in (1, 2, 8):
        made = parametrizations.fourier(torch.zeros(1, 3, 32, 32, dtype=torch.float64), power=power)
        with torch.no_grad():
            made.variables[0][0, 0, 0, cycles, 0] = 1.0
            heights[cycles] = made()[0, 0].max().item()
    assert heights[2] / heights[1] == pytest.approx(2**-power)
    assert heights[8] / heights[1] == pytest.approx(8**-power)


def test_network_in_bfloat16_gives_nearly_the_same_losses() -> None:
    given = {"size": 64, "weights": "random", "budget": nst.Budget(evaluations=12)}
    given |= {"optimizer": nst.adam}
    pictures = xor_picture(), checker_picture()
    whole, half = (nst.stylize(*pictures, precision=kind, **given) for kind in ("fp32", "bf16"))
    for a, b in zip(whole.losses, half.losses, strict=True):
        assert b.total == pytest.approx(a.total, rel=0.05)
    assert [row.total for row in whole.losses] != [row.total for row in half.losses]
