"""What a reader must know before trusting the numbers."""

from __future__ import annotations

from nst.report.runs import Run, Sweep
from nst.report.yardstick import Comparability, Yardstick

UNEQUAL_BUDGETS = 1.1  # ratio of most to fewest evaluations from which it is worth a warning


def cautions(sweep: Sweep, comparability: Comparability, yardstick: Yardstick) -> tuple[str, ...]:
    """Return one sentence or two for each reason to read the findings with care."""
    found = [
        _differing(aspect, values, comparability, yardstick)
        for aspect, values in comparability.differing.items()
    ]
    found += _network(sweep) + _without_result(sweep) + _unequal_budgets(sweep)
    return tuple(found)


def _differing(
    aspect: str, values: tuple[str, ...], comparability: Comparability, yardstick: Yardstick
) -> str:
    shown = aspect in ("network weights", "image size")
    listed = f" ({'; '.join(value or 'unknown' for value in values)})" if shown else ""
    ranked = yardstick.groups == comparability.groups
    then = (
        "their totals are not comparable, and only runs that share them are ranked together"
        if ranked
        else f"their totals are not comparable, so they are ranked by {yardstick.name}"
    )
    return f"The runs used {len(values)} different {_plural(aspect)}{listed}: {then}."


def _plural(aspect: str) -> str:
    plurals = {"image size": "image sizes", "network weights": "sets of network weights"}
    plurals |= {"layers": "sets of layers", "loss weights": "sets of loss weights"}
    return plurals.get(aspect, f"sets of {aspect}")


def _network(sweep: Sweep) -> list[str]:
    sources = {run.weights.get("source") for run in sweep.runs}
    found = []
    if "random" in sources:
        found.append(
            "The network's filters are random, not trained on ImageNet: these results compare "
            "optimisation, and say little about the look of real style transfer."
        )
    if "embedded" in sources:
        found.append(
            "The network is the embedded one, trained on drawn textures: losses and pictures "
            "differ from those with ImageNet weights."
        )
    return found


def _without_result(sweep: Sweep) -> list[str]:
    lacking = [run for run in sweep.runs if not run.ok]
    if not lacking:
        return []
    kinds = ", ".join(f"{_kind(run)}: {run.name}" for run in lacking[:6])
    more = f" and {len(lacking) - 6} more" if len(lacking) > 6 else ""
    return [f"No final result from {len(lacking)} of {len(sweep.runs)} runs ({kinds}{more})."]


def _kind(run: Run) -> str:
    return "non-finite loss" if run.status == "ok" else run.status


def _unequal_budgets(sweep: Sweep) -> list[str]:
    spent = [run.evaluations for run in sweep.runs if run.ok and run.evaluations]
    if not spent or max(spent) / min(spent) < UNEQUAL_BUDGETS:
        return []
    return [
        f"The runs did not make the same number of evaluations ({min(spent):,} to "
        f"{max(spent):,}): final losses compare budgets as well as methods."
    ]
