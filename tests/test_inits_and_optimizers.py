"""Starting images, and the two optimizers behind one `step(closure)`."""

import pytest
import torch

from nst import inits
from nst.optim import optimizers
from nst.optim.inits import Canvas


@pytest.fixture
def canvas() -> Canvas:
    generator = torch.Generator().manual_seed(3)
    return Canvas(
        torch.randn(1, 3, 6, 8, generator=generator),
        torch.randn(1, 3, 5, 4, generator=generator),
        seed=7,
        load=lambda path: torch.full((1, 3, 6, 8), float(len(path))),
    )


def test_random_is_the_documented_draw(canvas: Canvas) -> None:
    expected = torch.randn((1, 3, 6, 8), generator=torch.Generator("cpu").manual_seed(7))
    assert torch.equal(inits.random(canvas), expected)
    assert torch.equal(inits.random(canvas, std=0.5), expected / 2)


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
