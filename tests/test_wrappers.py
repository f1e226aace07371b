"""Averages of iterates, schedules of the learning rate, moments carried to the next size."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import hydra
import pytest
import torch
import torch.nn.functional as F
import yaml
from hydra import initialize_config_dir
from omegaconf import DictConfig
from torch import Tensor
from torch.optim import lr_scheduler

import nst
from nst.cli import app, build
from nst.objective import Terms
from nst.optim import parametrizations
from nst.optim.optimizers import OptimizerFactory
from nst.optim.schedules import Scale, Stage
from nst.optim.wrappers import SchedulerFactory
from nst.pictures import images
from nst.run import checkpoint, evaluation, identity
from nst.run.guard import Guard
from nst.run.records import Outcome
from nst.run.trainer import Trainer
from support import Command, checker_picture, one_size, same_memory, stylize, xor_picture

GOAL = torch.linspace(-1, 1, 48).reshape(1, 3, 4, 4)
SLOPES = torch.linspace(1, 30, 48).reshape(GOAL.shape)


def quadratic(image: Tensor) -> Terms:
    """A bowl around GOAL in place of the network."""
    loss = ((image - GOAL) ** 2 * SLOPES).mean()
    return Terms({"content": loss}, loss, {"content/x": loss})


def halved(image: Tensor) -> Terms:
    """The same for an image of half the size."""
    return quadratic(F.interpolate(image, (4, 4)))


def closure_of(x: Tensor, optimizer: torch.optim.Optimizer):
    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (x * x).sum() / 2
        loss.backward()
        return loss

    return closure


SGD = partial(torch.optim.SGD, lr=0.25)
COSINE = partial(lr_scheduler.CosineAnnealingLR, T_max=5)
SCHEDULED = partial(nst.scheduled, optimizer=nst.adam, scheduler=COSINE)
MAKERS = {
    "averaged": partial(nst.averaged, optimizer=nst.adam, decay=0.8),
    "averaged lbfgs": partial(nst.averaged, optimizer=partial(nst.lbfgs, max_iter=3), decay=0.5),
    "averaged torch": partial(nst.averaged, optimizer=partial(nst.lbfgs_torch, max_iter=3)),
    "scheduled": SCHEDULED,
    "scheduled momentum": partial(SCHEDULED, optimizer=partial(SGD, momentum=0.9)),
    "averaged scheduled": partial(nst.averaged, optimizer=SCHEDULED),
    "scheduled averaged": partial(SCHEDULED, optimizer=partial(nst.averaged, optimizer=nst.adam)),
    "carried": partial(nst.adam, carry_over=True),
    "carried averaged scheduled": partial(
        nst.averaged, optimizer=partial(SCHEDULED, optimizer=partial(nst.adam, carry_over=True))
    ),
}


# --- Averages -------------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.99])
def test_average_of_a_geometric_sequence(decay: float) -> None:
    """With this loss each step multiplies the iterate by 0.75."""
    x = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
    start = x.detach().clone()
    optimizer = nst.averaged([x], optimizer=SGD, decay=decay)
    assert torch.equal(x, start)
    for count in range(1, 12):
        loss = optimizer.step(closure_of(x, optimizer))
        torch.testing.assert_close(loss, (start * 0.75 ** (count - 1)).square().sum() / 2)
        weights = [decay ** (count - k) for k in range(count + 1)]
        mean = sum(w * 0.75**k for k, w in enumerate(weights)) / sum(weights)
        torch.testing.assert_close(x.detach(), start * mean, rtol=1e-12, atol=0)
    # The same as a running value that is divided by what it lacks of a whole.
    value, accum = (1 - decay) * start, decay
    for count in range(1, 12):
        accum, value = accum * decay, decay * value + (1 - decay) * start * 0.75**count
    torch.testing.assert_close(x.detach(), value / (1 - accum), rtol=1e-12, atol=0)


def test_step_that_is_broken_off_leaves_the_average() -> None:
    x = torch.ones(3, requires_grad=True)
    optimizer = nst.averaged([x], optimizer=nst.adam)

    def fails() -> Tensor:
        raise KeyboardInterrupt

    for _ in range(3):
        before, state = x.detach().clone(), checkpoint.snapshot(optimizer.state_dict())
        with pytest.raises(KeyboardInterrupt):
            optimizer.step(fails)
        assert torch.equal(x, before)
        after = optimizer.state_dict()
        assert after["faded"] == state["faded"]
        assert torch.equal(after["iterates"][0], state["iterates"][0])
        optimizer.step(closure_of(x, optimizer))
        assert not torch.equal(x, before)


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_decay_out_of_range(decay: float) -> None:
    with pytest.raises(nst.InputError, match=r"^optimizer\.decay must be in \[0, 1\), not "):
        nst.averaged([torch.ones(1)], optimizer=nst.adam, decay=decay)


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("budget", [nst.Budget(evaluations=7), nst.Budget(steps=7)])
def test_what_a_run_leaves_is_the_average(
    monkeypatch: pytest.MonkeyPatch, ahead: bool, budget: nst.Budget
) -> None:
    monkeypatch.setattr(evaluation, "record", same_memory)
    seen: list[Tensor] = []

    def watched(image: Tensor) -> Terms:
        seen.append(image.detach().clone())
        return quadratic(image)

    start = torch.zeros_like(GOAL)
    make = partial(nst.averaged, optimizer=partial(nst.adam, lr=1.0), decay=0.8)
    outcome = Trainer(one_size(watched, start, ahead), start, make, budget).run()
    if not ahead:  # else the recording evaluates the start some more times
        iterates = list(seen)
        if budget.steps:  # the last step has moved on from what it evaluated
            plain = Trainer(one_size(quadratic, start), start, partial(nst.adam, lr=1.0), budget)
            iterates.append(plain.run().last_image)
        weights = [0.8 ** (len(iterates) - 1 - k) for k in range(len(iterates))]
        mean = sum(w * x for w, x in zip(weights, iterates, strict=True)) / sum(weights)
        torch.testing.assert_close(outcome.image, mean)
    assert torch.equal(outcome.image, outcome.last_image)
    assert outcome.best is not None
    assert quadratic(outcome.image).total.item() != pytest.approx(outcome.best.total)


def test_run_without_a_whole_step_leaves_its_start() -> None:
    start = torch.rand(1, 3, 4, 4)
    make = partial(nst.averaged, optimizer=nst.adam)
    outcome = Trainer(one_size(quadratic, start), start, make, nst.Budget(evaluations=1)).run()
    assert torch.equal(outcome.image, start)


def test_next_size_begins_with_the_average() -> None:
    make = partial(nst.averaged, optimizer=partial(nst.adam, lr=1.0), decay=0.8)
    first: list[Tensor] = []

    def watched(image: Tensor) -> Terms:
        first.append(image.detach().clone())
        return quadratic(image)

    start = torch.zeros(1, 3, 2, 2)
    alone = Trainer([Stage(lambda: halved, (2, 2))], start, make, nst.Budget(evaluations=5)).run()
    stages = [Stage(lambda: halved, (2, 2), 0.5, 5, 0.25), Stage(lambda: watched, (4, 4))]
    Trainer(stages, start, make, nst.Budget(evaluations=4)).run()
    expected = F.interpolate(alone.image, (4, 4), mode="bicubic", antialias=True)
    assert torch.equal(first[0], expected)


def test_recovery_begins_a_new_average_at_the_best_image() -> None:
    seen: list[Tensor] = []

    def poisoned(image: Tensor) -> Terms:
        seen.append(image.detach().clone())
        terms = quadratic(image)
        return Terms(terms.terms, terms.total * (float("nan") if len(seen) == 4 else 1), {})

    start = torch.zeros_like(GOAL)
    make = partial(nst.averaged, optimizer=partial(nst.adam, lr=0.4))
    given = {"guard": Guard("recover"), "budget": nst.Budget(evaluations=7)}
    outcome = Trainer(one_size(poisoned, start), start, make, **given).run()
    assert [one.lr for one in outcome.recoveries] == [0.2]
    best = min(outcome.rows[:3], key=lambda row: row.total).evaluation
    assert torch.equal(seen[4], seen[best - 1])
    weights = [0.99**2, 0.99, 1.0]
    mean = sum(w * x for w, x in zip(weights, seen[4:], strict=True)) / sum(weights)
    torch.testing.assert_close(outcome.image, mean)


@pytest.mark.parametrize("ahead", [False, True])
def test_run_that_failed_leaves_the_best_image(
    monkeypatch: pytest.MonkeyPatch, ahead: bool
) -> None:
    monkeypatch.setattr(evaluation, "record", same_memory)
    start = torch.zeros_like(GOAL)
    make = partial(nst.averaged, optimizer=partial(torch.optim.SGD, lr=1e12))
    stages = one_size(quadratic, start, ahead)
    outcome = Trainer(stages, start, make, nst.Budget(evaluations=90)).run()
    assert outcome.status == "failed"
    assert torch.equal(outcome.image, start)


# --- Schedules ------------------------------------------------------------------------------------

SCHEDULERS: dict[str, SchedulerFactory] = {
    "cosine": COSINE,
    "exponential": partial(lr_scheduler.ExponentialLR, gamma=0.9),
    "steps": partial(lr_scheduler.StepLR, step_size=2, gamma=0.5),
    "milestones": partial(lr_scheduler.MultiStepLR, milestones=[2, 4]),
    "linear": partial(lr_scheduler.LinearLR, total_iters=4),
    "polynomial": partial(lr_scheduler.PolynomialLR, total_iters=6),
    "restarts": partial(lr_scheduler.CosineAnnealingWarmRestarts, T_0=3),
    "one cycle": partial(lr_scheduler.OneCycleLR, max_lr=0.3, total_steps=9),
    "cyclic": partial(lr_scheduler.CyclicLR, base_lr=0.1, max_lr=0.3, step_size_up=2),
    "plateau": partial(lr_scheduler.ReduceLROnPlateau, patience=0, threshold=0.5),
    "lambda": partial(lr_scheduler.LambdaLR, lr_lambda=lambda n: 1 / (n + 1)),
}
MOMENTUM = partial(torch.optim.SGD, lr=0.2, momentum=0.5)


def rates(optimizer: torch.optim.Optimizer, x: Tensor, steps: int, after=lambda loss: None) -> list:
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        after(optimizer.step(closure_of(x, optimizer)))
    return found


@pytest.mark.parametrize("name", SCHEDULERS)
def test_rates_are_torchs(name: str) -> None:
    x, y = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    plain = MOMENTUM([x])
    scheduler = SCHEDULERS[name](plain)

    def after(loss: Tensor) -> None:
        scheduler.step(*([loss.detach()] if name == "plateau" else []))

    ours = nst.scheduled([y], optimizer=MOMENTUM, scheduler=SCHEDULERS[name])
    expected = rates(plain, x, 8, after)
    assert rates(ours, y, 8) == expected
    assert len(set(expected)) > 1
    assert torch.equal(x, y)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedule_goes_on_from_a_checkpoint(name: str, tmp_path: Path) -> None:
    x, y = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    make = partial(nst.scheduled, optimizer=MOMENTUM, scheduler=SCHEDULERS[name])
    whole, half = make([x]), make([y])
    expected = rates(whole, x, 7)
    rates(half, y, 3)
    checkpoint.save({"optimizer": half.state_dict()}, tmp_path / "c.pt")
    rest = make([y])
    rest.load_state_dict(checkpoint.load(tmp_path / "c.pt")["optimizer"])
    assert rates(rest, y, 4) == expected[3:]
    assert torch.equal(x, y)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_half_the_rate_stays_half_the_rate(name: str) -> None:
    """As where `guard=recover` makes a new optimizer, which goes on in the schedule."""
    x = torch.ones(2, requires_grad=True)
    make = partial(nst.scheduled, optimizer=MOMENTUM, scheduler=SCHEDULERS[name])
    plain = make([x])
    expected = rates(plain, x, 7)
    first = make([x])
    rates(first, x, 3)
    second = make([x])
    second.begin_again(first)
    for group, before in zip(second.param_groups, first.param_groups, strict=True):
        group["lr"] = 0.5 * before["lr"]
    with torch.no_grad():
        x.fill_(1.0)
    if name != "plateau":  # which goes by the losses
        assert rates(second, x, 4) == [0.5 * rate for rate in expected[3:]]
    else:
        assert max(rates(second, x, 4)) == 0.5 * first.param_groups[0]["lr"]


def test_recovery_halves_what_the_schedule_gives() -> None:
    used: list[float] = []
    count = 0

    def poisoned(image: Tensor) -> Terms:
        nonlocal count
        count += 1
        used.append(run.state.optimizer.param_groups[0]["lr"])
        terms = quadratic(image)
        return Terms(terms.terms, terms.total * (float("nan") if count == 3 else 1), {})

    start = torch.zeros_like(GOAL)
    make = partial(SCHEDULED, scheduler=SCHEDULERS["exponential"])
    budget, guard = nst.Budget(evaluations=6), Guard("recover")
    run = Trainer(one_size(poisoned, start), start, make, budget, guard=guard)
    run.run()
    # The step that was given up is made again.
    powers = [1, 0.9, 0.9**2, 0.5 * 0.9**2, 0.5 * 0.9**3, 0.5 * 0.9**4]
    assert used == pytest.approx([0.1 * power for power in powers])


def test_what_makes_no_scheduler_or_optimizer_is_refused() -> None:
    x = [torch.ones(1, requires_grad=True)]
    with pytest.raises(nst.InputError, match=r"^optimizer\.scheduler: must make a torch scheduler"):
        nst.scheduled(x, optimizer=nst.adam, scheduler=lambda made: None)
    with pytest.raises(nst.InputError, match=r"^optimizer\.optimizer: must make a torch optimizer"):
        nst.averaged(x, optimizer=lambda params: None)


# --- Moments --------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrapped", [False, True])
def test_moments_are_enlarged(wrapped: bool) -> None:
    make: OptimizerFactory = partial(nst.adam, carry_over=True)
    if wrapped:
        make = partial(nst.averaged, optimizer=partial(SCHEDULED, optimizer=make))
    small, large = (torch.rand(1, 3, s, s + 1, requires_grad=True) for s in (6, 13))
    before, after = make([small]), make([large])
    after.take_over(before)
    assert not after.state  # for there is nothing yet
    for _ in range(3):
        before.step(closure_of(small, before))
    after.take_over(before)
    old, new = before.state[small], after.state[large]
    assert new["step"] == 3
    for name, mode in (("exp_avg", "bicubic"), ("exp_avg_sq", "bilinear")):
        assert torch.equal(new[name], F.interpolate(old[name], (13, 14), mode=mode))
    assert (new["exp_avg_sq"] >= 0).all()
    for _ in range(2):
        after.step(closure_of(large, after))
    assert (old["step"], new["step"]) == (3, 5)


def test_moments_of_coefficients_are_refused_before_anything_is_optimised() -> None:
    with pytest.raises(nst.InputError, match=r"^optimizer\.carry_over needs parametrization=pixel"):
        run_of(partial(nst.adam, carry_over=True), parametrization=nst.fourier)


def test_a_pyramids_next_size_takes_them_over() -> None:
    start = torch.zeros(1, 3, 2, 2)
    stages = [Stage(lambda: halved, (2, 2), 0.5, 3, 0.25), Stage(lambda: quadratic, (4, 4))]
    counts = {}
    for carry_over in (False, True):
        make = partial(nst.adam, carry_over=carry_over)
        run = Trainer(stages, start, make, nst.Budget(steps=6))
        run.run()
        (moments,) = run.state.optimizer.state.values()
        counts[carry_over] = moments["step"].item()
    # The third evaluation ends the first size, before the step is made.
    assert counts == {False: 3, True: 5}


# --- Whole runs -----------------------------------------------------------------------------------

TINY = {"size": 32, "weights": "random", "device": "cpu", "parametrization": nst.pixel}
TINY |= {"content_layers": {"relu2_1": 1.0}, "style_layers": {"relu1_1": 1.0}}


def run_of(optimizer: OptimizerFactory, **options) -> nst.Result:
    given = {**TINY, "budget": nst.Budget(evaluations=12), "optimizer": optimizer, **options}
    return stylize(xor_picture(), checker_picture(), **given)


def outcome(make: OptimizerFactory, budget: nst.Budget, ahead: bool, **options) -> Trainer:
    stages = [
        Stage(lambda: halved, (2, 2), 0.5, 5, 0.25, recorded=ahead),
        Stage(lambda: quadratic, (4, 4), recorded=ahead),
    ]
    return Trainer(stages, torch.zeros(1, 3, 2, 2), make, budget, **options)


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("name", MAKERS)
def test_stopped_after_any_evaluation_a_run_goes_on_to_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, name: str, ahead: bool, tmp_path: Path
) -> None:
    monkeypatch.setattr(evaluation, "record", same_memory)
    given = {"make": MAKERS[name], "budget": nst.Budget(steps=8), "ahead": ahead}
    given["parametrization"] = parametrizations.pixel
    whole: Outcome = outcome(**given).run()
    assert {row.scale for row in whole.rows} == {0.5, 1.0}
    for last in range(1, len(whole.rows) + 1):
        path = tmp_path / f"{last}.pt"
        first = outcome(**given, checkpoint_path=path)
        first.stop_requested = lambda run=first, last=last: (
            "SIGTERM" if run.state.at.evaluation == last else None
        )
        assert first.run().status == "interrupted"
        rest = outcome(**given)
        rest.restore(path)
        found = rest.run()
        assert torch.equal(found.image, whole.image)
        assert torch.equal(found.last_image, whole.last_image)
        assert [row.total for row in found.rows] == [row.total for row in whole.rows]


def test_finished_run_gives_its_average_again(tmp_path: Path) -> None:
    given = {"make": MAKERS["averaged"], "budget": nst.Budget(evaluations=6), "ahead": False}
    path = tmp_path / "checkpoint.pt"
    whole = outcome(**given, checkpoint_path=path).run()
    again = outcome(**given)
    again.restore(path)
    assert torch.equal(again.run().image, whole.image)


def test_saved_picture_is_the_average_and_is_measured() -> None:
    """Steps so long that the iterates swing around what they average to."""
    adam = partial(nst.adam, lr=1.0)
    given = {"gamut": nst.gamuts.clip, "budget": nst.Budget(evaluations=25)}
    plain, mean = (
        run_of(optimizer, **given) for optimizer in (adam, partial(nst.averaged, optimizer=adam))
    )
    assert [row.total for row in mean.losses] == [row.total for row in plain.losses]
    assert mean.picture.tobytes() == mean.last_picture.tobytes()
    assert mean.picture.tobytes() != plain.picture.tobytes()
    # A run that starts from it measures the same.
    start = partial(run_of, nst.adam, init=lambda canvas: images.to_tensor(mean.picture, (26, 32)))
    again = start(budget=nst.Budget(evaluations=1), gamut=nst.gamuts.free)
    assert mean.picture_losses.total == pytest.approx(again.losses[0].total, rel=1e-4)


def test_identity_tells_wrappers_apart() -> None:
    def of(make: OptimizerFactory) -> dict:
        return identity.optimizer(make([torch.ones(1, 3, 2, 2, requires_grad=True)]))

    found = of(partial(nst.averaged, optimizer=SCHEDULED, decay=0.9))
    assert found["optimizer"] == "Averaged"
    assert found["optimizer.decay"] == 0.9
    assert found["optimizer.optimizer"] == "Scheduled"
    assert found["optimizer.optimizer.scheduler"] == "CosineAnnealingLR(T_max=5)"
    assert found["optimizer.optimizer.optimizer"] == "Adam"
    assert found["optimizer.optimizer.optimizer.lr"] == 0.1
    others = [
        partial(nst.averaged, optimizer=SCHEDULED, decay=0.8),
        partial(nst.averaged, optimizer=partial(SCHEDULED, optimizer=SGD), decay=0.9),
        partial(nst.averaged, optimizer=nst.adam, decay=0.9),
        partial(nst.averaged, optimizer=partial(nst.adam, carry_over=True), decay=0.9),
    ]
    assert len({json.dumps(of(one), default=str) for one in others} - {json.dumps(found)}) == 4
    first, second = (
        of(partial(SCHEDULED, scheduler=partial(lr_scheduler.LambdaLR, lr_lambda=function)))
        for function in (lambda n: 1.0, lambda n: 2.0)
    )
    assert "0x" not in json.dumps([first, second])


def test_run_goes_on_with_the_same_wrapper_alone(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    asked = iter([None] * 4 + ["SIGTERM"])
    make = partial(nst.averaged, optimizer=nst.adam)
    run_of(make, checkpoint=path, stop_requested=lambda: next(asked))
    with pytest.raises(nst.InputError, match=r"another optimizer\.decay \(0\.99 there, 0\.5 here"):
        run_of(partial(make, decay=0.5), resume=path)
    assert run_of(make, resume=path).picture.tobytes() == run_of(make).picture.tobytes()


# --- The command line -----------------------------------------------------------------------------

COMMAND = (
    *("size=32", "model.weights=embedded", "device=cpu", "budget.evaluations=8"),
    *(f"layers.style.relu{block}_1=0" for block in (3, 4, 5)),
    *("layers.content.relu4_2=0", "+layers.content.relu2_1=1", "output.image_every=null"),
)


@pytest.fixture
def compose() -> Iterator[Callable[..., DictConfig]]:
    """A config of `COMMAND` and more."""
    app.register()
    with initialize_config_dir(str(app.config_dir()), version_base="1.3"):
        yield lambda *overrides: hydra.compose("config", [*COMMAND, *overrides])


OF_TORCH = {
    "SGD": {"lr": 0.01, "momentum": 0.9},
    "RMSprop": {"lr": 0.02},
    "AdamW": {"lr": 0.1, "betas": [0.9, 0.99]},
    "NAdam": {"lr": 0.1},
}


@pytest.mark.parametrize("name", OF_TORCH)
def test_any_class_of_torch_lowers_the_loss_and_goes_on(
    compose: Callable[..., DictConfig], name: str, tmp_path: Path
) -> None:
    (tmp_path / "optimizer").mkdir()
    options = {"_target_": f"torch.optim.{name}", "_partial_": True, **OF_TORCH[name]}
    (tmp_path / "optimizer" / "mine.yaml").write_text(yaml.safe_dump(options))
    where = f"hydra.searchpath=[file://{tmp_path}]"
    config = compose(where, "optimizer=mine", "checkpoint.every=1")
    results = []
    for folder, end in (("whole", None), ("cut", 4)):
        (tmp_path / folder).mkdir()
        asked = iter([None] * (end or 99) + ["SIGTERM"])
        run = partial(build.run, config, tmp_path / folder, {})
        results.append(run(lambda asked=asked: next(asked)))
    assert results[1].status == "interrupted"
    results.append(run(lambda: None))
    whole, _, rest = results
    assert whole.losses[-1].total < whole.losses[0].total
    assert rest.start.rows
    assert rest.picture.tobytes() == whole.picture.tobytes()


def test_wrappers_by_name_in_a_sweep(nst_command: Command, tmp_path: Path) -> None:
    done = nst_command(
        *COMMAND,
        *("optimizer=averaged,scheduled", "optimizer.optimizer.lr=0.05,0.2", "name=s", "-m"),
        "budget.evaluations=3",
    )
    assert done.returncode == 0, done.stderr
    records = [json.loads(p.read_text()) for p in sorted(tmp_path.glob("outputs/s/*/result.json"))]
    assert [record["status"] for record in records] == ["ok"] * 4
    assert len({record["config_sha256"] for record in records}) == 4


def test_another_optimizer_within(compose: Callable[..., DictConfig], tmp_path: Path) -> None:
    config = compose("optimizer=averaged", "optimizer@optimizer.optimizer=lbfgs")
    assert config.optimizer.optimizer.history_size == "auto"
    assert build.run(config, tmp_path, {}, lambda: None).status == "ok"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["averaged", "decay=1"], r"^optimizer\.decay must be in \[0, 1\), not 1.0"),
        (["averaged", "optimizer.lr=0"], r"optimizer\.lr must be greater than 0"),
        (["scheduled", "scheduler.T_max=0"], "^optimizer: .*ZeroDivisionError"),
        (["scheduled", "scheduler._partial_=false"], "^optimizer: cannot be made"),
        (["adam", "carry_over=true"], r"^optimizer\.carry_over needs parametrization=pixel"),
    ],
)
def test_bad_value_is_named(
    compose: Callable[..., DictConfig], tmp_path: Path, arguments: list[str], said: str
) -> None:
    name, value = arguments
    config = compose(f"optimizer={name}", f"optimizer.{value}")
    with pytest.raises(nst.InputError, match=said):
        build.run(config, tmp_path, {}, lambda: None)


def test_bad_value_is_one_line(nst_command: Command) -> None:
    done = nst_command(*COMMAND, "optimizer=averaged", "optimizer.decay=1")
    assert done.returncode == 2, done.stderr
    assert done.stderr == "nst: optimizer.decay must be in [0, 1), not 1.0\n"


def test_pyramid_in_pixels_carries_moments_over() -> None:
    schedule = [Scale(0.5, 6), Scale(1.0, None)]
    found = run_of(
        partial(nst.averaged, optimizer=partial(nst.adam, carry_over=True)),
        size=64,
        schedule=schedule,
        budget=nst.Budget(evaluations=6),
    )
    assert found.status == "ok"
    assert found.losses[-1].total < found.losses[6].total
