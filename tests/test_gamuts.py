"""The range that the image is kept in, and the losses of the picture that is saved."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

import nst
from nst import gamuts
from nst.network.vgg import VGG
from nst.network.weights import resolve
from nst.objective import transfer
from nst.objective.statistics import Gram
from nst.objective.yardstick import GATYS_CONTENT, GATYS_STYLE, TAPS
from nst.optim import parametrizations
from nst.optim.schedules import Scale
from nst.pictures import images
from nst.run.results import Result, excess
from support import Command, check_slopes, stylize, xor_picture

KINDS = {
    "pixel": parametrizations.pixel,
    "fourier": parametrizations.fourier,
    "fourier_unlimited": partial(parametrizations.fourier, power=1.0, wavelength=None),
}


def unit(image: Tensor) -> Tensor:
    """An image in [0, 1], as far as it is in range."""
    mean, std = images.statistics(image)
    return image.detach() * std + mean


def normalised(values: Tensor) -> Tensor:
    mean, std = images.statistics(values)
    return (values - mean) / std


# --- The mapping ----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    seed=st.integers(0, 1000),
    spread=st.sampled_from([0.0, 0.1, 1.0, 30.0, 1e6]),
    level=st.sampled_from([-1e4, -2.2, 0.0, 2.7, 1e4]),
    step=st.sampled_from([1e-3, 0.1, 1.0, 100.0, 1e7]),
)
def test_any_start_and_any_step_stay_in_range(
    kind: str, seed: int, spread: float, level: float, step: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    start = level + spread * torch.randn(1, 3, 9, 8, generator=generator)
    image = gamuts.srgb(KINDS[kind])(start)
    for _ in range(3):
        pixels = unit(image())
        assert torch.isfinite(pixels).all()
        assert pixels.min() >= -1e-5
        assert pixels.max() <= 1 + 1e-5
        assert images.clipped(image()) == 0
        with torch.no_grad():
            for variable in image.variables:
                variable += step * torch.randn(variable.shape, generator=generator)


@pytest.mark.parametrize("kind", KINDS)
def test_start_within_the_range_is_kept_and_outside_it_moves_to_the_bound(kind: str) -> None:
    inside = torch.rand(1, 3, 16, 12, generator=torch.Generator().manual_seed(0))
    start = normalised(inside.clamp(1 / 256, 1 - 1 / 256))
    given_start = start.clone()
    image = gamuts.srgb(KINDS[kind])(start)
    torch.testing.assert_close(image(), start, atol=1e-4, rtol=0)
    far = normalised(torch.tensor([-3.0, 5.0]).repeat(1, 3, 16, 6))
    image.assign(far)
    # Less than what rounding to 8 bits takes away: the picture is black and white.
    expected = torch.tensor([0.0, 1.0]).repeat(3, 16, 6)
    torch.testing.assert_close(unit(image())[0], expected, atol=0.5 / 255, rtol=0)
    assert torch.equal(start, given_start)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_through_the_mapping(kind: str) -> None:
    start = torch.randn(1, 3, 5, 6, generator=torch.Generator().manual_seed(1)).double()
    image = gamuts.srgb(KINDS[kind])(1.5 * start)
    (values,) = image.variables
    with torch.no_grad():
        values[..., :2] += 20  # some of them beyond the first corner

    def moved(step: Tensor) -> Tensor:
        with torch.no_grad():
            values.copy_(before + step)
        return (image() * weights).sum()

    before = values.detach().clone()
    weights = torch.randn(image().shape, generator=torch.Generator().manual_seed(2)).double()
    check_slopes(moved, values)


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_black_and_white_areas_can_be_moved(kind: str, value: float) -> None:
    image = gamuts.srgb(KINDS[kind])(normalised(torch.full((1, 3, 8, 8), value)))
    goal = normalised(torch.full((1, 3, 8, 8), 0.5))
    optimizer = nst.lbfgs(image.variables)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (image() - goal).square().sum()
        loss.backward()
        return loss

    for _ in range(2):
        optimizer.step(closure)
    assert unit(image()).sub(0.5).abs().max() < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [nst.lbfgs, nst.adam])
@pytest.mark.parametrize("level", [0, 255])
def test_picture_of_one_extreme_can_be_painted_on(level: int, optimizer) -> None:
    """At either bound the image is hardest to move; it gets as far as without a range."""
    content = Image.new("RGB", (48, 40), (level,) * 3)
    given = {**TINY, "optimizer": optimizer, "budget": nst.Budget(evaluations=30)}
    bounded, free = (
        stylize(content, xor_picture(), gamut=gamut, **given)
        for gamut in (gamuts.srgb, gamuts.free)
    )
    assert bounded.picture_losses.total < 0.05 * bounded.losses[0].total
    assert bounded.picture_losses.total < 1.1 * free.picture_losses.total


def test_free_is_the_parametrization_itself() -> None:
    assert gamuts.free(parametrizations.pixel) is parametrizations.pixel


@pytest.mark.parametrize("gamut", [gamuts.srgb, gamuts.clip])
def test_nothing_comes_from_the_host_at_an_evaluation(
    monkeypatch: pytest.MonkeyPatch, gamut: gamuts.Gamut
) -> None:
    """A CUDA graph can be recorded only of what is on the device already, and waits for nothing."""
    image = gamut(parametrizations.fourier)(torch.randn(1, 3, 8, 8))
    monkeypatch.setattr(torch.Tensor, "new_tensor", None)
    for reads in ("item", "__bool__", "__float__", "tolist", "cpu"):
        monkeypatch.setattr(torch.Tensor, reads, None)
    image().sum().backward()


# --- The projection -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spread", [0.1, 1.0, 30.0])
def test_variables_are_clipped_before_an_evaluation_and_at_no_other_time(
    kind: str, spread: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    image = gamuts.clip(KINDS[kind])(torch.randn(1, 3, 9, 8, generator=generator))
    (variable,) = image.variables
    for _ in range(3):
        with torch.no_grad():
            variable += spread * torch.randn(variable.shape, generator=generator)
            before = variable.clone()
            looked_at = image()
        assert torch.equal(variable, before)
        evaluated = image()
        torch.testing.assert_close(evaluated.detach(), looked_at, atol=1e-3, rtol=0)
        margin = 0 if kind == "pixel" else 1.1e-4
        assert unit(evaluated).min() >= -margin - 1e-6
        assert unit(evaluated).max() <= 1 + margin + 1e-6
        # Once more and nothing changes, so that a step that is made again is the same.
        before = variable.detach().clone()
        assert torch.equal(image(), evaluated)
        assert torch.equal(variable, before)
        (gradient,) = torch.autograd.grad(image().sum(), variable)
        plain = KINDS[kind](evaluated.detach())
        torch.testing.assert_close(
            gradient, torch.autograd.grad(plain().sum(), plain.variables[0])[0]
        )


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_within_the_range_is_not_clipped(kind: str) -> None:
    start = normalised(torch.rand(1, 3, 9, 8, generator=torch.Generator().manual_seed(0)))
    image, plain = gamuts.clip(KINDS[kind])(start), KINDS[kind](start)
    image()
    assert torch.equal(image.variables[0], plain.variables[0])
    image.assign(start + 100)
    torch.testing.assert_close(unit(image()), torch.ones(1, 3, 9, 8))


@pytest.mark.parametrize("optimizer", [nst.adam, nst.lbfgs])
@pytest.mark.parametrize("kind", [nst.pixel, nst.fourier])
def test_clipped_run_measures_what_it_saves(kind, optimizer) -> None:
    result = run(gamut=gamuts.clip, parametrization=kind, optimizer=optimizer)
    assert result.best is not None
    assert result.picture_losses.clipped == 0
    assert result.picture_losses.total == pytest.approx(result.best.total, rel=0.05)
    assert result.losses[-1].total < result.losses[0].total


# --- Whole runs -----------------------------------------------------------------------------------

# Equal bits are a CPU's.
TINY = {"size": 48, "weights": "random", "budget": nst.Budget(evaluations=25), "device": "cpu"}


def stark_picture() -> Image.Image:
    """Black and white alone, in rough strokes."""
    y, x = np.mgrid[:80, :80]
    return Image.fromarray((255 * ((x * x + 3 * y) // 90 % 2)).astype(np.uint8)).convert("RGB")


def run(**options) -> Result:
    return stylize(xor_picture(), stark_picture(), **{**TINY, **options})


RUNS = {
    "adam": {"optimizer": nst.adam},
    "lbfgs": {"parametrization": nst.pixel},
    "torch's lbfgs": {"optimizer": nst.lbfgs_torch},
    "fourier": {"parametrization": nst.fourier},
    "noise": {"init": nst.inits.random},
    "loud noise": {"init": partial(nst.inits.random, std=20.0)},
    "style": {"init": nst.inits.style},
    "variation": {"tv_weight": 100.0},
    "tiles": {"memory": "tiled", "tile_size": 16, "budget": nst.Budget(evaluations=5)},
    "pyramid": {"schedule": [Scale(0.5, 12), Scale(1.0, None)], "parametrization": nst.fourier},
    "bfloat16": {"precision": "bf16"},
    "hw": {"style_loss": Gram("hw")},
    "plain loss": {"strength": None, "style_weight": 1e6},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_picture_is_worth_what_was_optimised(name: str) -> None:
    result = run(**RUNS[name])
    assert result.status == "ok"
    assert result.best is not None
    assert result.picture_losses.clipped == 0
    # Rounding to 8 bits and to bfloat16 may go either way.
    assert result.picture_losses.total == pytest.approx(result.best.total, rel=0.05)


@pytest.mark.parametrize("parametrization", [nst.pixel, nst.fourier])
def test_picture_enlarged_from_a_smaller_size_is_in_range_too(parametrization) -> None:
    """The budget ends in the first size, and stark edges overshoot where they are enlarged."""
    coarse = {"schedule": [Scale(0.5, 100), Scale(1.0, None)], "parametrization": parametrization}
    result = run(**coarse, budget=nst.Budget(evaluations=4), init=nst.inits.style)
    assert result.best is not None
    assert result.best.scale == 0.5
    assert result.picture_losses.clipped == 0


@pytest.mark.slow
def test_free_image_is_clipped_and_its_picture_worse() -> None:
    free, bounded = (run(gamut=kind) for kind in (gamuts.free, gamuts.srgb))
    assert 0 < free.picture_losses.clipped <= 1
    assert free.best is not None
    assert free.picture_losses.total > 1.05 * free.best.total
    assert bounded.picture_losses.total < free.picture_losses.total


def test_clipped_counts_pixels_that_rounding_would_not_bring_back() -> None:
    values = torch.full((1, 3, 10, 10), 0.5)
    values[0, 0, 0] = 1 + 0.4 / 255
    values[0, 1, 1] = 1 + 0.6 / 255
    values[0, 2, 2] = -0.6 / 255
    values[0, :, 3, :5] = -2
    assert images.clipped(normalised(values)) == pytest.approx(0.25)


@pytest.mark.slow
def test_run_goes_on_within_the_same_gamut_alone(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    asked = iter([None] * 7 + ["SIGTERM"])
    optimizer = partial(nst.lbfgs, max_iter=4)
    whole = run(optimizer=optimizer)
    cut = run(optimizer=optimizer, checkpoint=path, stop_requested=lambda: next(asked))
    assert cut.status == "interrupted"
    with pytest.raises(
        nst.InputError, match=r"another gamut .*srgb\(\).* there, .*free\(\).* here"
    ):
        run(optimizer=optimizer, resume=path, gamut=gamuts.free)
    rest = run(optimizer=optimizer, resume=path)
    assert rest.picture.tobytes() == whole.picture.tobytes()
    assert rest.picture_losses == whole.picture_losses


@pytest.mark.parametrize(
    ("picture", "optimised", "factor"),
    [
        (1.04, 1.0, None),
        (2.12, 2.0, 1.06),
        (96.0, 0.2, 480.0),
        (1.0, 0.0, np.inf),
        (0.0, 0.0, None),
    ],
)
def test_factor_of_a_worse_picture(picture: float, optimised: float, factor: float | None) -> None:
    assert excess(picture, optimised) == (factor and pytest.approx(factor))


def test_unknown_file_format() -> None:
    with pytest.raises(nst.InputError, match=r"saved_as must be one of \.png.*, not \.gif"):
        run(saved_as=".gif")


# --- The command line -----------------------------------------------------------------------------

COMMAND = (
    *("size=48", "model.weights=embedded", "budget.evaluations=12", "loss.tv_weight=3"),
    "device=cpu",
)


def measured_again(folder: Path, name: str) -> dict[str, float]:
    """The weighted terms of the picture in a run's folder, by an objective of our own."""
    content, style = (
        images.to_tensor(images.load(folder / "images" / f"{kind}.png"), 48)
        for kind in ("content", "style")
    )
    picture = images.to_tensor(images.load(folder / name), content.shape[2:])
    network = VGG(resolve("embedded").tensors, TAPS)
    objective = transfer(
        network,
        content,
        style,
        content_layers=GATYS_CONTENT,
        style_layers=GATYS_STYLE,
        tv_weight=3.0,
    )
    with torch.no_grad():
        terms = objective(picture)
    layers = {name: term.item() for name, term in terms.layers.items()}
    own = {name: getattr(terms, name).item() for name in ("total", "content", "style", "tv")}
    return {**own, **layers}


@pytest.mark.parametrize(
    ("gamut", "suffix", "more"),
    [
        *(("srgb", suffix, ()) for suffix in ("png", "jpg", "webp", "tiff")),
        ("free", "png", ()),
        ("srgb", "png", ("precision=bf16",)),
        ("srgb", "png", ("schedule.scales=[0.7,1]", "schedule.evaluations=[2,null]")),
    ],
)
def test_saved_picture_measures_what_the_record_says(
    nst_command: Command, tmp_path: Path, suffix: str, gamut: str, more: tuple[str, ...]
) -> None:
    stark_picture().save(tmp_path / "style.png")
    done = nst_command(
        *COMMAND,
        *("loss=reference", "parametrization=pixel"),
        "style=style.png",
        f"output.format={suffix}",
        f"gamut={gamut}",
        *more,
        "hydra.run.dir=r",
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "r" / "result.json").read_text())
    picture = record["picture"]
    assert picture.pop("file") == f"result.{suffix}"
    clipped, layers = picture.pop("clipped"), picture.pop("layers")
    assert (clipped == 0) == (gamut == "srgb")
    again = measured_again(tmp_path / "r", f"result.{suffix}")
    assert {**picture, **layers} == pytest.approx(again, rel=1e-3)
    assert f"total {picture['total']:.4g}" in done.stdout
    # The yardstick is the same picture's.
    assert record["yardstick"]["content"] == pytest.approx(again["content"], rel=1e-3)
    assert record["yardstick"]["style"] == pytest.approx(again["style"] / 1e6, rel=1e-3)
    warned = "times that of the image that was optimised" in done.stdout
    assert warned == (picture["total"] > 1.05 * record["best"]["total"])
    assert not warned or gamut == "free" or suffix in ("jpg", "webp")
