"""Statistics against closed-form values and independent formulas, and one of the user's."""

import importlib
import pickle
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import nst
from nst.network.vgg import VGG
from nst.network.weights import Weights
from nst.objective import Objective, Precision, Term, transfer, whole
from nst.objective.batch import Batch, signature
from nst.objective.statistics import MSE, Comparison, Gram, Moments, Positions
from nst.objective.statistics.base import described
from nst.objective.statistics.gram import Normalization
from nst.objective.variation import total_variation
from support import TINY, Command, stylize

shapes = st.tuples(st.integers(1, 2), st.integers(1, 5), st.integers(2, 6), st.integers(2, 6))


def gram(feature: Tensor, normalization: Normalization = "chw") -> Tensor:
    return Gram(normalization).gather(feature, Positions(feature.shape))


def content_loss(feature: Tensor, target: Tensor) -> Tensor:
    return MSE().distance(MSE().gather(feature, target, Positions(feature.shape))[0])


def style_loss(feature: Tensor, target: Tensor, normalization: Normalization = "chw") -> Tensor:
    return Gram().distance(gram(feature, normalization)[0], target[0])


def test_gram_of_a_known_matrix() -> None:
    feature = torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 0.0, -1.0]]).reshape(1, 2, 2, 2)
    expected = torch.tensor([[[30.0, -2.0], [-2.0, 2.0]]])
    torch.testing.assert_close(gram(feature), expected / 8)
    torch.testing.assert_close(gram(feature, "hw"), expected / 4)


@settings(deadline=None, max_examples=40)
@given(shapes, st.integers(0, 2**31))
def test_gram_agrees_with_einsum_and_is_symmetric(shape: tuple[int, ...], seed: int) -> None:
    feature = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double()
    expected = torch.einsum("bchw,bdhw->bcd", feature, feature)
    own = gram(feature)
    torch.testing.assert_close(own, expected / feature.numel())
    torch.testing.assert_close(own, own.mT)
    assert torch.linalg.eigvalsh(own).min() >= -1e-9


def test_gram_does_not_depend_on_the_memory_layout() -> None:
    feature = torch.randn(1, 4, 5, 6, dtype=torch.float64)
    other = feature.to(memory_format=torch.channels_last)
    torch.testing.assert_close(gram(feature), gram(other))


def test_gram_ignores_where_things_are() -> None:
    feature = torch.randn(1, 3, 4, 5, dtype=torch.float64)
    shuffled = feature.flatten(2)[..., torch.randperm(20)].reshape(feature.shape)
    torch.testing.assert_close(gram(feature), gram(shuffled))


def test_content_loss_is_the_mean_square() -> None:
    one, two = (torch.tensor(v).reshape(1, 2, 1, 1) for v in ([1.0, 2.0], [3.0, 5.0]))
    assert content_loss(one, two).item() == pytest.approx((4 + 9) / 2)
    assert content_loss(one, one).item() == 0


def test_style_loss_of_scaled_features() -> None:
    """Doubling the features quadruples the Gram matrix: the loss is the mean of (3 G)^2."""
    feature = torch.randn(1, 3, 4, 4, dtype=torch.float64)
    own = gram(feature)
    loss = style_loss(2 * feature, own)
    torch.testing.assert_close(loss, (9 * own**2).mean())
    assert style_loss(feature, own).item() == 0


def test_total_variation_of_ramp_and_constant() -> None:
    ramp = torch.arange(5.0).expand(1, 3, 4, 5)
    assert total_variation(ramp).item() == pytest.approx(1)
    assert total_variation(ramp.mT).item() == pytest.approx(1)
    assert total_variation(torch.full((1, 3, 4, 5), 7.0)).item() == 0


def test_total_variation_means_the_same_at_every_size() -> None:
    checks = (torch.arange(8)[:, None] + torch.arange(8)) % 2.0
    large = checks.repeat(4, 4)
    small_tv = total_variation(checks[None, None])
    torch.testing.assert_close(total_variation(large[None, None]), small_tv)


@pytest.mark.parametrize("normalization", ["chw", "hw"])
def test_gradients(normalization: Normalization) -> None:
    torch.manual_seed(0)
    feature = torch.randn(1, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    target = torch.randn(1, 3, 4, 5, dtype=torch.float64)
    own = gram(target, normalization)
    assert torch.autograd.gradcheck(lambda x: gram(x, normalization), feature)
    assert torch.autograd.gradcheck(lambda x: content_loss(x, target), feature)
    assert torch.autograd.gradcheck(lambda x: style_loss(x, own, normalization), feature)
    assert torch.autograd.gradcheck(total_variation, feature)


# --- A statistic of the user's --------------------------------------------------------------------

MEAN = """
from dataclasses import dataclass

from torch import Tensor

from nst.statistics import Moments, Positions


@dataclass
class Mean(Moments):
    factor: float = 1.0

    def gather(self, features: Tensor, positions: Positions) -> Tensor:
        return self.factor * positions.mean(features)
"""


@pytest.fixture
def mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Moments:
    """The statistic, from the one file and the one YAML that a user would write."""
    (tmp_path / "mine.py").write_text(MEAN)
    (tmp_path / "style_loss").mkdir()
    (tmp_path / "style_loss/mean.yaml").write_text("_target_: mine.Mean\nfactor: 2.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    made: Moments = importlib.import_module("mine").Mean(2.0)
    return made


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_users_statistic_is_the_same_whole_tiled_and_batched(
    weights: Weights, mean: Moments, precision: Precision
) -> None:
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(1, 3, 40, 56, generator=generator).double() for _ in range(3)]
    network = VGG(weights.tensors, ["relu1_1", "relu2_1", "relu2_2"]).double()

    def make(seed: int, **options: object) -> Objective:
        layers = {"relu1_1": 1.0 + seed, "relu2_1": 3.0}
        own = {"content_layers": {"relu2_2": 1.0}, "style_layers": layers, "precision": precision}
        target = images[2] * (1 + seed)
        return transfer(network, images[2], target, style_loss=mean, **own, **options)

    close = {"rtol": 1e-9, "atol": 1e-9} if precision == "fp32" else {"rtol": 0.1, "atol": 100.0}
    plain = [gradient(make(seed, joint=False), images[seed]) for seed in (0, 1)]
    for seed in (0, 1):
        for options in ({}, {"tile_size": 16}):
            total, slope = gradient(make(seed, **options), images[seed])
            torch.testing.assert_close(total, plain[seed][0], rtol=close["rtol"], atol=0)
            torch.testing.assert_close(slope, plain[seed][1], **close)
    objectives = [make(0), make(1)]
    assert signature(objectives[0], images[0]) == signature(objectives[1], images[1])
    leaves = [image.clone().requires_grad_() for image in images[:2]]
    for terms, leaf, (total, slope) in zip(
        Batch(objectives, images[0])(leaves), leaves, plain, strict=True
    ):
        terms.total.backward()
        torch.testing.assert_close(terms.total.detach(), total, rtol=close["rtol"], atol=0)
        torch.testing.assert_close(leaf.grad, slope, **close)


def gradient(objective: Objective, image: Tensor) -> tuple[Tensor, Tensor]:
    leaf = image.clone().requires_grad_()
    terms = objective(leaf)
    (slope,) = torch.autograd.grad(terms.total, leaf)
    return terms.total.detach(), slope


def test_run_with_the_users_statistic_goes_on_to_the_same_bits(
    mean: Moments, content_path: Path, style_path: Path, tmp_path: Path
) -> None:
    def run(evaluations: int, **options: object) -> nst.Result:
        return stylize(
            *(content_path, style_path),
            size=32,
            weights="random",
            style_loss=mean,
            budget=nst.Budget(evaluations=evaluations),
            device="cpu",
            **options,
        )

    whole = run(8)
    asked = iter(["", "", "", "enough"])
    path = tmp_path / "checkpoint.pt"
    cut = run(8, checkpoint=path, stop_requested=lambda: next(asked) or None)
    assert cut.status == "interrupted"
    rest = run(8, resume=path)
    assert [row.total for row in rest.losses] == [row.total for row in whole.losses]
    assert whole.picture_losses.style < 0.9 * whole.losses[0].style
    with pytest.raises(nst.InputError, match="style_loss"):
        stylize(*(content_path, style_path), size=32, weights="random", resume=path, device="cpu")


def test_users_statistic_from_the_command_line(
    mean: Moments, nst_command: Command, tmp_path: Path
) -> None:
    arguments = [*TINY, "style_loss=mean", "--config-dir", "."]
    # Without relative terms, in which a factor has no effect.
    plain = ["loss=reference", "loss.style_weight=1", "style_loss.factor=1,1e3"]
    sweep = [*plain, "hydra/launcher=batch", "name=s", "--multirun"]
    for options in ([], sweep):
        done = nst_command(*arguments, *options, PYTHONPATH=str(tmp_path))
        assert done.returncode == 0, done.stderr
    # By totals they could not be ranked.
    assert "lowest balance" in (tmp_path / "outputs/s/report.html").read_text()
    table = (tmp_path / "outputs/s/summary.csv").read_text()
    assert "style_loss.factor" in table.splitlines()[0]
    wrong = nst_command(*TINY, "style_loss._target_=pathlib.Path")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "style_loss" in wrong.stderr


class Absolute(Comparison):
    """A comparison without a gradient of its own."""

    def gather(self, features: Tensor, target: Tensor, positions: Positions) -> Tensor:
        return (features - target).abs().sum((1, 2, 3)) / positions.count


class Spread(Moments):
    """Means and mean squares, of which an empty part would make nothing finite."""

    def gather(self, features: Tensor, positions: Positions) -> Tensor:
        share = features.shape[2] * features.shape[3] / positions.count
        parts = features.mean((2, 3)), features.square().mean((2, 3))
        return share * torch.cat(parts, 1)


@pytest.mark.slow
def test_comparisons_and_tiles_without_positions(weights: Weights) -> None:
    generator = torch.Generator().manual_seed(1)
    images = [torch.randn(1, 3, 40, 56, generator=generator).double() for _ in range(3)]
    network = VGG(weights.tensors, ["relu1_1", "relu5_1"]).double()
    layers = {
        "content_layers": {"relu1_1": 1.0},
        "style_layers": {"relu1_1": 1.0, "relu5_1": 2.0},
        "content_loss": Absolute(),
        "style_loss": Spread(),
        "style_weight": 10.0,
    }

    def make(seed: int, **options: object) -> Objective:
        return transfer(network, images[2], images[1 - seed], **layers, **options)

    plain = [gradient(make(seed, joint=False), images[seed]) for seed in (0, 1)]
    # 40 px are two and a half positions of relu5_1: the last of these tiles has none.
    for options in ({}, {"tile_size": 16}):
        total, slope = gradient(make(0, **options), images[0])
        torch.testing.assert_close(total, plain[0][0])
        torch.testing.assert_close(slope, plain[0][1])
    leaves = [image.clone().requires_grad_() for image in images[:2]]
    found = Batch([make(0), make(1)], images[0])(leaves)
    for terms, leaf, (total, slope) in zip(found, leaves, plain, strict=True):
        terms.total.backward()
        torch.testing.assert_close(terms.total.detach(), total)
        torch.testing.assert_close(leaf.grad, slope)


@pytest.mark.parametrize("joint", [True, False])
def test_comparison_of_pictures_of_other_sizes_is_refused(weights: Weights, joint: bool) -> None:
    network = VGG(weights.tensors, ["relu1_1"])
    taps = {"content_layers": {"relu1_1": 1.0}, "style_layers": {"relu1_1": 1.0}}
    content, style = torch.randn(1, 3, 16, 16), torch.randn(1, 3, 24, 24)
    objective = transfer(network, content, style, style_loss=MSE(), joint=joint, **taps)
    with pytest.raises(nst.InputError, match="style: MSE compares position by position"):
        objective(content)


def test_terms_need_names_of_their_own(weights: Weights) -> None:
    network, picture = VGG(weights.tensors, ["relu1_1"]), torch.randn(1, 3, 16, 16)
    one = Term("style", Gram(), whole(picture), {"relu1_1": 1.0})
    for terms in ([], [one, one], [replace(one, name="tv")]):
        with pytest.raises(nst.InputError, match="names of their own"):
            Objective(network, terms)


def test_statistics_that_differ_are_described_differently() -> None:
    @dataclass(frozen=True, slots=True)
    class Slotted(Spread):
        values: tuple[float, ...] = ()

    ramp = torch.linspace(0, 1, 5000)
    other = ramp.clone()
    other[2500] = 7
    made = []
    for values in ((1.0,), (2.0,)):
        made.append(Slotted(values))
    for tensor in (ramp, other, ramp.bfloat16()):
        for held in (tensor, [tensor], {"a": tensor}):
            statistic = Spread()
            statistic.held = held
            made.append(statistic)
    made += [Gram("hw"), Gram("chw"), MSE()]
    assert len({described(one) for one in made}) == len(made)
    assert described(Gram()) == described(Gram("chw"))


def test_network_can_be_pickled_though_others_were_made_of_it(weights: Weights) -> None:
    network = VGG(weights.tensors, ["relu1_1"])
    other = network.computing_in(torch.bfloat16, torch.channels_last)
    assert network.computing_in(torch.bfloat16, torch.channels_last) is other
    again = pickle.loads(pickle.dumps(network))
    image = torch.randn(1, 3, 8, 8)
    assert torch.equal(again(image)["relu1_1"], network(image)["relu1_1"])
    assert next(network.parameters()).dtype == torch.float32
