"""What is computed from one run, or from the repetitions of one setting. Pure functions."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from nst.report.runs import Floats, Run
from nst.run.results import excess

NON_FINITE = "non_finite"  # the stop reason of a run whose loss was no longer finite


@dataclass(frozen=True)
class Reach:
    """When a run first had a total at or below a target: evaluations, optimisation seconds."""

    evaluations: int
    seconds: float


@dataclass(frozen=True)
class Stability:
    """How steadily a run's total fell.

    ``raised`` is the share in [0, 1] of evaluations whose total was above the one before;
    ``jump`` the largest ratio of a total to the one before it, 1 where none rose.
    """

    raised: float
    jump: float


@dataclass(frozen=True)
class Spread:
    """Mean, sample standard deviation (n - 1; ``None`` for one value), minimum, maximum."""

    n: int
    mean: float
    std: float | None
    low: float
    high: float


def spread(values: Iterable[float]) -> Spread | None:
    """Summarise ``values``; ``None`` where there are none."""
    found = list(values)
    if not found:
        return None
    std = statistics.stdev(found) if len(found) > 1 else None
    return Spread(len(found), statistics.fmean(found), std, min(found), max(found))


def mean(values: Sequence[float]) -> float | None:
    """Return the arithmetic mean, infinite where a value is; ``None`` for no values."""
    return sum(values) / len(values) if values else None


def geometric_mean(ratios: Sequence[float]) -> float | None:
    """Return the geometric mean of positive finite ``ratios``; ``None`` for no values."""
    return math.exp(statistics.fmean(map(math.log, ratios))) if ratios else None


def first_reach(run: Run, target: float | None) -> Reach | None:
    """Return when ``run`` first had a total at or below ``target``; ``None`` for never.

    A run without rows has no answer, nor has one that ended above its start: it may have passed
    the target, but did not converge to it.
    """
    if target is None or len(run.curve) == 0 or not improved(run):
        return None
    hits = np.flatnonzero(run.curve.total <= target)
    if not hits.size:
        return None
    first = int(hits[0])
    return Reach(int(run.curve.evaluation[first]), float(run.curve.seconds[first]))


def improved(run: Run) -> bool:
    """Whether the run ended at a finite total that is not above its first."""
    if run.stop_reason == NON_FINITE:
        return False
    last = run.final.total if run.final else run.curve.total[-1] if len(run.curve) else math.nan
    first = run.curve.total[0] if len(run.curve) else math.inf
    return bool(math.isfinite(last) and last <= first)


def target_total(runs: Iterable[Run]) -> float | None:
    """Return the final total of the worst run that finished, the target for convergence.

    It is of evaluations, as the curves are, not of saved pictures. Runs that ended above their
    start are left out while others remain: every run would reach such a total at its first
    evaluation.
    """
    finished = [run for run in runs if run.ok]
    chosen = [run for run in finished if improved(run)] or finished
    totals = [run.final.total for run in chosen if run.final]
    return max(filter(math.isfinite, totals), default=None)


def picture_excess(run: Run) -> float | None:
    """Return how many times the best evaluation's total the saved picture has.

    ``None`` where one of the two is unknown or the picture is as good, see
    `nst.run.results.excess`.
    """
    if run.picture is None or run.best is None:
        return None
    return excess(run.picture.total, run.best.total)


def stability(run: Run) -> Stability | None:
    """Measure how steadily the total fell; ``None`` for fewer than two evaluations.

    A step from a finite total to one that is not counts as a rise, its jump as infinite. The
    evaluation that stopped a run for a non-finite loss has no row and is counted too.
    """
    total = run.curve.total
    if run.stop_reason == NON_FINITE and np.isfinite(total).all():
        total = np.append(total, math.nan)
    if len(total) < 2:
        return None
    before, after = total[:-1], total[1:]
    lost = np.isfinite(before) & ~np.isfinite(after)
    rises = (after > before) | lost
    jump = math.inf if lost.any() else _largest_jump(before, after)
    return Stability(float(rises.mean()), jump)


def _largest_jump(before: Floats, after: Floats) -> float:
    usable = np.isfinite(before) & np.isfinite(after) & (before > 0)
    ratios = after[usable] / before[usable]
    return max(1.0, float(ratios.max())) if ratios.size else 1.0
