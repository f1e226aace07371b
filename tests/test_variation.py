"""The forms of the total variation against direct formulas, as a whole and in bands."""

from collections.abc import Callable
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nst.errors import InputError
from nst.network.vgg import VGG
from nst.network.weights import Weights
from nst.objective import transfer
from nst.objective.variation import Norm, total_variation, variation_in_bands
from nst.pictures.images import MEAN, STD
from nst.run.specs import Loss

NORMS: tuple[Norm, ...] = get_args(Norm)
SHAPES = [(1, 2, 2), (1, 5, 3), (2, 3, 8), (1, 64, 7), (1, 65, 2), (3, 4, 5)]


def unit(image: Tensor) -> Tensor:
    """A normalised image in [0, 1], B x 3 x H x W."""
    std, mean = (torch.tensor(values, dtype=image.dtype)[:, None, None] for values in (STD, MEAN))
    return image * std + mean


def l1(x: Tensor) -> Tensor:
    return (x[..., 1:] - x[..., :-1]).abs().mean() + (x[..., 1:, :] - x[..., :-1, :]).abs().mean()


def l2(x: Tensor) -> Tensor:
    return (x[..., 1:] - x[..., :-1]).pow(2).mean() + (x[..., 1:, :] - x[..., :-1, :]).pow(2).mean()


def l1_sum(x: Tensor) -> Tensor:
    x = 255 * unit(x)
    return (x[..., :-1] - x[..., 1:]).abs().sum() + (x[..., :-1, :] - x[..., 1:, :]).abs().sum()


def l2_sum(x: Tensor) -> Tensor:
    """As neural-style in Lua, whose gradient is of the block without the last row and column."""
    x = 255 * unit(x)
    block = x[..., :-1, :-1]
    return ((block - x[..., :-1, 1:]).pow(2) + (block - x[..., 1:, :-1]).pow(2)).sum() / 2


def l2_diagonal(x: Tensor) -> Tensor:
    """As style-transfer-pytorch, on a padded picture."""
    p = F.pad(unit(x), (1, 1, 1, 1), "replicate")
    d1 = (p[..., 1:-1, 2:] - p[..., 1:-1, 1:-1]).pow(2).mean()
    d2 = (p[..., 2:, 1:-1] - p[..., 1:-1, 1:-1]).pow(2).mean()
    d3 = (p[..., 1:, 1:] - p[..., :-1, :-1]).pow(2).mean()
    d4 = (p[..., 1:, :-1] - p[..., :-1, 1:]).pow(2).mean()
    return 2 * (d1 / 3 + d2 / 3 + d3 / 12 + d4 / 12)


DIRECT: dict[Norm, Callable[[Tensor], Tensor]] = {
    "l1": l1,
    "l2": l2,
    "l1_sum": l1_sum,
    "l2_sum": l2_sum,
    "l2_diagonal": l2_diagonal,
}


def made(shape: tuple[int, int, int]) -> Tensor:
    batch, height, width = shape
    generator = torch.Generator().manual_seed(height)
    return torch.randn(batch, 3, height, width, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", SHAPES)
def test_each_form_is_its_formula(shape: tuple[int, int, int], norm: Norm) -> None:
    image = made(shape).requires_grad_(True)
    whole, expected = total_variation(image, norm), DIRECT[norm](image)
    torch.testing.assert_close(whole, expected, rtol=1e-12, atol=0)
    (slope,) = torch.autograd.grad(expected, image)
    (own,) = torch.autograd.grad(whole, image)
    largest = slope.abs().max().item()
    torch.testing.assert_close(own, slope, rtol=0, atol=1e-12 * largest)
    for band in (1, 3, 64):
        gradient = torch.ones_like(image)
        found = variation_in_bands(image.detach(), gradient, 0.7, norm=norm, band=band)
        torch.testing.assert_close(found, expected.detach(), rtol=1e-12, atol=0)
        torch.testing.assert_close(gradient - 1, 0.7 * slope, rtol=0, atol=1e-12 * (1 + largest))
        alone = variation_in_bands(image.detach(), norm=norm, band=band)
        torch.testing.assert_close(alone, found, rtol=0, atol=0)


@pytest.mark.parametrize("norm", NORMS)
def test_slopes(norm: Norm) -> None:
    image = made((2, 3, 4)).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: total_variation(x, norm), image)


@pytest.mark.parametrize("norm", NORMS)
def test_constant_image_has_none(norm: Norm) -> None:
    image = torch.full((1, 3, 4, 5), 2.0, requires_grad=True)
    total = total_variation(image, norm)
    total.backward()
    assert total.item() == 0
    assert image.grad is not None
    assert not image.grad.any()


def test_step_between_two_columns() -> None:
    """Black beside white, 3 x 2 px: what each form has of it."""
    image = torch.zeros(1, 3, 3, 2, dtype=torch.float64)
    image[..., 1] = 1 / torch.tensor(STD, dtype=torch.float64)[:, None]
    assert total_variation(image, "l1_sum").item() == pytest.approx(3 * 3 * 255)
    assert total_variation(image, "l2_sum").item() == pytest.approx(3 * 2 * 255**2 / 2)
    # Three of six differences along rows; of each diagonal's twelve the four in the middle.
    expected = 2 * (3 / 6 / 3 + 4 / 12 / 12 + 4 / 12 / 12)
    assert total_variation(image, "l2_diagonal").item() == pytest.approx(expected)


@pytest.mark.parametrize("norm", NORMS)
def test_objective_has_them_in_every_way_of_computing(norm: Norm, weights: Weights) -> None:
    content, image = made((1, 40, 36)), made((1, 40, 36)).flip(3)
    found = []
    for way in ({"joint": False}, {}, {"tile_size": 16}):
        objective = transfer(
            VGG(weights.tensors, ["relu1_1"]),
            content,
            content,
            content_layers={"relu1_1": 1.0},
            style_layers={"relu1_1": 1.0},
            tv_weight=0.25,
            tv_norm=norm,
            **way,
        )
        own = image.clone().requires_grad_(True)
        terms = objective(own)
        terms.total.backward()
        torch.testing.assert_close(terms.tv, 0.25 * DIRECT[norm](image), rtol=1e-12, atol=0)
        found.append(own.grad)
    for gradient in found[1:]:
        torch.testing.assert_close(gradient, found[0], rtol=1e-8, atol=1e-10)


def test_unknown_form_is_refused() -> None:
    with pytest.raises(InputError, match="tv_norm"):
        Loss(tv_norm="l3")  # type: ignore[arg-type]
