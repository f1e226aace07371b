"""Whether the five observations of the reference hold in this sweep, with the numbers.

They are those of a README on Gatys et al. (arXiv 1508.06576) with Adam and L-BFGS; they
need the factors ``optimizer`` (adam, lbfgs) and ``init`` (random, content).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from nst.report import text
from nst.report.measures import (
    Stability,
    first_reach,
    improved,
    mean,
    stability,
    target_total,
)
from nst.report.runs import Run
from nst.report.settings import Setting

Verdict = Literal["holds", "does not hold", "not seen here", "not testable here"]

# A loss that doubles from one evaluation to the next is called unstable here.
UNSTABLE_JUMP = 2.0
# From more comparisons than this on, their tally comes first.
FEW = 4


@dataclass(frozen=True)
class Observation:
    """One claim, its verdict and the numbers behind it.

    ``numbers`` maps each comparison's name to its figures, for programs; ``evidence`` says
    the same in words.
    """

    claim: str
    verdict: Verdict
    evidence: tuple[str, ...]
    numbers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Pair:
    """Two settings that differ in one factor only; ``first`` is the one claimed better."""

    name: str
    first: Setting
    second: Setting
    labels: tuple[str, str]


@dataclass(frozen=True)
class Tested:
    """One comparison: whether the claim holds in it, in words and in figures; or it is a tie."""

    name: str
    holds: bool
    words: str
    figures: Mapping[str, float]
    tied: bool


Test = Callable[[Pair], Tested | None]


def observe(settings: Sequence[Setting]) -> tuple[Observation, ...]:
    """Test the reference's five observations on ``settings``."""
    optimizers = _pairs(settings, "optimizer", "lbfgs", "adam")
    inits = _pairs(settings, "init", "content", "random")
    lbfgs_inits = [pair for pair in inits if pair.first.value("optimizer") == "lbfgs"]
    return (
        _judge(
            "L-BFGS converges faster than Adam and reaches a lower final loss.",
            [_test_both(pair) for pair in optimizers],
        ),
        _judge(
            "Starting from the content image makes L-BFGS more stable.",
            [_test_stability(pair) for pair in lbfgs_inits],
        ),
        _unstable_from_random(settings),
        _judge(
            "Starting from the content image speeds up convergence.",
            [_test_speed(pair) for pair in inits],
        ),
        _judge(
            "Starting from the content image leads to a lower final loss.",
            [_test_final(pair) for pair in inits],
        ),
    )


def _pairs(settings: Sequence[Setting], factor: str, better: str, other: str) -> list[Pair]:
    """Match the settings with ``factor`` at two levels, all else equal and comparable."""
    swept = [item for item in settings if factor in item.levels and item.group is not None]
    first = {(s.context(factor), s.group): s for s in swept if s.levels[factor] == better}
    second = {(s.context(factor), s.group): s for s in swept if s.levels[factor] == other}
    labels = (text.OPTIMIZERS.get(better, better), text.OPTIMIZERS.get(other, other))
    return [Pair(key[0], first[key], second[key], labels) for key in first if key in second]


def _judge(claim: str, tested: Sequence[Tested | None]) -> Observation:
    """Judge a claim: it holds where it does in every comparison that is no tie."""
    made = [test for test in tested if test is not None]
    if not made:
        need = "This sweep has no two finished settings to compare for it."
        return Observation(claim, "not testable here", (need,))
    decided = [test for test in made if not test.tied]
    holding = sum(test.holds for test in decided)
    mixed = 0 < holding < len(decided)
    evidence = tuple(_sentence(test, marked=mixed and not test.holds) for test in made)
    if mixed or len(made) > FEW:
        evidence = (_tally(holding, len(decided), len(made)), *evidence)
    verdict: Verdict = "holds" if holding == len(decided) else "does not hold"
    if not decided:
        verdict = "not seen here"
    return Observation(claim, verdict, evidence, {test.name: test.figures for test in made})


def _tally(holding: int, decided: int, made: int) -> str:
    if not decided:
        return f"All {made} comparisons are ties."
    ties = made - decided
    tied = f"; {ties} {'is a tie' if ties == 1 else 'are ties'}" if ties else ""
    return f"It holds in {holding} of {decided} comparisons{tied}."


def _sentence(test: Tested, *, marked: bool) -> str:
    """Return what was found; a tie, and where it is ``marked`` what speaks against, named so."""
    sentence = f"{test.name}: {test.words}" if test.name else test.words
    if test.tied:
        return f"{sentence} (a tie)"
    return f"{sentence} (it does not hold here)" if marked else sentence


def _test_final(pair: Pair) -> Tested | None:
    first, second = pair.first.score, pair.second.score
    if first is None or second is None:
        return None
    ratio = second / first if first > 0 else math.inf
    better, other = pair.labels
    words = (
        f"{better} ended at {text.number(first)}, {_lower(ratio)} than {other} "
        f"({text.number(second)})"
        if first != second
        else f"{better} and {other} both ended at {text.number(first)}"
    )
    return Tested(pair.name, first < second, words, {"final_ratio": ratio}, first == second)


def _test_speed(pair: Pair) -> Tested | None:
    """Compare the evaluations both need to the total of the worse one's last evaluation."""
    target = target_total([*pair.first.finished, *pair.second.finished])
    first, second = _effort(pair.first, target), _effort(pair.second, target)
    if first is None or second is None:
        return None
    efforts = [f"{name} {_spent(e)}" for name, e in zip(pair.labels, (first, second), strict=True)]
    words = f"to reach {text.number(target)} while optimising, {efforts[0]}, {efforts[1]}"
    figures = {"first_evaluations": first[0], "second_evaluations": second[0]}
    figures |= {"first_seconds": first[1], "second_seconds": second[1]}
    return Tested(pair.name, first[0] < second[0], words, figures, first[0] == second[0])


def _effort(setting: Setting, target: float | None) -> tuple[float, float] | None:
    """Return mean evaluations and seconds to ``target``, infinite where a run never came."""
    reached = [first_reach(run, target) for run in setting.finished if len(run.curve)]
    evaluations = mean([reach.evaluations if reach else math.inf for reach in reached])
    seconds = mean([reach.seconds if reach else math.inf for reach in reached])
    return None if evaluations is None or seconds is None else (evaluations, seconds)


def _spent(effort: tuple[float, float]) -> str:
    evaluations, seconds = effort
    if math.isinf(evaluations):
        return "never came"
    return f"took {text.evaluations(evaluations)} ({text.seconds(seconds)})"


def _test_both(pair: Pair) -> Tested | None:
    final, speed = _test_final(pair), _test_speed(pair)
    if final is None or speed is None:
        return None
    words, figures = f"{final.words}; {speed.words}", {**final.figures, **speed.figures}
    holds, tied = final.holds and speed.holds, final.tied and speed.tied
    return Tested(pair.name, holds, words, figures, tied)


def _test_stability(pair: Pair) -> Tested | None:
    """More stable: the smaller largest jump, or with equal jumps fewer rises.

    The jump decides, because many rises by a hundredth are wobble, one rise a hundredfold is not.
    """
    first, second = _steadiness(pair.first), _steadiness(pair.second)
    if first is None or second is None:
        return None
    one, two = (first.jump, first.raised), (second.jump, second.raised)
    better, other = pair.labels
    words = (
        f"from {better} the largest jump of the loss was {text.jump(first.jump)} (it rose in "
        f"{text.percent(first.raised)} of evaluations), from {other} {text.jump(second.jump)} "
        f"({text.percent(second.raised)})"
    )
    figures = {"first_raised": first.raised, "second_raised": second.raised}
    figures |= {"first_jump": first.jump, "second_jump": second.jump}
    return Tested(pair.name, one < two, words, figures, one == two)


def _steadiness(setting: Setting) -> Stability | None:
    """Return mean share of rises and largest jump over all runs of a setting."""
    found = [steady for run in setting.runs if (steady := stability(run))]
    raised = mean([steady.raised for steady in found])
    return None if raised is None else Stability(raised, max(s.jump for s in found))


def _unstable_from_random(settings: Sequence[Setting]) -> Observation:
    claim = "Starting from noise, L-BFGS can be unstable."
    runs = [
        run
        for item in settings
        if item.value("optimizer") == "lbfgs" and item.value("init") == "random"
        for run in item.runs
        if stability(run)
    ]
    if not runs:
        need = "This sweep has no L-BFGS run from random with a loss curve."
        return Observation(claim, "not testable here", (need,))
    unstable = [run for run in runs if _is_unstable(run)]
    jump = max(steady.jump for run in runs if (steady := stability(run)))
    words = (
        f"Unstable runs: {len(unstable)} of {len(runs)} (while optimising, the loss was not "
        f"finite, ended above its start, or grew {UNSTABLE_JUMP:g} times or more in one "
        f"evaluation); largest jump {text.jump(jump)}."
    )
    numbers = {"": {"unstable": len(unstable), "runs": len(runs), "jump": jump}}
    # Runs that were stable say nothing against "can be".
    return Observation(claim, "holds" if unstable else "not seen here", (words,), numbers)


def _is_unstable(run: Run) -> bool:
    steady = stability(run)
    jumped = steady is not None and steady.jump >= UNSTABLE_JUMP
    return jumped or not improved(run)


def _lower(ratio: float) -> str:
    if ratio >= 1:
        return f"{text.number(ratio)} times lower"
    return f"{text.number(1 / ratio) if ratio > 0 else text.number(math.inf)} times higher"
