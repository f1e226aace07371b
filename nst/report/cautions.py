"""What a reader must know before trusting the numbers."""

from __future__ import annotations

from nst.report import text
from nst.report.measures import picture_excess
from nst.report.ranking import Comparability, Ranking
from nst.report.runs import Run, Sweep
from nst.run.results import loss_of_saving

UNEQUAL_BUDGETS = 1.1  # ratio of most to fewest evaluations from which it is worth a warning


def cautions(sweep: Sweep, comparability: Comparability, ranking: Ranking) -> tuple[str, ...]:
    """Return one sentence or two for each reason to read the findings with care."""
    found = _differing(comparability, ranking)
    found += _network(sweep) + _without_result(sweep) + _unequal_budgets(sweep)
    found += _unequal_histories(sweep) + _unmeasured(sweep) + _worse_pictures(sweep)
    return tuple(found)


def _differing(comparability: Comparability, ranking: Ranking) -> list[str]:
    if not comparability.differing:
        return []
    used = text.listed([_values(*item) for item in comparability.differing.items()])
    then = f"so they are ranked by {ranking.name}"
    if ranking.groups == comparability.groups:
        then = "and only runs that share them are ranked together"
    elif len(set(ranking.groups.values())) > 1:
        then += ", each among those of the same pictures, size and network"
    return [f"The runs used {used}: their totals are not comparable, {then}."]


def _values(aspect: str, values: tuple[str, ...]) -> str:
    shown = aspect in ("network", "image size")
    listed = f" ({'; '.join(value or 'unknown' for value in values)})" if shown else ""
    return f"{len(values)} different {_plural(aspect)}{listed}"


def _plural(aspect: str) -> str:
    plurals = {"image size": "image sizes", "network": "networks"}
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
    kinds = "; ".join(f"{_kind(run)}: {run.name}" for run in lacking[:6])
    more = f" and {len(lacking) - 6} more" if len(lacking) > 6 else ""
    return [f"No final result from {len(lacking)} of {len(sweep.runs)} runs ({kinds}{more})."]


def _kind(run: Run) -> str:
    if run.status == "ok":
        return "non-finite loss"
    return f"{run.status} ({run.error})" if run.error else run.status


def _unequal_budgets(sweep: Sweep) -> list[str]:
    spent = [run.evaluations for run in sweep.runs if run.ok and run.evaluations]
    if not spent or max(spent) / min(spent) < UNEQUAL_BUDGETS:
        return []
    return [
        f"The runs did not make the same number of evaluations ({min(spent):,} to "
        f"{max(spent):,}): their losses compare budgets as well as methods."
    ]


def _unequal_histories(sweep: Sweep) -> list[str]:
    """Say where memory, and no setting, decided how much L-BFGS keeps."""
    found = []
    for run in sweep.runs:
        size, precision = (run.memory.get(f"history_{name}", "") for name in ("size", "precision"))
        automatic = run.value("optimizer.history_size") == "auto"
        if run.ok and run.evaluations and automatic and size.isdecimal():
            found.append((int(size), run.evaluations, precision))
    kept = {(min(size, evaluations), precision) for size, evaluations, precision in found}
    most = max((size for size, _, _ in found), default=0)
    # A short run needs no more than it has evaluations.
    cut = any(size < min(most, evaluations) for size, evaluations, _ in found)
    if len(kept) < 2 or not cut:
        return []
    pairs = text.listed([f"{size} ({precision})" for size, precision in sorted(kept)])
    return [
        f"L-BFGS kept as many pairs as memory had room for, {pairs} in different runs: their "
        "losses compare that as well. optimizer.history_size sets a number for all."
    ]


def _unmeasured(sweep: Sweep) -> list[str]:
    found = [run.name for run in sweep.runs if run.picture and not run.picture.measured]
    if not found:
        return []
    if len(found) == 1:
        return [
            f"The saved picture of {found[0]} was not measured, because an earlier version of nst "
            "made it: the run counts by its best evaluation."
        ]
    return [
        f"The saved pictures of {len(found)} of {len(sweep.runs)} runs were not measured, because "
        "an earlier version of nst made them: these runs count by their best evaluations."
    ]


def _worse_pictures(sweep: Sweep) -> list[str]:
    found = [(run, factor) for run in sweep.runs if (factor := picture_excess(run)) is not None]
    if not found:
        return []
    worst, factor = max(found, key=lambda pair: pair[1])
    times = f"{text.number(factor)} times the loss"
    cause = loss_of_saving(worst.config, worst.picture.clipped if worst.picture else None)
    if len(found) == 1:
        return [
            f"The saved picture of {worst.name} has {times} of the image that was optimised: "
            f"{cause}."
        ]
    return [
        f"The saved pictures of {len(found)} of {len(sweep.runs)} runs have up to {times} of the "
        f"images that were optimised; the factor is largest for {worst.name}: {cause}."
    ]
