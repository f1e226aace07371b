"""One evaluation, and its CUDA graph: on a CPU with a stand-in for the graph, on a GPU with one."""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NoReturn

import pytest
import torch
from torch import Tensor

from nst import gamuts
from nst.network.vgg import VGG
from nst.network.weights import Weights
from nst.objective import Objective, transfer
from nst.optim import parametrizations
from nst.optim.lbfgs import LBFGS
from nst.run import evaluation
from nst.run.devices import tf32
from nst.run.evaluation import Evaluated, Evaluation
from support import same_memory

CONTENT, STYLE = {"relu2_1": 1.0}, {"relu1_1": 1.0, "relu2_1": 0.5}
KINDS = {
    "pixel": parametrizations.pixel,
    "fourier": parametrizations.fourier,
    "pixel_srgb": gamuts.srgb(parametrizations.pixel),
    "fourier_srgb": gamuts.srgb(parametrizations.fourier),
    "pixel_clip": gamuts.clip(parametrizations.pixel),
    "fourier_clip": gamuts.clip(parametrizations.fourier),
}


def small_objective(weights: Weights, device: str = "cpu", **options) -> Objective:
    generator = torch.Generator().manual_seed(2)
    content, style = (torch.randn(1, 3, 24, 32, generator=generator).to(device) for _ in range(2))
    network = VGG(weights.tensors, [*CONTENT, *STYLE]).to(device)
    return transfer(network, content, style, content_layers=CONTENT, style_layers=STYLE, **options)


def start(device: str = "cpu") -> Tensor:
    return torch.randn(1, 3, 24, 32, generator=torch.Generator().manual_seed(1)).to(device)


@pytest.mark.parametrize("parametrization", KINDS.values(), ids=KINDS)
def test_numbers_and_gradients_are_the_objectives(weights: Weights, parametrization) -> None:
    objective, image = small_objective(weights, tv_weight=2.0), parametrization(start())
    found = Evaluation(image, objective)()
    leaf = image().detach().clone().requires_grad_()
    terms = objective(leaf)
    terms.total.backward()
    assert torch.equal(found.image, leaf.detach())
    assert found.layers == tuple(terms.layers)
    named = [terms.content, terms.style, terms.tv, terms.total]
    steepest = found.gradients[0].abs().max()
    expected = torch.stack([*named, steepest, *terms.layers.values()])
    torch.testing.assert_close(found.numbers, expected)
    # The chain rule, through whatever the image is made of.
    (expected_gradient,) = torch.autograd.grad(image(), image.variables, leaf.grad)
    torch.testing.assert_close(found.gradients[0], expected_gradient)
    assert image.variables[0].grad is found.gradients[0]


def minimised(image, evaluate: Evaluation, make=LBFGS, steps: int = 3) -> list[list[float]]:
    rows: list[list[float]] = []

    def closure() -> Tensor:
        found = evaluate()
        rows.append(found.numbers.tolist())
        return found.total

    optimizer = make(image.variables)
    for _ in range(steps):
        optimizer.step(closure)
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("make", [LBFGS, torch.optim.LBFGS, torch.optim.Adam])
@pytest.mark.parametrize("parametrization", KINDS.values(), ids=KINDS)
def test_replayed_run_is_that_of_single_launches(
    weights: Weights, monkeypatch: pytest.MonkeyPatch, parametrization, make
) -> None:
    monkeypatch.setattr(evaluation, "record", same_memory)
    rows = []
    for recorded in (False, True):
        image = parametrization(start())
        evaluate = Evaluation(image, small_objective(weights), recorded=recorded)
        rows.append(minimised(image, evaluate, make))
    assert len(rows[0]) >= 3
    assert rows[0][-1][3] < rows[0][0][3]
    assert rows[0] == rows[1]


def no_graph(run: Callable[[], Evaluated], device: torch.device) -> NoReturn:
    raise RuntimeError("operation not permitted when stream is capturing\nmore lines")


def wrong_graph(
    run: Callable[[], Evaluated], device: torch.device
) -> tuple[Callable[[], Evaluated], Tensor]:
    found = run()
    wrong = replace(found, numbers=found.numbers * 1.01)
    return lambda: wrong, found.numbers


@pytest.mark.parametrize(
    ("graph", "reason"),
    [(no_graph, "operation not permitted when stream is capturing"), (wrong_graph, "it gives [")],
)
def test_without_a_graph_that_can_be_trusted_kernels_are_launched_one_by_one(
    weights: Weights,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    graph,
    reason: str,
) -> None:
    monkeypatch.setattr(evaluation, "record", graph)
    image, plain = parametrizations.pixel(start()), parametrizations.pixel(start())
    with caplog.at_level(logging.WARNING):
        rows = minimised(image, Evaluation(image, small_objective(weights), recorded=True))
    assert rows == minimised(plain, Evaluation(plain, small_objective(weights)))
    (message,) = caplog.messages  # said once, not at every evaluation
    assert message.startswith(f"No CUDA graph: {reason}")
    assert "\n" not in message


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_recordings_leave_no_memory_in_use(weights: Weights) -> None:
    left = []
    for _ in range(3):
        image = parametrizations.pixel(start("cuda"))
        Evaluation(image, small_objective(weights, "cuda"), recorded=True)()
        del image
        left.append(torch.cuda.memory_allocated())
    assert left[0] == left[1] == left[2]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("parametrization", KINDS.values(), ids=KINDS)
def test_graph_of_a_gpu(
    weights: Weights, caplog: pytest.LogCaptureFixture, parametrization, precision
) -> None:
    rows = []
    for recorded in (False, True):
        image = parametrization(start("cuda"))
        objective = small_objective(weights, "cuda", precision=precision)
        evaluate = Evaluation(image, objective, recorded=recorded)
        with tf32(False):  # as in a run
            rows.append(minimised(image, evaluate, partial(torch.optim.Adam, lr=0.05), steps=10))
    assert caplog.messages == []
    torch.testing.assert_close(torch.tensor(rows[0]), torch.tensor(rows[1]), rtol=1e-2, atol=1e-6)
