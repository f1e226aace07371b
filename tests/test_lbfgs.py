"""L-BFGS in matrix form against torch's two-loop recursion."""

import warnings
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from nst.optim import history, lbfgs
from nst.optim.lbfgs import LBFGS


def rosenbrock(x: Tensor) -> Tensor:
    """A curved valley in many dimensions, with its minimum, 0, at ones."""
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def losses(
    make: Callable[..., Optimizer], steps: int, parts: int = 1, **options: Any
) -> list[float]:
    """Of all evaluations, from the same start in float64."""
    start = torch.randn(60, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    variables = [part.clone().requires_grad_() for part in start.chunk(parts)]
    optimizer = make(variables, **options)
    found: list[float] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = rosenbrock(torch.cat(variables))
        loss.backward()
        found.append(loss.item())
        return loss

    for _ in range(steps):
        optimizer.step(closure)
    return found


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lr": 0.5, "max_iter": 7},
        {"history_size": 3},  # the ring goes round several times
        {"history_size": 1, "max_iter": 1},
    ],
)
@pytest.mark.parametrize("parts", [1, 4])
@pytest.mark.parametrize("one_by_one", [False, True], ids=["products", "rows one by one"])
def test_evaluations_are_those_of_torch(
    options: dict[str, Any], parts: int, *, one_by_one: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if one_by_one:
        monkeypatch.setattr(history, "_LONG", 0)
    # Without a line search rounding errors grow; 1e-12 after a step or two, 1e-6 after four.
    expected = losses(torch.optim.LBFGS, 2, parts, **options)
    assert len(expected) == 2 * options.get("max_iter", 20)
    assert losses(LBFGS, 2, parts, **options) == pytest.approx(expected, rel=1e-8)


def stepped(optimizer: LBFGS, x: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Make a step of Rosenbrock's function; where it was evaluated, and the gradients there."""
    seen: list[tuple[Tensor, Tensor]] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = rosenbrock(x)
        loss.backward()
        assert x.grad is not None
        seen.append((x.detach().clone(), x.grad.clone()))
        return loss

    optimizer.step(closure)
    return seen


def test_it_converges_and_then_stands_still() -> None:
    found = losses(LBFGS, 40)
    assert found[-1] < 1e-8
    x = torch.ones(5, requires_grad=True)
    seen = stepped(LBFGS([x]), x)
    assert torch.equal(x, torch.ones(5))
    assert len(seen) <= 3  # of 20


def test_pairs_without_curvature_are_left_out_as_in_torch() -> None:
    def path(make: Callable[..., Optimizer]) -> list[float]:
        x = torch.tensor([2.0, -1.5], dtype=torch.float64, requires_grad=True)
        optimizer, points = make([x], lr=0.1, max_iter=12), []

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = torch.cos(x).sum() + 0.01 * x.square().sum()  # concave here and there
            loss.backward()
            points.append(loss.item())
            return loss

        for _ in range(3):
            optimizer.step(closure)
        return points

    assert path(LBFGS) == pytest.approx(path(torch.optim.LBFGS), rel=1e-9)


@pytest.mark.parametrize("history_size", [3, 100])
def test_state_before_a_step_survives_it(history_size: int) -> None:
    x = torch.linspace(-1, 2, 30, dtype=torch.float64).requires_grad_()
    optimizer = LBFGS([x], max_iter=4, history_size=history_size)

    def closure(variable: Tensor, owner: LBFGS) -> Callable[[], Tensor]:
        def evaluate() -> Tensor:
            owner.zero_grad()
            loss = rosenbrock(variable)
            loss.backward()
            return loss

        return evaluate

    for _ in range(5):
        optimizer.step(closure(x, optimizer))
    state, values = optimizer.state_dict(), x.detach().clone()
    pairs = [pair.clone() for pair in state["state"][0]["old_stps"]]
    scalars = {name: state["state"][0][name].clone() for name in ("d", "t", "prev_flat_grad")}
    optimizer.step(closure(x, optimizer))
    assert len(pairs) == min(history_size, 19)
    assert all(map(torch.equal, pairs, state["state"][0]["old_stps"]))
    state["state"][0].update(scalars)
    again = values.clone().requires_grad_()
    other = LBFGS([again], max_iter=4, history_size=history_size)
    other.load_state_dict(state)
    other.step(closure(again, other))
    assert torch.equal(again, x)


def test_steps_are_no_longer_than_their_bound() -> None:
    bound = 0.05
    points: list[Tensor] = []
    x = torch.linspace(-1, 2, 30, dtype=torch.float64).requires_grad_()
    optimizer = LBFGS([x], max_iter=30, max_step_rms=bound)

    def closure() -> Tensor:
        points.append(x.detach().clone())
        optimizer.zero_grad()
        loss = rosenbrock(x)
        loss.backward()
        return loss

    optimizer.step(closure)
    moves = [(b - a).square().mean().sqrt().item() for a, b in pairwise(points)]
    assert max(moves) == pytest.approx(bound, rel=1e-9)
    assert min(moves) < 0.5 * bound  # shorter ones are left as they are


def test_bound_that_no_step_reaches_changes_nothing() -> None:
    assert losses(LBFGS, 2, max_step_rms=1e3) == losses(LBFGS, 2)


def points_and_slopes(evaluations: int, **options: float) -> tuple[list[Tensor], list[Tensor]]:
    """Where evaluations were made, and the gradients there."""
    x = torch.linspace(-1, 2, 6, dtype=torch.float64).requires_grad_()
    seen = stepped(LBFGS([x], max_iter=evaluations, **options), x)
    return [point for point, _ in seen], [slope for _, slope in seen]


@pytest.mark.parametrize("lr", [1.0, 0.5])
def test_first_step_is_as_long_as_it_is_to_be(lr: float) -> None:
    points, slopes = points_and_slopes(2, first_step=0.3, lr=lr)
    step = points[1] - points[0]
    # To the first order the loss falls by this share of itself.
    falls = 0.3 * lr * rosenbrock(points[0]).item()
    assert -(step @ slopes[0]).item() == pytest.approx(falls, rel=1e-12)
    torch.testing.assert_close(step / step.norm(), -slopes[0] / slopes[0].norm())


def test_first_step_has_the_bound_of_the_others() -> None:
    points, _ = points_and_slopes(2, first_step=0.3, max_step_rms=0.01)
    step = points[1] - points[0]
    assert step.square().mean().sqrt().item() == pytest.approx(0.01, rel=1e-12)


def test_first_step_from_the_minimum_goes_nowhere() -> None:
    x = torch.ones(5, requires_grad=True)
    stepped(LBFGS([x], first_step=0.75, max_step_rms=0.1), x)
    assert torch.equal(x, torch.ones(5))


def test_first_step_of_a_loss_below_zero_is_torchs() -> None:
    found = []
    for first_step in (0.75, None):
        x = torch.linspace(-1, 2, 6).requires_grad_()
        LBFGS([x], max_iter=1, first_step=first_step).step(partial(below_zero, x))
        found.append(x.detach())
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


def below_zero(x: Tensor) -> Tensor:
    loss = rosenbrock(x) - 1e6
    loss.backward()
    return loss


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_one_pair_corrects_a_multiple_of_the_identity(scale: float) -> None:
    points, slopes = points_and_slopes(3, initial_scale=scale)
    s, y = points[1] - points[0], slopes[1] - slopes[0]
    identity = torch.eye(len(s), dtype=s.dtype)
    left = identity - torch.outer(s, y) / (s @ y)
    start = scale * (s @ y) / (y @ y) * identity
    inverse = left @ start @ left.T + torch.outer(s, s) / (s @ y)
    torch.testing.assert_close(points[2], points[1] - inverse @ slopes[1])


def test_history_in_bfloat16_finds_the_same_minimum() -> None:
    found = losses(LBFGS, 60, history_dtype=torch.bfloat16)
    assert found[-1] < 1e-9


class Waits(TorchDispatchMode):
    """Counts what makes the host wait for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = str(func)
        self.count += "_local_scalar_dense" in name or "is_nonzero" in name or "nonzero" in name
        return func(*args, **(kwargs or {}))


def test_the_host_looks_at_one_number_an_evaluation_too_late_to_wait_for() -> None:
    x = torch.zeros(9, requires_grad=True)
    optimizer = LBFGS([x], max_iter=10)
    since: list[int] = []

    def closure() -> Tensor:
        since.append(waits.count)
        optimizer.zero_grad()
        loss = rosenbrock(x)
        loss.backward()
        return loss

    with Waits() as waits:
        optimizer.step(closure)
    assert len(since) == 10
    # Between two evaluations one flag, which the iteration before the last one left.
    assert since[:3] == [0, 0, 0]
    assert waits.count == len(since) - 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("max_step_rms", [None, 0.1])
def test_on_a_gpu_no_iteration_waits_for_it(max_step_rms: float | None) -> None:
    image = torch.zeros(1, 3, 16, 16, device="cuda", requires_grad=True)
    goal = torch.linspace(-1, 1, image.numel(), device="cuda").view_as(image)
    losses: list[Tensor] = []

    def closure() -> Tensor:
        image.grad = None
        loss = ((image - goal) ** 2 * (goal + 2)).mean()
        loss.backward()
        losses.append(loss.detach())
        return loss

    options = {"max_step_rms": max_step_rms, "first_step": max_step_rms}
    optimizer = LBFGS([image], history_size=3, max_iter=6, **options)
    optimizer.step(closure)  # libraries load what they need
    with warnings.catch_warnings():
        # It says of itself, once per process, that it is a prototype.
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype")
        torch.cuda.set_sync_debug_mode("error")
    try:
        optimizer.step(closure)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert losses[-1] < losses[0]


class Crossings(TorchDispatchMode):
    """Notes operations that take or leave something on the host."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        everything, _ = tree_flatten((args, kwargs, result))
        kinds = {one.device.type for one in everything if isinstance(one, Tensor)}
        # A fill takes its value along when it is launched.
        if len(kinds) > 1 and operation is not torch.ops.aten.fill_.Tensor:
            self.found.append(str(operation))
        return result


@pytest.mark.parametrize("kept", [None, torch.bfloat16])
def test_nothing_comes_from_the_host_in_a_gpus_step(
    kept: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Tensor] = []

    class NotSettled:
        def __init__(self, flag: Tensor) -> None:
            read.append(flag)

        def wait(self) -> bool:
            return False

    monkeypatch.setattr(lbfgs, "Readback", NotSettled)
    with FakeTensorMode():  # the GPU need not be there
        image = torch.zeros(1, 3, 8, 8, device="cuda", requires_grad=True)
        options = {"history_size": 3, "max_iter": 6, "max_step_rms": 0.1, "first_step": 0.1}
        optimizer = LBFGS([image], **options, history_dtype=kept)

        def closure() -> Tensor:
            image.grad = torch.ones_like(image)
            return torch.ones((), device="cuda")

        with Crossings() as crossings:
            for _ in range(2):
                optimizer.step(closure)
        assert image.device.type == "cuda"
    assert crossings.found == []
    assert len(read) == 10


def test_on_a_gpu_the_whole_ring_counts_whatever_the_budget() -> None:
    options = {"history_size": 100, "max_iter": 20}
    with FakeTensorMode():
        there, here = (LBFGS([torch.zeros(8, device=one)], **options) for one in ("cuda", "cpu"))
    assert there.vectors(5) == there.vectors(None) == here.vectors(None)
    assert here.vectors(5) == here.vectors(None) - 2 * (120 - 5)
