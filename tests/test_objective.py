"""The objective against its formula, written out independently."""

from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F

from nst.network.vgg import VGG
from nst.network.weights import Weights
from nst.objective import Objective, transfer
from nst.objective.balanced import scales
from nst.objective.yardstick import shares

CONTENT, STYLE = {"relu2_2": 2.0}, {"relu1_1": 0.5, "relu2_1": 3.0}


@pytest.fixture
def network(weights: Weights) -> VGG:
    return VGG(weights.tensors, [*CONTENT, *STYLE]).double()


@pytest.fixture
def pictures() -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    sizes = ((16, 20), (24, 12), (16, 20))
    return tuple(torch.randn(1, 3, *s, generator=generator, dtype=torch.float64) for s in sizes)


def gram(feature: torch.Tensor) -> torch.Tensor:
    flat = feature[0].reshape(feature.shape[1], -1)
    return flat @ flat.T / flat.numel()


def test_terms_follow_the_formula(network: VGG, pictures) -> None:
    content, style, image = pictures
    objective = transfer(
        network,
        content,
        style,
        content_layers=CONTENT,
        style_layers=STYLE,
        content_weight=5.0,
        style_weight=7e4,
        tv_weight=0.3,
    )
    terms = objective(image)
    ours, theirs, texture = network(image), network(content), network(style)
    content_term = 5 * 2 * F.mse_loss(ours["relu2_2"], theirs["relu2_2"])
    style_term = 7e4 * sum(
        weight * ((gram(ours[tap]) - gram(texture[tap])) ** 2).mean()
        for tap, weight in STYLE.items()
    )
    across = (image[..., 1:] - image[..., :-1]).abs().mean()
    down = (image[..., 1:, :] - image[..., :-1, :]).abs().mean()
    torch.testing.assert_close(terms.content, content_term)
    torch.testing.assert_close(terms.style, style_term)
    torch.testing.assert_close(terms.tv, 0.3 * (across + down))
    torch.testing.assert_close(terms.total, terms.content + terms.style + terms.tv)
    assert set(terms.layers) == {"content/relu2_2", "style/relu1_1", "style/relu2_1"}
    torch.testing.assert_close(10 * terms.layers["content/relu2_2"], terms.content)


def test_gradient(network: VGG, pictures) -> None:
    content, style, image = pictures
    objective = transfer(
        network, content, style, content_layers=CONTENT, style_layers=STYLE, style_weight=1e3
    )
    small = image[..., :4, :4].clone().requires_grad_(True)
    layers = {"content_layers": CONTENT, "style_layers": STYLE}
    plain = transfer(network, content[..., :4, :4], style, **layers, joint=False)
    assert torch.autograd.gradcheck(lambda x: plain(x).total, small)
    plain(small).total.backward()
    expected, small.grad = small.grad, None
    (3 * transfer(network, content[..., :4, :4], style, **layers)(small).total).backward()
    torch.testing.assert_close(small.grad, 3 * expected, rtol=1e-10, atol=0)
    image.requires_grad_(True)
    objective(image).total.backward()
    assert image.grad is not None
    assert image.grad.is_contiguous()


def test_content_image_has_no_content_loss(network: VGG, pictures) -> None:
    content, style, _ = pictures
    objective = transfer(network, content, style, content_layers=CONTENT, style_layers=STYLE)
    terms = objective(content)
    assert terms.content.item() == 0
    assert terms.style.item() > 0


def test_term_without_weight_is_not_computed(network: VGG, pictures) -> None:
    content, style, image = pictures
    objective = transfer(
        network, content, style, content_layers=CONTENT, style_layers=STYLE, style_weight=0
    )
    with patch("nst.objective.statistics.Gram.gather", side_effect=AssertionError("not needed")):
        terms = objective(image)
    assert terms.style.item() == 0
    assert set(terms.layers) == {"content/relu2_2"}


def test_targets_are_computed_once_and_an_evaluation_is_one_forward_and_one_backward(
    network: VGG, pictures
) -> None:
    content, style, image = pictures
    calls = []
    network.layers["conv1_1"].register_forward_hook(lambda *_: calls.append("forward"))
    objective = transfer(network, content, style, content_layers=CONTENT, style_layers=STYLE)
    assert len(calls) == 2
    image.requires_grad_(True)
    for _ in range(3):
        objective(image).total.backward()
    assert len(calls) == 2 + 3


def test_balance_is_1_for_either_picture_and_knows_no_weights(network: VGG, pictures) -> None:
    content, _, image = pictures
    style = image.roll(5, 3) ** 2  # of the content picture's size

    def balances(**weights: float) -> list[float]:
        objective = transfer(
            network, content, style, content_layers=CONTENT, style_layers=STYLE, **weights
        )
        return [balance(objective, tensor, style) for tensor in (content, style, image)]

    def balance(objective: Objective, tensor: torch.Tensor, style: torch.Tensor) -> float:
        found = scales(objective, content, style)
        return sum(shares(objective, objective(tensor), found).values())

    first, second, other = balances()
    assert (first, second) == pytest.approx((1, 1))
    mine, theirs, texture = network(image), network(content), network(style)
    share = F.mse_loss(mine["relu2_2"], theirs["relu2_2"])
    share /= F.mse_loss(texture["relu2_2"], theirs["relu2_2"])
    halved = {tap: 0.5 ** int(tap[4]) for tap in STYLE}  # from block to block
    for tap, weight in halved.items():
        grams = [gram(each[tap]) for each in (mine, theirs, texture)]
        term = F.mse_loss(grams[0], grams[2]) / F.mse_loss(grams[1], grams[2])
        share += weight * term / sum(halved.values())
    assert other == pytest.approx(float(share))
    assert balances(content_weight=0.1, style_weight=3.0, tv_weight=2.0) == [first, second, other]


def test_balance_of_two_equal_pictures_is_0_for_them_alone(network: VGG, pictures) -> None:
    content, _, image = pictures
    objective = transfer(network, content, content, content_layers=CONTENT, style_layers=STYLE)
    found = scales(objective, content, content)
    assert shares(objective, objective(content), found) == {"content": 0, "style": 0}
    # Measured against a thousandth of what features of zeros have.
    assert all(share > 1 for share in shares(objective, objective(image), found).values())
