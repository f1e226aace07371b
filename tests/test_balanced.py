"""Relative terms: the same whatever the network's scale, and a strength that means what it says."""

import json
import logging
from collections.abc import Callable
from math import log
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import nst
from nst.network.vgg import VGG
from nst.network.weights import Weights
from nst.objective import transfer, variation
from nst.objective.balanced import balanced, goal, in_size_of
from nst.objective.batch import Batch, signature
from nst.objective.statistics import Gram
from nst.objective.terms import above_goal
from support import Command, checker_picture, stylize, xor_picture

CONTENT, STYLE = {"relu2_2": 2.0, "relu1_2": 1.0}, {"relu1_1": 0.5, "relu2_1": 3.0}
LAYERS = {"content_layers": CONTENT, "style_layers": STYLE}
# A run of about two seconds with a network that knows styles.
SMALL = {
    "size": 64,
    "weights": "embedded",
    "parametrization": nst.fourier,
    "budget": nst.Budget(evaluations=40),
    "device": "cpu",
}


@pytest.fixture
def network(weights: Weights) -> VGG:
    return VGG(weights.tensors, [*CONTENT, *STYLE]).double()


@pytest.fixture
def pictures() -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    sizes = ((16, 20), (24, 12), (16, 20))
    return tuple(torch.randn(1, 3, *s, generator=generator, dtype=torch.float64) for s in sizes)


def gram(feature: Tensor) -> Tensor:
    flat = feature[0].reshape(feature.shape[1], -1)
    return flat @ flat.T / flat.numel()


def shares(network: VGG, content: Tensor, style: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """The averages C and S, written out."""
    own, theirs, texture = network(image), network(content), network(style)
    resized = network(F.interpolate(style, content.shape[2:], mode="bilinear", antialias=True))
    c = sum(
        weight
        * F.mse_loss(own[tap], theirs[tap])
        / F.mse_loss(resized[tap], theirs[tap])
        / sum(CONTENT.values())
        for tap, weight in CONTENT.items()
    )
    # relu1_1 counts twice as much as relu2_1, a block below it.
    halved = {"relu1_1": 2 * STYLE["relu1_1"], "relu2_1": STYLE["relu2_1"]}
    s = sum(
        weight
        * F.mse_loss(gram(own[tap]), gram(texture[tap]))
        / F.mse_loss(gram(theirs[tap]), gram(texture[tap]))
        / sum(halved.values())
        for tap, weight in halved.items()
    )
    return c, s


@pytest.mark.parametrize("strength", [0.2, 0.5, 1.0])
def test_terms_follow_the_formula(network: VGG, pictures, strength: float) -> None:
    content, style, image = pictures
    objective = balanced(
        *(network, content, style),
        strength=strength,
        content_weight=5.0,
        style_weight=7.0,
        tv_weight=0.3,
        **LAYERS,
    )
    c, s = shares(network, content, style, image)
    assert s > goal(strength)
    ratio = s / goal(strength)
    terms = objective(image)
    torch.testing.assert_close(terms.content, 5 * c)
    torch.testing.assert_close(terms.style, 7 * (ratio - 1 - torch.log(ratio)))
    torch.testing.assert_close(terms.tv, 0.3 * variation.total_variation(image))
    torch.testing.assert_close(terms.total, terms.content + terms.style + terms.tv)
    plain = transfer(network, content, style, **LAYERS)(image)
    torch.testing.assert_close(terms.layers, plain.layers)


def test_either_picture_has_one_term_of_1_and_one_of_0(network: VGG, pictures) -> None:
    content, style, _ = pictures
    objective = balanced(network, content, style, strength=0.5, **LAYERS)
    start = objective(content)
    assert start.content.item() == 0
    assert start.style.item() == pytest.approx(1 / goal(0.5) - 1 + log(goal(0.5)))
    assert objective(in_size_of(content, style)).content.item() == pytest.approx(1)
    whole = balanced(network, content, in_size_of(content, style), strength=0.5, **LAYERS)
    assert whole(in_size_of(content, style)).style.item() == 0


def test_layers_that_are_left_out_are_no_part_of_the_average(network: VGG, pictures) -> None:
    content, style, _ = pictures
    layers = {"content_layers": CONTENT, "style_layers": {"relu2_1": 4.0}}
    objective = balanced(network, content, style, strength=0.5, **layers)
    assert objective(content).style.item() == pytest.approx(1 / goal(0.5) - 1 + log(goal(0.5)))


@pytest.mark.parametrize("normalization", ["chw", "hw"])
def test_scale_of_the_activations_means_nothing(
    weights: Weights, pictures, normalization: str
) -> None:
    content, style, image = pictures

    def terms(factor: float) -> list[float]:
        # Every layer's activations become `factor` times as large.
        scaled = ("bias", "conv1_1.weight")
        tensors = {
            name: tensor * factor if name.endswith(scaled) else tensor
            for name, tensor in weights.tensors.items()
        }
        network = VGG(tensors, [*CONTENT, *STYLE]).double()
        objective = balanced(
            network, content, style, strength=0.5, style_loss=Gram(normalization), **LAYERS
        )
        found = objective(image)
        return [found.content.item(), found.style.item(), found.total.item()]

    assert terms(30) == pytest.approx(terms(1), rel=1e-6)


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_gradient(network: VGG, pictures, strength: float) -> None:
    content, style, image = pictures
    small, corner = image[..., :4, :4].clone().requires_grad_(), content[..., :4, :4]
    objectives = [
        balanced(network, corner, style, strength=strength, joint=joint, **LAYERS)
        for joint in (False, True)
    ]
    assert torch.autograd.gradcheck(lambda x: objectives[0](x).total, small)
    gradients = [torch.autograd.grad(each(small).total, small)[0] for each in objectives]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-9, atol=0)


def test_below_its_goal_the_style_pulls_no_more(network: VGG, pictures) -> None:
    content, style, _ = pictures
    objective = balanced(network, content, style, strength=0, **LAYERS)
    start = content.clone().requires_grad_()
    plain = transfer(network, content, style, content_weight=0, **LAYERS)
    (slope,) = torch.autograd.grad(plain(start).total, start)
    near = (content - 1e-3 * slope / slope.norm()).requires_grad_()
    assert shares(network, content, style, near)[1] < goal(0)
    terms = objective(near)
    assert terms.style.item() == 0
    (gradient,) = torch.autograd.grad(terms.total, near)
    alone = balanced(network, content, style, strength=0, style_weight=0, **LAYERS)
    (expected,) = torch.autograd.grad(alone(near).total, near)
    torch.testing.assert_close(gradient, expected)
    assert expected.abs().max() > 0


def test_above_goal_and_its_slope() -> None:
    distance = torch.tensor([0.1, 0.5, 1.0, 3.0, 80.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda d: above_goal(d, 0.5 + 1e-9), distance)
    term = above_goal(distance, 0.5)
    assert term[:2].tolist() == [0, 0]
    assert term[3].item() == pytest.approx(6 - 1 - log(6))
    (slope,) = torch.autograd.grad(term.sum(), distance)
    torch.testing.assert_close(slope, (2 - 1 / distance.detach()).clamp(min=0))


def test_goal_falls_from_all_to_nearly_nothing() -> None:
    goals = [goal(step / 20) for step in range(21)]
    assert goals == sorted(goals, reverse=True)
    assert (goals[0], goals[-1]) == pytest.approx((1, 3e-4))
    assert goal(0.1) == pytest.approx(0.08**0.5)
    assert [goals[4], goals[10], goals[16]] == pytest.approx([0.08, 0.004, 0.002])


def test_in_tiles_as_a_whole(weights: Weights) -> None:
    content, style, image = (
        torch.randn(1, 3, 96, 80, generator=torch.Generator().manual_seed(seed))
        for seed in range(3)
    )
    image.requires_grad_()
    network = VGG(weights.tensors, [*CONTENT, *STYLE])
    found = []
    for tile_size in (None, 32):
        objective = balanced(network, content, style, strength=0.5, tile_size=tile_size, **LAYERS)
        terms = objective(image)
        found.append((terms.total, torch.autograd.grad(terms.total, image)[0]))
        assert (len(objective.tiles(image)) > 1) == (tile_size is not None)
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-4, atol=0)
    assert (found[1][1] - found[0][1]).norm() < 1e-3 * found[0][1].norm()


def test_in_a_batch_as_alone(network: VGG, pictures) -> None:
    content, style, image = pictures
    objectives = [
        balanced(network, content * scale, style, strength=strength, style_weight=scale, **LAYERS)
        for strength, scale in ((0.2, 1.0), (0.8, 0.5), (1.0, 2.0))
    ]
    images = [(image * factor).requires_grad_() for factor in (1.0, 0.7, 0.3)]
    together = Batch(objectives, images[0])(images)
    for objective, picture, terms in zip(objectives, images, together, strict=True):
        alone = objective(picture)
        torch.testing.assert_close(terms.style, alone.style)
        torch.testing.assert_close(terms.total, alone.total)
        gradients = [torch.autograd.grad(each.total, picture)[0] for each in (terms, alone)]
        torch.testing.assert_close(*gradients)
    plain = transfer(network, content, style, **LAYERS)
    assert signature(objectives[0], image) == signature(objectives[1], image)
    assert signature(objectives[0], image) != signature(plain, image)


def test_pictures_that_agree_neither_divide_by_zero_nor_blow_up(network: VGG, pictures) -> None:
    content, _, image = pictures
    grey = torch.full_like(content, 0.25)
    for first, second in ((content, content), (grey, grey), (grey, image), (image, grey)):
        objective = balanced(network, first, second, strength=0.5, **LAYERS)
        assert min(objective.scales.values()) > 0
        for each in (first, second, image):
            each = each.clone().requires_grad_()
            total = objective(each).total
            # The furthest of these is 1e5 times as far as the content picture.
            assert 0 <= total.item() < 1.5e5 / goal(0.5)
            assert torch.autograd.grad(total, each)[0].isfinite().all()


def test_layer_that_no_picture_excites_is_left_out(weights: Weights, pictures) -> None:
    bias = torch.full_like(weights.tensors["conv2_1.bias"], -1e6)
    dead = VGG({**weights.tensors, "conv2_1.bias": bias}, ["relu2_1", "relu1_1"]).double()
    content, style, image = pictures
    layers = {"content_layers": {"relu1_1": 1.0}, "style_layers": {"relu1_1": 1.0, "relu2_1": 1.0}}
    objective = balanced(dead, content, style, strength=0.5, **layers)
    assert objective.scales["style/relu2_1"] == 0
    assert objective(image).total.isfinite()


@pytest.mark.slow
@pytest.mark.parametrize("init", [nst.inits.content, nst.inits.random])
def test_run_of_a_picture_in_its_own_style_keeps_it(init: nst.inits.Init) -> None:
    result = stylize(xor_picture(), xor_picture(), init=init, **SMALL)
    assert result.status == "ok"
    # A run that begins at its goal leaves it by a step, and comes back but for rounding.
    goal_or_start = max(result.losses[0].total, 1e-8)
    assert result.losses[-1].total <= goal_or_start
    assert result.picture_losses.total <= goal_or_start


@pytest.mark.slow
def test_strength_is_what_is_left_of_the_style_distance() -> None:
    pair = xor_picture(), checker_picture()
    for strength in (0.2, 0.5, 0.8):
        share = stylize(*pair, strength=strength, **SMALL).yardstick["style_share"]
        assert 0.9 * goal(strength) < share < 1.5 * goal(strength), strength


def test_strength_0_is_the_photograph_and_1_does_not_know_it() -> None:
    still = stylize(xor_picture(), checker_picture(), strength=0, **SMALL)
    assert still.yardstick["content_share"] == pytest.approx(0, abs=1e-4)
    assert still.yardstick["style_share"] == pytest.approx(1, abs=0.01)
    options = {**SMALL, "init": nst.inits.random, "strength": 1, "resize": "stretch"}
    options["budget"] = nst.Budget(evaluations=1)
    one, other = (
        stylize(content, checker_picture(), **options)
        for content in (xor_picture(), checker_picture())
    )
    assert one.losses[0].content == 0
    assert set(one.losses[0].layers) == {f"style/relu{block}_1" for block in range(1, 6)}
    names = set(one.losses[0].layers)
    assert {name: one.losses[0].layers[name] for name in names} == other.losses[0].layers


@pytest.mark.slow
def test_every_size_of_a_pyramid_has_its_own_scales() -> None:
    pair, single = (xor_picture(), checker_picture()), [nst.Scale(1, None)]
    pyramid = [nst.Scale(0.5, 4), *single]
    given = {**SMALL, "budget": nst.Budget(evaluations=6)}
    result = stylize(*pair, **given, schedule=pyramid)
    assert set(result.scales) == {32, 64}
    assert result.scales[32].keys() == result.scales[64].keys()
    assert all(result.scales[32][name] != scale for name, scale in result.scales[64].items())
    alone = stylize(*pair, **{**given, "size": 32})
    assert alone.scales[32] == pytest.approx(result.scales[32])
    absolute = stylize(*pair, **given, schedule=pyramid, strength=None)
    assert absolute.scales == {32: {}, 64: {}}


def test_bfloat16_is_near_float32() -> None:
    given = {**SMALL, "budget": nst.Budget(evaluations=1), "init": nst.inits.random}
    totals = [
        stylize(xor_picture(), checker_picture(), precision=kind, **given).losses[0].total
        for kind in ("fp32", "bf16")
    ]
    assert totals[1] == pytest.approx(totals[0], rel=0.02)


def test_checkpoint_of_another_strength_is_refused(tmp_path: Path) -> None:
    given = {
        **SMALL,
        "size": 32,
        "weights": "random",
        "checkpoint": tmp_path / "checkpoint.pt",
    }
    asked = iter([None, None, "SIGTERM"])
    pair = xor_picture(), checker_picture()
    cut = stylize(*pair, **given, stop_requested=lambda: next(asked))
    assert cut.status == "interrupted"
    with pytest.raises(nst.InputError, match=r"another strength \(0.5 there, 0.3 here\)"):
        stylize(*pair, **given, strength=0.3, resume=given["checkpoint"])


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan"), "0.5"])
def test_strength_out_of_range_is_refused(strength: float) -> None:
    with pytest.raises(nst.InputError, match="strength must be a number between 0 and 1"):
        stylize(xor_picture(), checker_picture(), strength=strength, **SMALL)


def test_weights_of_the_plain_loss_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    given = {**SMALL, "size": 32, "budget": nst.Budget(evaluations=1), "weights": "random"}
    with caplog.at_level(logging.WARNING):
        stylize(xor_picture(), checker_picture(), **given)
        assert not caplog.records
        stylize(xor_picture(), checker_picture(), style_weight=1e6, **given)
    assert "style_weight 1e+06 beside content_weight 1" in caplog.text


@pytest.fixture
def commanded(nst_command: Command, tmp_path: Path) -> Callable[..., dict]:
    def run(*arguments: str) -> dict:
        done = nst_command("size=32", "model.weights=embedded", "hydra.run.dir=run", *arguments)
        assert done.returncode == 0, done.stderr
        return json.loads((tmp_path / "run" / "result.json").read_text())

    return run


def test_command_line_records_scales_and_refuses_another_strength(
    commanded: Callable[..., dict], nst_command: Command, tmp_path: Path
) -> None:
    record = commanded("loss.strength=0.3", "budget.evaluations=3")
    assert set(record["scales"]["32"]) == {
        "content/relu4_2",
        *(f"style/relu{block}_1" for block in range(1, 6)),
    }
    lines = (tmp_path / "run" / "losses.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["style"] == pytest.approx(
        1 / goal(0.3) - 1 + log(goal(0.3)), rel=1e-4
    )
    share = record["yardstick"]["style_share"]
    said = f"to the style: {100 * share:.3g} % (strength 0.3 aims at 2.9 %)"
    assert said in (tmp_path / "run" / "nst.log").read_text()
    refused = nst_command("loss.strength=2")
    assert refused.returncode == 2
    assert "loss.strength must be between 0 and 1, not 2" in refused.stderr
    refused = nst_command("loss=reference,balanced", "loss.strength=0.5", "--multirun")
    assert refused.returncode == 2
    assert "Key 'strength' not in 'PlainLossConf'" in refused.stderr
