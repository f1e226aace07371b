"""Each statistic against independent formulas, in its invariances, through the engine and alone."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import nst
from nst.network.architecture import VGG_19
from nst.network.vgg import VGG
from nst.network.weights import Weights
from nst.objective import Objective, Precision, transfer
from nst.objective.batch import Batch, signature
from nst.objective.cost import (
    BYTES_OF_GAUSSIAN,
    BYTES_OF_MEASUREMENT,
    BYTES_OF_REGION,
    BYTES_OF_VALUE,
    cost,
    measurement,
)
from nst.objective.statistics import (
    MSE,
    Comparison,
    Cosine,
    Covariance,
    Distribution,
    Gram,
    Histogram,
    MeanStd,
    Moments,
    Positions,
    SlicedWasserstein,
    Statistic,
    Wasserstein,
    wasserstein,
)
from nst.objective.statistics.base import _by_autograd, described
from nst.objective.statistics.quantiles import quantiles
from nst.objective.statistics.sliced_wasserstein import unit_vectors
from nst.objective.statistics.wasserstein import inverse_root, iterated
from nst.objective.terms import Region, Source
from nst.optim.parametrizations import pixel
from nst.run.devices import tf32
from nst.run.evaluation import Evaluation
from support import stylize

STYLES: list[Statistic] = [
    MeanStd(),
    Covariance(),
    Wasserstein(),
    SlicedWasserstein(),
    Histogram(),
]
ALL = [*STYLES, Cosine()]
of_styles = pytest.mark.parametrize("statistic", STYLES, ids=lambda one: type(one).__name__)
of_all = pytest.mark.parametrize("statistic", ALL, ids=lambda one: type(one).__name__)


def drawn(seed: int, *shape: int) -> Tensor:
    """Features in float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, *shape, generator=generator, dtype=torch.float64)


def known(statistic: Statistic, features: Tensor, weights: Tensor | None = None) -> Tensor:
    """What is compared of a picture's features."""
    positions = Positions(tuple(features.shape), weights)
    gathered = statistic.gather(features, positions)[0]
    return statistic.summary(gathered, positions) if _ordered(statistic) else gathered


def _ordered(statistic: Statistic) -> bool:
    return isinstance(statistic, Distribution)


def apart(
    statistic: Statistic, own: Tensor, other: Tensor, weights: Tensor | None = None
) -> Tensor:
    """The distance of features, whose positions may have weights, from others."""
    if isinstance(statistic, Comparison):
        positions = Positions(tuple(own.shape), weights)
        return statistic.distance(statistic.gather(own, other, positions)[0])
    target = known(statistic, other)
    if isinstance(statistic, Moments):
        target = statistic.target(target)
    return statistic.distance(known(statistic, own, weights), target)


# --- Against formulas of their own ----------------------------------------------------------------


def test_mean_std_is_the_difference_of_both() -> None:
    own, other = drawn(0, 4, 5, 6), 2 * drawn(1, 4, 7, 3) + 1
    found = apart(MeanStd(), own, other)
    means = (own.mean((2, 3)) - other.mean((2, 3))) ** 2
    deviations = (own.std((2, 3), correction=0) - other.std((2, 3), correction=0)) ** 2
    torch.testing.assert_close(found, (means + deviations).mean(), rtol=1e-4, atol=0)


def test_covariance_is_that_of_torch() -> None:
    own, other = drawn(0, 4, 5, 6), 2 * drawn(1, 4, 7, 3) + 1
    matrices = [torch.cov(one[0].flatten(1), correction=0) for one in (own, other)]
    torch.testing.assert_close(apart(Covariance(), own, other), F.mse_loss(*matrices))
    torch.testing.assert_close(apart(Covariance(), own + 3, other), F.mse_loss(*matrices))


def test_wasserstein_distance_is_that_of_the_eigenvalues() -> None:
    """tr (R S R)^(1/2) is the sum of the roots of the eigenvalues of S S'."""
    own, other = drawn(0, 4, 5, 6), 2 * drawn(1, 4, 7, 3) + 1
    one, two = (torch.cov(each[0].flatten(1), correction=0) for each in (own, other))
    means = F.mse_loss(own.mean((2, 3)), other.mean((2, 3)))
    found = apart(Wasserstein(), own, other)

    def expected(ridge: Tensor) -> Tensor:
        first, second = (each + ridge * torch.eye(4) for each in (one, two))
        roots = torch.linalg.eigvals(first @ second).real.sqrt().sum()
        return means + (first.trace() + second.trace() - 2 * roots) / 4

    torch.testing.assert_close(found, expected(1e-3 * two.trace() / 4 + 1e-8))
    torch.testing.assert_close(found, expected(torch.zeros(())), rtol=3e-3, atol=0)


@pytest.mark.parametrize("side", [2, 8])  # 4 positions of 6 channels: singular covariances
@pytest.mark.parametrize("factor", [3.0, 1e4])
@pytest.mark.parametrize("root", [inverse_root, iterated])
def test_wasserstein_distance_of_features_that_are_scaled_and_shifted(
    monkeypatch: pytest.MonkeyPatch, side: int, factor: float, root: Callable[[Tensor], Tensor]
) -> None:
    """Each moves along the line to what it was; so are the slopes, whichever way roots are had."""
    monkeypatch.setattr(wasserstein, "inverse_root", root)
    other = drawn(0, 6, side, side)
    own = (factor * other + 5).requires_grad_()
    found = apart(Wasserstein(), own, other)
    variance, more = other.var((2, 3), correction=0).mean(), factor - 1
    expected = (more * other.mean((2, 3)) + 5).square().mean() + more**2 * variance
    torch.testing.assert_close(found, expected, rtol=3e-3, atol=0)
    (slope,) = torch.autograd.grad(found, own)
    moved = 2 / other.numel() * (own - other).detach()
    assert (slope - moved).norm() < 0.02 * moved.norm()


@pytest.mark.parametrize("ratio", [1.0, 1e-4, 1e-10])
def test_iteration_finds_the_root_that_the_eigenvalues_give(ratio: float) -> None:
    vectors = torch.linalg.qr(drawn(0, 40, 40)[0]).Q
    values = torch.logspace(0, 1, 40, ratio, dtype=torch.float64)  # from 1 to the ratio
    matrix = 7 * (vectors * values) @ vectors.mT
    expected = (vectors / (7 * values).sqrt()) @ vectors.mT
    close = {"rtol": 0, "atol": 1e-6 * expected.abs().max().item()}
    torch.testing.assert_close(inverse_root(matrix), expected, **close)
    torch.testing.assert_close(iterated(matrix), expected, **close)
    batch = torch.stack([matrix, 2 * matrix])
    torch.testing.assert_close(torch.vmap(iterated)(batch)[1], expected / 2**0.5, **close)


def test_quantiles_of_known_values() -> None:
    values = torch.tensor([[6.0, 1.0, 2.0], [0.0, 0.0, 3.0]])
    # 1 up to a third, 2 up to two thirds, 6 from there: a half ends in the middle of the 2.
    expected = torch.tensor([[4 / 3, 14 / 3], [0.0, 2.0]])
    torch.testing.assert_close(quantiles(values, None, 2), expected)
    weights = torch.tensor([0.5, 0.5, 0.0])
    expected = torch.tensor([[1.0, 6.0], [0.0, 0.0]])
    torch.testing.assert_close(quantiles(values, weights, 2), expected)
    torch.testing.assert_close(quantiles(values, None, 3), values.sort().values)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.integers(1, 20), st.booleans(), st.integers(0, 2**31))
def test_quantiles_ascend_and_keep_the_mean(
    count: int, bins: int, weighted: bool, seed: int
) -> None:
    values = drawn(seed, 3, count)[0]
    weights = torch.full((count,), 1 / count, dtype=torch.float64)
    if weighted:
        weights = drawn(seed + 1, count)[0].relu() + 0.01
        weights /= weights.sum()
    found = quantiles(values, weights, bins)
    assert (found.diff(dim=1) >= -1e-9).all()
    torch.testing.assert_close(found.mean(1), values @ weights)
    if not weighted:
        torch.testing.assert_close(quantiles(values, None, bins), found)


def test_sliced_wasserstein_distance_is_that_of_sorted_projections() -> None:
    """Of as many positions as there are bins the quantiles are the values in order."""
    own, other = drawn(0, 5, 16, 16), drawn(1, 5, 16, 16) ** 2
    directions = unit_vectors(7, 5, torch.float64, own.device)
    torch.testing.assert_close(directions.square().sum(1), torch.ones(7, dtype=torch.float64))
    lines = [(directions @ one[0].flatten(1)).sort().values for one in (own, other)]
    found = apart(SlicedWasserstein(7), own, other)
    torch.testing.assert_close(found, F.mse_loss(*lines))


def test_directions_are_the_same_in_every_process_and_type() -> None:
    found = unit_vectors(2, 3, torch.float32, torch.device("cpu"))
    again = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(found, (again / again.norm(dim=1, keepdim=True)).float())


def test_histogram_distance_is_what_matching_would_change() -> None:
    own, other = drawn(0, 3, 16, 16), drawn(1, 3, 16, 16) ** 2
    flat, wanted = own[0].flatten(1), other[0].flatten(1)
    matched = torch.empty_like(flat).scatter(1, flat.argsort(), wanted.sort().values)
    torch.testing.assert_close(apart(Histogram(), own, other), F.mse_loss(flat, matched))
    assert apart(Histogram(), matched.view(own.shape), other) < 1e-20


def test_cosine_is_that_of_torch() -> None:
    own, other = drawn(0, 4, 5, 6), drawn(1, 4, 5, 6)
    expected = 1 - F.cosine_similarity(own, other)
    torch.testing.assert_close(apart(Cosine(), own, other), expected.mean())
    weights = (expected * 0 + torch.linspace(0, 1, 30, dtype=torch.float64).view(5, 6))[None]
    weights /= weights.sum()
    found = apart(Cosine(), own, other, weights)
    torch.testing.assert_close(found, (expected * weights[0]).sum())


# --- What they do not see, and what they do -------------------------------------------------------


@of_all
def test_distance_is_zero_at_equality_and_nowhere_else(statistic: Statistic) -> None:
    for shape in ((4, 6, 5), (6, 2, 2)):
        features = drawn(0, *shape).relu() + 0.1 * drawn(1, *shape)
        assert 0 <= apart(statistic, features, features) < 1e-9
        for other in (drawn(2, *shape), features**2, features.flip(1)):
            assert apart(statistic, features, other) > 1e-3


@of_styles
def test_style_ignores_where_things_are(statistic: Statistic) -> None:
    own, other = drawn(0, 4, 6, 5), drawn(1, 4, 3, 7)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    shuffled = own.flatten(2)[..., order].view(own.shape)
    torch.testing.assert_close(apart(statistic, shuffled, other), apart(statistic, own, other))
    assert apart(statistic, shuffled, own) < 1e-9


def test_cosine_does_not_see_how_strong_features_are() -> None:
    own, other = drawn(0, 4, 5, 6), drawn(1, 4, 5, 6)
    strength = torch.linspace(0.2, 5, 30, dtype=torch.float64).view(5, 6)
    found = apart(Cosine(), own, other)
    torch.testing.assert_close(apart(Cosine(), strength * own, other), found)
    torch.testing.assert_close(apart(Cosine(), own, strength * other), found)


@of_styles
def test_weights_of_a_part_are_the_part(statistic: Statistic) -> None:
    own, other = drawn(0, 4, 6, 8), drawn(1, 4, 5, 5)
    weights = torch.zeros(1, 1, 6, 8, dtype=torch.float64)
    weights[..., 1:4, 2:7] = 1 / 15
    found = apart(statistic, own, other, weights)
    torch.testing.assert_close(found, apart(statistic, own[..., 1:4, 2:7], other))
    even = torch.full_like(weights, 1 / 48)
    torch.testing.assert_close(apart(statistic, own, other, even), apart(statistic, own, other))


def test_cosine_of_a_part() -> None:
    own, other = drawn(0, 4, 6, 8), drawn(1, 4, 6, 8)
    weights = torch.zeros(1, 1, 6, 8, dtype=torch.float64)
    weights[..., 1:4, 2:7] = 1 / 15
    part = own[..., 1:4, 2:7], other[..., 1:4, 2:7]
    torch.testing.assert_close(apart(Cosine(), own, other, weights), apart(Cosine(), *part))


# --- Gradients ------------------------------------------------------------------------------------


@of_all
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(3, 4, 5), (6, 2, 2)])
def test_gradients(statistic: Statistic, weighted: bool, shape: tuple[int, ...]) -> None:
    """Of fewer positions than channels too, where covariances are singular, and of dead ones."""
    own, other = drawn(0, *shape), drawn(1, *shape)
    own[:, 1] = 0.0 if isinstance(statistic, Moments) else own[:, 1]
    weights = None
    if weighted:
        weights = torch.rand(1, 1, *shape[1:], generator=torch.Generator().manual_seed(0)).double()
        weights /= weights.sum()
    value = partial(apart, statistic, other=other, weights=weights)
    assert torch.autograd.gradcheck(value, own.requires_grad_())


@of_styles
def test_gradient_is_zero_at_equality(statistic: Statistic) -> None:
    for shape in ((3, 4, 5), (6, 2, 2)):
        features = drawn(0, *shape).requires_grad_()
        (gradient,) = torch.autograd.grad(apart(statistic, features, features.detach()), features)
        assert gradient.abs().max() < 1e-7


@of_all
@pytest.mark.parametrize("own", [0.0, 1.0])
@pytest.mark.parametrize("other", [0.0, 1.0])
def test_gradients_of_constant_features_are_finite(
    statistic: Statistic, own: float, other: float
) -> None:
    features = torch.full((1, 4, 3, 3), own, requires_grad=True)
    found = apart(statistic, features, torch.full((1, 4, 3, 3), other))
    (gradient,) = torch.autograd.grad(found, features)
    assert found.isfinite()
    assert gradient.isfinite().all()


@of_all
def test_of_features_that_are_not_finite_the_distance_is_not_either(statistic: Statistic) -> None:
    """The guard judges it, so it must be a number, not an error."""
    other = drawn(0, 3, 4, 4)
    for bad in (torch.nan, torch.inf):
        own = drawn(1, 3, 4, 4)
        own[0, 1, 2, 3] = bad
        assert not apart(statistic, own, other).isfinite()


@of_styles
@pytest.mark.parametrize("weighted", [False, True])
def test_explicit_gradients_are_autograds(statistic: Statistic, weighted: bool) -> None:
    shape = 2, 3, 4, 5
    features = torch.cat([drawn(seed, *shape[1:]) for seed in (0, 1)])
    weights = None
    if weighted:
        weights = torch.rand(2, 1, 4, 5, generator=torch.Generator().manual_seed(0)).double()
    for layout in (torch.contiguous_format, torch.channels_last):
        for some in (slice(None), slice(0, 1)):
            own = features[some].contiguous(memory_format=layout)
            positions = Positions((1, *shape[1:]), None if weights is None else weights[some])
            gathered = statistic.gather(own, positions)
            slope = torch.randn(gathered.shape, dtype=torch.float64)
            expected = _by_autograd(statistic.gather, slope, own, positions)
            torch.testing.assert_close(statistic.pullback(slope, own, positions), expected)


# --- Through the engine ---------------------------------------------------------------------------

LAYERS = {"relu1_1": 1.0, "relu2_1": 3.0}


def alone(statistic: Statistic) -> dict[str, object]:
    """What makes an objective of the one statistic."""
    if isinstance(statistic, Comparison):
        return {"content_loss": statistic, "content_layers": LAYERS, "style_layers": {}}
    return {
        "style_loss": statistic,
        "style_layers": LAYERS,
        "style_weight": 1.0,
        "content_layers": {},
    }


def pictures(height: int = 24, width: int = 36) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, 3, height, width, generator=generator).double() for _ in range(3)]


def gradient(objective: Objective, image: Tensor) -> tuple[Tensor, Tensor]:
    leaf = image.clone().requires_grad_()
    terms = objective(leaf)
    (slope,) = torch.autograd.grad(terms.total, leaf)
    return terms.total.detach(), slope


@of_all
@pytest.mark.parametrize("masked", [False, True])
def test_statistic_is_the_same_whole_tiled_and_batched(
    weights: Weights, statistic: Statistic, masked: bool
) -> None:
    images = pictures()
    styles = [images[2] * (1 + seed) for seed in (0, 1)]
    network = VGG(weights.tensors, [*LAYERS]).double()
    left = torch.zeros(1, 1, 24, 36, dtype=torch.float64)
    left[..., :15] = 1

    def make(seed: int, **options: object) -> Objective:
        style: object = styles[seed]
        if masked:
            halves = [Source(styles[seed], left), Source(images[seed].flip(3), weight=2.0)]
            style = [Region(halves, "a", left), Region(halves[:1], "b", 1 - left)]
        return transfer(network, styles[seed], style, **alone(statistic), **options)

    close = {"rtol": 1e-6, "atol": 1e-9}
    plain = [gradient(make(seed, joint=False), images[seed]) for seed in (0, 1)]
    for seed in (0, 1):
        for options in ({}, {"tile_size": 16}):
            total, slope = gradient(make(seed, **options), images[seed])
            torch.testing.assert_close(total, plain[seed][0], rtol=1e-9, atol=0)
            torch.testing.assert_close(slope, plain[seed][1], **close)
    objectives = [make(0), make(1)]
    assert signature(objectives[0], images[0]) == signature(objectives[1], images[1])
    leaves = [image.clone().requires_grad_() for image in images[:2]]
    found = Batch(objectives, images[0])(leaves)
    for terms, leaf, (total, slope) in zip(found, leaves, plain, strict=True):
        terms.total.backward()
        torch.testing.assert_close(terms.total.detach(), total, rtol=1e-9, atol=0)
        torch.testing.assert_close(leaf.grad, slope, **close)


@of_all
def test_statistic_in_bfloat16_is_nearly_the_same(weights: Weights, statistic: Statistic) -> None:
    images = [picture.float() for picture in pictures()]
    network = VGG(weights.tensors, [*LAYERS])

    def make(precision: Precision) -> Objective:
        given = images[0], images[1] ** 2
        return transfer(network, *given, **alone(statistic), precision=precision)

    exact, rough = (gradient(make(precision), images[2]) for precision in ("fp32", "bf16"))
    torch.testing.assert_close(exact[0], rough[0], rtol=0.02, atol=0)
    assert exact[0].dtype == rough[0].dtype == torch.float32
    assert F.cosine_similarity(exact[1].flatten(), rough[1].flatten(), 0) > 0.99


@of_styles
def test_blends_of_pictures(weights: Weights, statistic: Statistic) -> None:
    network, (image, one, two) = VGG(weights.tensors, [*LAYERS]).double(), pictures()

    def found(*sources: Source) -> Tensor:
        objective = transfer(network, image, [Region(sources)], **alone(statistic))
        return objective(image).total

    alike = found(Source(one))
    torch.testing.assert_close(found(Source(one), Source(two, weight=0.0)), alike)
    torch.testing.assert_close(found(Source(one, weight=3.0), Source(one)), alike)
    between = found(Source(one), Source(two * 2))
    assert between not in (alike, found(Source(two * 2)))


@pytest.mark.parametrize("statistic", [Gram(), Covariance()], ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("masked", [False, True])
def test_features_in_bfloat16_are_gathered_as_exactly_as_in_float32(
    statistic: Moments, masked: bool
) -> None:
    features = torch.rand(1, 5, 12, 20).to(torch.bfloat16, memory_format=torch.channels_last)
    mask = torch.rand(1, 1, 12, 20)
    positions = Positions((1, 5, 12, 20), mask / mask.sum() if masked else None)
    assert statistic.widens
    found = statistic.gather(features, positions)
    exact = statistic.gather(features.double(), positions)
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-8)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@of_all
def test_graph_of_a_gpu(
    weights: Weights, caplog: pytest.LogCaptureFixture, statistic: Statistic
) -> None:
    numbers = []
    for device in ("cpu", "cuda"):
        start, content, style = (picture.float().to(device) for picture in pictures())
        network = VGG(weights.tensors, [*LAYERS]).to(device)
        objective = transfer(network, content, style, **alone(statistic))
        image = pixel(start)
        with tf32(False):  # as in a run
            evaluate = Evaluation(image, objective, recorded=device == "cuda")
            evaluate()
            with torch.no_grad():
                image.variables[0].mul_(0.5)
            numbers.append(evaluate().numbers.cpu())
    assert caplog.messages == []
    torch.testing.assert_close(*numbers, rtol=1e-3, atol=1e-6)


# --- By themselves --------------------------------------------------------------------------------


@pytest.mark.slow
@of_styles
def test_style_alone_makes_a_texture_of_noise(
    statistic: Statistic, content_path: Path, style_path: Path
) -> None:
    result = stylize(
        *(content_path, style_path),
        size=32,
        weights="embedded",
        init=nst.inits.random,
        style_loss=statistic,
        style_layers=LAYERS,
        strength=None,
        style_weight=1.0,
        content_weight=0.0,
        budget=nst.Budget(evaluations=100),
        device="cpu",
    )
    first, best = result.losses[0].style, min(row.style for row in result.losses)
    assert best < 0.01 * first
    assert result.picture_losses.style < 0.02 * first


def test_what_they_are_made_with_is_a_part_of_their_identity() -> None:
    made = [*ALL, SlicedWasserstein(8), Gram()]
    assert len({described(one) for one in made}) == len(made)
    assert described(SlicedWasserstein()) == described(SlicedWasserstein(32))
    before = described(SlicedWasserstein(5))
    known(SlicedWasserstein(5), drawn(0, 3, 4, 4))
    assert described(SlicedWasserstein(5)) == before
    with pytest.raises(nst.InputError, match="directions must be at least 1, not 0"):
        SlicedWasserstein(0)


def test_what_statistics_keep_counts_in_the_estimate_of_memory() -> None:
    taps = ["relu1_1", "relu2_1", "relu3_1"]

    def more(statistic: Statistic, regions: int = 0) -> tuple[float, float]:
        plain, found = cost([(Gram(), taps)]), cost([(statistic, taps)], regions=regions)
        return found.pixel - plain.pixel, found.piece - plain.piece

    values = 64 + 128 / 4 + 256 / 16
    assert more(Histogram()) == (pytest.approx(BYTES_OF_VALUE * values), 0)
    with_regions = pytest.approx(3 * BYTES_OF_VALUE * values), pytest.approx(3 * BYTES_OF_REGION)
    assert more(Histogram(), 3) == with_regions
    directions = 8 * (1 + 1 / 4 + 1 / 16)
    assert more(SlicedWasserstein(8)) == (pytest.approx(BYTES_OF_VALUE * directions), 0)
    both = 2 * BYTES_OF_GAUSSIAN + 2 * BYTES_OF_REGION
    assert more(Covariance(), 2) == (0, pytest.approx(both))
    assert more(MSE()) == (pytest.approx(4 * values), 0)  # the other picture's features
    both_terms = [(MSE(), taps), (Gram(), taps)]
    assert cost(both_terms, joint=False).piece == pytest.approx(2 * cost(both_terms).piece)
    found = cost([(Gram(), taps)])
    piece, halo = 1000**2, VGG_19.halos(["relu3_1"])[0]
    # One in the middle; of the two halves each has the other one at one side.
    tiles = {64: (64 + 2 * halo) ** 2, 500: (500 + halo) ** 2}
    for tile_size, count in {None: piece, 1000: piece, **tiles}.items():
        needed = found.network + found.pixel * 1000**2 + found.piece * count
        assert found.needed(1000, 1000, tile_size) == int(needed)
        assert found.largest_piece(1000, 1000, tile_size) == 4 * 64 * count


def test_the_measurement_at_the_end_counts_where_it_takes_the_most() -> None:
    shallow = cost([(Gram(), ["relu1_1"])], "bf16")
    yardstick = [(MSE(), ["relu4_2"]), (Gram(), ["relu5_1"])]
    alone = measurement(VGG_19, [(Gram(), ["relu1_1"])], yardstick)
    deepest = VGG_19.convolutions_for(["relu5_1"])
    # Of two networks: the run's own, which is one layer, and the yardstick's.
    assert alone.network == 4 * 9 * (3 * 64 + sum(one.inputs * one.outputs for one in deepest))
    assert alone.halos == VGG_19.halos(["relu5_1"])
    assert alone.pixel == BYTES_OF_MEASUREMENT + 4 * 512 / 64  # the content's features
    of_run = measurement(VGG_19, yardstick, [*reversed(yardstick)])
    assert of_run.pixel == alone.pixel
    twice = measurement(VGG_19, [(MSE(), ["relu4_2"]), (Covariance(), ["relu5_1"])], yardstick)
    assert twice.pixel == alone.pixel + 4 * 512 / 64
    assert twice.network == of_run.network < alone.network
    both = replace(shallow, after=alone)
    assert both.needed(512, 512) == alone.needed(512, 512) > shallow.needed(512, 512)
    deep = cost([(Gram(), ["relu5_1"])])
    assert replace(deep, after=alone).needed(512, 512) == deep.needed(512, 512)


def test_an_objective_knows_what_it_costs(weights: Weights) -> None:
    taps = ["relu1_1", "relu2_1"]
    picture, mask = torch.zeros(1, 3, 32, 32), torch.zeros(1, 1, 32, 32)
    mask[..., :16] = 1
    source = (Source(picture),)
    halves = [Region(source, "left", mask), Region(source, "right", 1 - mask)]
    objective = transfer(
        VGG(weights.tensors, taps, "l2"),
        picture,
        halves,
        content_layers={"relu2_1": 1.0},
        style_layers={"relu1_1": 1.0},
        style_loss=Wasserstein(),
        precision="bf16",
    )
    terms = [(MSE(), ["relu2_1"]), (Wasserstein(), ["relu1_1"])]
    assert objective.cost == cost(terms, "bf16", 2, pooling="l2")
    assert objective.cost.needed(32, 32) > cost(terms, "bf16").needed(32, 32)
