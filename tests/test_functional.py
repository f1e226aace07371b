"""The loss terms against closed-form values and independent formulas."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nst.objective import functional

shapes = st.tuples(st.integers(1, 2), st.integers(1, 5), st.integers(2, 6), st.integers(2, 6))


def test_gram_of_a_known_matrix() -> None:
    feature = torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 0.0, -1.0]]).reshape(1, 2, 2, 2)
    expected = torch.tensor([[[30.0, -2.0], [-2.0, 2.0]]])
    torch.testing.assert_close(functional.gram(feature), expected / 8)
    torch.testing.assert_close(functional.gram(feature, "hw"), expected / 4)


@settings(deadline=None, max_examples=40)
@given(shapes, st.integers(0, 2**31))
def test_gram_agrees_with_einsum_and_is_symmetric(shape: tuple[int, ...], seed: int) -> None:
    feature = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double()
    expected = torch.einsum("bchw,bdhw->bcd", feature, feature)
    gram = functional.gram(feature)
    torch.testing.assert_close(gram, expected / feature.numel())
    torch.testing.assert_close(gram, gram.mT)
    assert torch.linalg.eigvalsh(gram).min() >= -1e-9


def test_gram_does_not_depend_on_the_memory_layout() -> None:
    feature = torch.randn(1, 4, 5, 6, dtype=torch.float64)
    other = feature.to(memory_format=torch.channels_last)
    torch.testing.assert_close(functional.gram(feature), functional.gram(other))


def test_gram_ignores_where_things_are() -> None:
    feature = torch.randn(1, 3, 4, 5, dtype=torch.float64)
    shuffled = feature.flatten(2)[..., torch.randperm(20)].reshape(feature.shape)
    torch.testing.assert_close(functional.gram(feature), functional.gram(shuffled))


def test_content_loss_is_the_mean_square() -> None:
    one, two = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 5.0]])
    assert functional.content_loss(one, two).item() == pytest.approx((4 + 9) / 2)
    assert functional.content_loss(one, one).item() == 0


def test_style_loss_of_scaled_features() -> None:
    """Doubling the features quadruples the Gram matrix: the loss is the mean of (3 G)^2."""
    feature = torch.randn(1, 3, 4, 4, dtype=torch.float64)
    gram = functional.gram(feature)
    loss = functional.style_loss(2 * feature, gram)
    torch.testing.assert_close(loss, (9 * gram**2).mean())
    assert functional.style_loss(feature, gram).item() == 0


def test_total_variation_of_ramp_and_constant() -> None:
    ramp = torch.arange(5.0).expand(1, 3, 4, 5)
    assert functional.total_variation(ramp).item() == pytest.approx(1)
    assert functional.total_variation(ramp.mT).item() == pytest.approx(1)
    assert functional.total_variation(torch.full((1, 3, 4, 5), 7.0)).item() == 0


def test_total_variation_means_the_same_at_every_size() -> None:
    checks = (torch.arange(8)[:, None] + torch.arange(8)) % 2.0
    large = checks.repeat(4, 4)
    small_tv = functional.total_variation(checks[None, None])
    torch.testing.assert_close(functional.total_variation(large[None, None]), small_tv)


@pytest.mark.parametrize("normalization", ["chw", "hw"])
def test_gradients(normalization: functional.GramNormalization) -> None:
    torch.manual_seed(0)
    feature = torch.randn(1, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    target = torch.randn(1, 3, 4, 5, dtype=torch.float64)
    gram = functional.gram(target, normalization)
    assert torch.autograd.gradcheck(lambda x: functional.gram(x, normalization), feature)
    assert torch.autograd.gradcheck(lambda x: functional.content_loss(x, target), feature)
    assert torch.autograd.gradcheck(
        lambda x: functional.style_loss(x, gram, normalization), feature
    )
    assert torch.autograd.gradcheck(functional.total_variation, feature)
