"""Bad numbers: what is called bad, and what the two policies do about it."""

import json
import math
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

import nst
from nst.objective import Terms
from nst.optim.optimizers import adam
from nst.optim.schedules import Stage
from nst.run.guard import Guard
from nst.run.records import Row
from nst.run.trainer import Trainer
from support import TINY, Command, checker_picture, one_size, stylize, xor_picture


def row(total: float) -> Row:
    return Row(1, 1, 0.0, {"content": total, "style": 0.0, "tv": 0.0}, total, {}, 1.0, 1.0)


@pytest.mark.parametrize(
    ("total", "gradient", "kind"),
    [
        (1.0, 1.0, None),
        (math.nan, 1.0, "non_finite"),
        (math.inf, 1.0, "non_finite"),
        (1.0, math.nan, "non_finite"),
        (1.0, math.inf, "non_finite"),
        (20.0, 1.0, None),
        (20.1, 1.0, "blow_up"),
    ],
)
def test_what_is_bad(total: float, gradient: float, kind: str | None) -> None:
    fault = Guard(blow_up=10).check(row(total), gradient, best=row(2.0))
    assert (fault and fault.kind) == kind


def test_without_a_bound_any_finite_total_is_good() -> None:
    assert Guard().check(row(1e30), 1.0, best=row(1e-30)) is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"policy": "hope"}, "must be stop or recover"),
        ({"blow_up": 1.0}, "blow_up must be greater than 1"),
        ({"attempts": 0}, "attempts must be at least 1"),
    ],
)
def test_settings_out_of_range(given: dict, message: str) -> None:
    with pytest.raises(nst.InputError, match=message):
        Guard(**given)


def noisy(lr: float, guard: Guard) -> nst.Result:
    """L-BFGS without a line search from noise, whose first steps are guesses scaled by `lr`."""
    return stylize(
        xor_picture(),
        checker_picture(),
        size=32,
        weights="random",
        init=nst.inits.random,
        optimizer=partial(nst.lbfgs, lr=lr, max_step_rms=None),
        gamut=nst.gamuts.free,  # within a range no loss can explode
        parametrization=nst.pixel,
        budget=nst.Budget(evaluations=60),
        guard=guard,
    )


@pytest.mark.slow
def test_what_explodes_without_the_guard_recovers_with_it() -> None:
    exploded = noisy(8, Guard())
    assert (exploded.status, exploded.stop_reason) == ("failed", "non_finite")
    assert "step 1" in (exploded.error or "")
    assert max(row.total for row in exploded.losses) > 1e10 * exploded.losses[0].total

    stopped = noisy(8, Guard(blow_up=100))
    assert (stopped.status, stopped.stop_reason) == ("failed", "blow_up")

    recovered = noisy(8, Guard("recover", blow_up=100, attempts=8))
    assert recovered.status == "ok"
    assert 1 <= len(recovered.recoveries) <= 8
    assert [one.lr for one in recovered.recoveries] == [
        8 / 2**k for k in range(1, len(recovered.recoveries) + 1)
    ]
    assert recovered.best is not None
    assert recovered.best.total < 0.5 * recovered.losses[0].total


def poisoned(*bad: int):
    """Squared distance from 1, not a number at the evaluations named, in its gradient at others."""
    count = 0

    def objective(image: Tensor) -> Terms:
        nonlocal count
        count += 1
        loss = (image - 1).square().sum()
        if count in bad:
            # Finite itself, but sqrt has no slope at 0.
            loss = loss + (image.detach() - image).square().sum().sqrt()
        zero = loss.detach() * 0
        return Terms({"content": loss, "style": zero, "tv": zero}, loss, {})

    return objective


def test_gradient_that_is_not_finite_is_caught_and_recovered_from() -> None:
    budget, start = nst.Budget(evaluations=30), torch.zeros(1, 3, 4, 4)
    stopped = Trainer(one_size(poisoned(4), start), start, adam, budget).run()
    assert stopped.stop_reason == "non_finite"
    assert stopped.error == (
        "the gradient is not finite at evaluation 4 (step 4): a smaller learning rate or "
        "guard=recover may help"
    )
    guard = Guard("recover", attempts=2)
    outcome = Trainer(one_size(poisoned(4, 7), start), start, adam, budget, guard=guard).run()
    assert outcome.status == "ok"
    assert [(one.evaluation, one.lr) for one in outcome.recoveries] == [(4, 0.05), (7, 0.025)]
    assert [row.evaluation for row in outcome.rows] == [n for n in range(1, 31) if n not in (4, 7)]
    assert torch.isfinite(outcome.last_image).all()


@pytest.mark.parametrize("guard", [Guard(), Guard("recover")])
def test_bad_numbers_at_once_have_nothing_to_do_with_the_learning_rate(guard: Guard) -> None:
    budget, start = nst.Budget(evaluations=30), torch.zeros(1, 3, 4, 4)
    outcome = Trainer(one_size(poisoned(1), start), start, adam, budget, guard=guard).run()
    assert outcome.status == "failed"
    assert outcome.error == "the gradient is not finite at evaluation 1 (step 1)"


def test_recovery_in_the_last_step_ends_the_run() -> None:
    guard, start = Guard("recover", attempts=2), torch.zeros(1, 3, 4, 4)
    budget = nst.Budget(steps=4)
    run = Trainer(one_size(poisoned(4), start), start, adam, budget, guard=guard)
    outcome = run.run()
    assert (outcome.stop_reason, outcome.steps, len(outcome.recoveries)) == ("steps", 4, 1)


def test_recoveries_are_used_up() -> None:
    guard, start = Guard("recover", attempts=2), torch.zeros(1, 3, 4, 4)
    budget = nst.Budget(evaluations=30)
    run = Trainer(one_size(poisoned(4, 7, 9), start), start, adam, budget, guard=guard)
    outcome = run.run()
    assert (outcome.status, len(outcome.recoveries)) == ("failed", 2)
    assert "after 2 recoveries" in (outcome.error or "")


def test_stage_whose_last_evaluation_is_bad_ends_after_the_next_one() -> None:
    start = torch.zeros(1, 3, 4, 4)
    stages = [
        Stage(lambda: poisoned(5), (4, 4), 0.5, 5, 0.25),
        Stage(lambda: poisoned(), (8, 8)),
    ]
    budget, guard = nst.Budget(evaluations=4), Guard("recover")
    outcome = Trainer(stages, start, adam, budget, guard=guard).run()
    assert outcome.status == "ok"
    assert [row.scale for row in outcome.rows] == [0.5] * 5 + [1.0] * 3
    assert [row.evaluation for row in outcome.rows] == [1, 2, 3, 4, 6, 7, 8, 9]


def test_run_that_went_wrong_goes_on_with_another_guard(
    nst_command: Command, tmp_path: Path
) -> None:
    wild = ["optimizer.lr=8", "optimizer.max_iter=3", "optimizer.max_step_rms=null", "init=random"]
    wild += ["optimizer.first_step=null", "optimizer.initial_scale=1"]
    free = ["parametrization=pixel", "gamut=free", "loss=reference", "checkpoint.every=1"]
    limits = ["guard.blow_up=100", "budget.evaluations=20"]
    done = nst_command(*TINY, *wild, *free, *limits, "hydra.run.dir=y")
    assert done.returncode == 1
    assert "times the best one" in done.stderr
    done = nst_command("resume=y", "guard=recover")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "y/result.json").read_text())
    assert (found["status"], found["evaluations"]) == ("ok", 20)
    assert found["recoveries"]
