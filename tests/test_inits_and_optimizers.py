"""Starting images, and the two optimizers behind one `step(closure)`."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

import nst
from nst import inits
from nst.optim import optimizers
from nst.optim.inits import Canvas, Init
from nst.pictures import color, images
from support import checker_picture, stylize, xor_picture


@pytest.fixture
def canvas() -> Canvas:
    generator = torch.Generator().manual_seed(3)
    return Canvas(
        torch.randn(1, 3, 6, 8, generator=generator),
        [torch.randn(1, 3, 5, 4, generator=generator)],
        [1.0],
        seed=7,
        load=lambda path: torch.full((1, 3, 6, 8), float(len(path))),
    )


def test_random_is_the_documented_draw(canvas: Canvas) -> None:
    expected = torch.randn((1, 3, 6, 8), generator=torch.Generator("cpu").manual_seed(7))
    assert torch.equal(inits.random(canvas), expected)
    assert torch.equal(inits.random(canvas, std=0.5), expected / 2)


def test_noisy_is_the_content_and_the_documented_draw(canvas: Canvas) -> None:
    assert torch.equal(inits.noisy(canvas, share=0), canvas.content)
    assert torch.equal(inits.noisy(canvas, share=1), inits.random(canvas))
    half = (canvas.content + inits.random(canvas)) / 2
    torch.testing.assert_close(inits.noisy(canvas), half)


def test_gray_is_the_middle(canvas: Canvas) -> None:
    rgb = color.unit(inits.gray(canvas))
    assert rgb.shape == canvas.content.shape
    torch.testing.assert_close(rgb, torch.full_like(rgb, 0.5))


def test_noise_has_the_colours_of_the_style(canvas: Canvas) -> None:
    """Dark enough and narrow enough that next to nothing is clipped."""
    style = color.normalised(0.5 + 0.15 * (color.unit(images.to_tensor(xor_picture(), 40)) - 0.5))
    made = inits.style_stats(replace(canvas, content=torch.zeros(1, 3, 200, 150), styles=[style]))
    assert made.shape == (1, 3, 200, 150)
    assert made.dtype == torch.float32
    for found, expected in zip(
        *(color.moments([one], [1.0]) for one in (made, style)), strict=True
    ):
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=0.03)
    values = color.unit(made)[0, 0]
    assert torch.corrcoef(torch.stack([values[:, 1:], values[:, :-1]]).flatten(1))[0, 1] < 0.02


@pytest.mark.parametrize("rgb", [(0.0, 1.0, 0.5), (1.0, 1.0, 1.0)])
def test_noise_in_one_colour_is_that_colour(canvas: Canvas, rgb: tuple[float, ...]) -> None:
    style = color.normalised(torch.tensor(rgb)[None, :, None, None].expand(1, 3, 4, 5))
    made = inits.style_stats(replace(canvas, styles=[style]))
    torch.testing.assert_close(made, style[..., :1, :1].expand(made.shape))


def test_noise_in_stark_colours_is_in_range(canvas: Canvas) -> None:
    stark = color.normalised((canvas.style > 0).float())
    assert images.clipped(inits.style_stats(replace(canvas, styles=[stark]))) == 0


@pytest.mark.parametrize("init", [inits.random, inits.noisy, inits.style_stats])
def test_another_seed_is_another_start(canvas: Canvas, init: Init) -> None:
    assert torch.equal(init(canvas), init(canvas))
    assert not torch.equal(init(canvas), init(replace(canvas, seed=8)))


@pytest.mark.parametrize("init", [inits.noisy, inits.style_stats, inits.gray])
def test_pictures_are_left_as_they_are(canvas: Canvas, init: Init) -> None:
    content, style = canvas.content.clone(), canvas.style.clone()
    init(canvas).mul_(2)
    assert torch.equal(canvas.content, content)
    assert torch.equal(canvas.style, style)


@pytest.mark.parametrize("init", [inits.noisy, inits.style_stats, inits.gray])
def test_a_run_starts_from_it(init: Init) -> None:
    given = {"size": 32, "weights": "random", "budget": nst.Budget(evaluations=3)}
    result = stylize(xor_picture(), checker_picture(), init=init, **given)
    assert result.status == "ok"
    assert result.losses[-1].total < result.losses[0].total


def test_content_is_a_copy(canvas: Canvas) -> None:
    start = inits.content(canvas)
    assert torch.equal(start, canvas.content)
    assert start.data_ptr() != canvas.content.data_ptr()


def test_style_is_stretched(canvas: Canvas) -> None:
    start = inits.style(canvas)
    assert start.shape == canvas.content.shape
    torch.testing.assert_close(start.mean(), canvas.style.mean(), atol=0.1, rtol=0)


def test_image_is_loaded(canvas: Canvas) -> None:
    assert inits.image(canvas, path="abc").unique().tolist() == [3.0]


def test_result_of_another_run_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps({"picture": {"file": "result.webp"}}))
    checker_picture().save(tmp_path / "result.webp", lossless=True)
    given = {"size": 32, "weights": "random", "budget": nst.Budget(evaluations=1)}
    given |= {"gamut": nst.gamuts.free, "parametrization": nst.pixel}
    found, expected = (
        stylize(xor_picture(), xor_picture(), init=init, **given).picture
        for init in (
            partial(inits.result, folder=str(tmp_path)),
            partial(inits.image, path=str(tmp_path / "result.webp")),
        )
    )
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (None, "holds no result of a run"),
        ("{", r"result\.json names no picture \(JSONDecodeError\)"),
        ("[]", "names no picture"),
        ('{"status": "failed"}', "names no picture"),
        ('{"picture": {"file": null}}', "names no picture"),
    ],
)
def test_folder_without_a_result_is_named(
    canvas: Canvas, tmp_path: Path, record: str | None, said: str
) -> None:
    if record is not None:
        (tmp_path / "result.json").write_text(record)
    with pytest.raises(nst.InputError, match=rf"^init\.folder: .*{tmp_path.name}.*{said}"):
        inits.result(canvas, folder=str(tmp_path))


@pytest.mark.parametrize("make", [optimizers.adam, optimizers.lbfgs])
def test_optimizers_find_the_minimum_of_a_quadratic(make: optimizers.OptimizerFactory) -> None:
    goal = torch.tensor([1.0, -2.0, 0.5])
    x = torch.zeros(3, requires_grad=True)
    optimizer = make([x])
    calls = 0

    def closure() -> torch.Tensor:
        nonlocal calls
        calls += 1
        optimizer.zero_grad()
        loss = (torch.tensor([1.0, 10.0, 3.0]) * (x - goal) ** 2).sum()
        loss.backward()
        return loss

    for _ in range(200):
        optimizer.step(closure)
    torch.testing.assert_close(x.detach(), goal, atol=1e-3, rtol=0)
    assert calls >= 200


def test_lbfgs_options_reach_the_optimizer() -> None:
    x = torch.zeros(2, requires_grad=True)
    optimizer = optimizers.lbfgs([x], lr=0.5, max_iter=7, history_size=9)
    group = optimizer.param_groups[0]
    assert (group["lr"], group["max_iter"], group["history_size"]) == (0.5, 7, 9)
    assert (group["first_step"], group["initial_scale"]) == (0.75, 2.0)


@pytest.mark.parametrize(
    ("name", "value"), [("max_step_rms", 0.1), ("first_step", 0.75), ("initial_scale", 2.0)]
)
def test_lbfgs_of_torch_has_no_steps_but_its_own(name: str, value: float) -> None:
    with pytest.raises(nst.InputError, match=f"optimizer.*{name}.*optimizer=lbfgs"):
        optimizers.lbfgs_torch([torch.zeros(2, requires_grad=True)], **{name: value})


def test_what_makes_no_optimizer_is_refused() -> None:
    pictures = xor_picture(), checker_picture()
    with pytest.raises(nst.InputError, match="optimizer: must make a torch optimizer, not 3"):
        stylize(*pictures, size=32, weights="random", optimizer=lambda _: 3)
    with pytest.raises(nst.InputError, match=r"optimizer: must be a function .* not 'adam'"):
        stylize(*pictures, size=32, weights="random", optimizer="adam")


def test_init_that_is_no_function_is_refused() -> None:
    pictures = xor_picture(), checker_picture()
    with pytest.raises(nst.InputError, match=r"init: must be a function.* not 'random'"):
        stylize(*pictures, size=32, weights="random", init="random")


@pytest.mark.parametrize("name", ["lr", "max_step_rms", "first_step", "initial_scale"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf")])
def test_lbfgs_takes_no_length_that_is_none(name: str, value: float) -> None:
    with pytest.raises(nst.InputError, match=f"optimizer.{name} must be finite and greater"):
        optimizers.lbfgs([torch.zeros(2, requires_grad=True)], **{name: value})
