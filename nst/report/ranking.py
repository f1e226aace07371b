"""Which runs may be ranked against each other, and by what."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nst.report.runs import Run, Sweep

Aspect = Callable[[Run], str]

# Aspects that the fixed yardstick does not depend on.
OBJECTIVE = ("layers", "loss weights", "statistics")


@dataclass(frozen=True)
class Ranking:
    """A measure of a run's saved picture, lower is better.

    ``name`` says what it is, ``short`` the same in a word, for captions. ``score`` gives it
    (``None`` where the run has none); ``groups`` maps each run's name to a number: only runs
    with the same number may be ranked by it.
    """

    name: str
    short: str
    score: Callable[[Run], float | None]
    groups: Mapping[str, int]


@dataclass(frozen=True)
class Comparability:
    """How far the totals of a sweep's runs are one measure.

    ``groups`` numbers the runs by the objective they minimised; ``measured`` by what the fixed
    yardstick depends on, which leaves out ``OBJECTIVE``; ``differing`` names what
    differs between the objectives, with the values found.
    """

    groups: Mapping[str, int]
    measured: Mapping[str, int]
    differing: Mapping[str, tuple[str, ...]]


def pick(sweep: Sweep, comparability: Comparability) -> Ranking:
    """Return what the report ranks by.

    It is the picture's total by the run's own loss where all minimised the same objective. The
    range that an image was kept in while optimising (``gamut``) is no part of it. Where layers
    or loss weights were swept, it is the fixed measure that every run records of its picture,
    whatever it minimised; a run that lacks it has no score then.
    """
    objectives = len(set(comparability.groups.values()))
    if objectives == len(set(comparability.measured.values())):
        return Ranking("total loss", "total", picture_total, comparability.groups)
    if not any(balance(run) is not None for run in sweep.runs):
        return Ranking("total loss", "total", picture_total, comparability.groups)
    return Ranking(
        "balance (what is left of the distances to content and style, layers of Gatys et al.)",
        "balance",
        balance,
        comparability.measured,
    )


def picture_total(run: Run) -> float | None:
    """Return the total of the saved picture of a run that finished with a finite one."""
    return run.picture.total if run.ok and run.picture is not None else None


def balance(run: Run) -> float | None:
    """Return a finished run's balance, see ``nst.objective.yardstick``."""
    found = run.yardstick.get("balance") if run.ok else None
    return found if found is not None and math.isfinite(found) else None


def compare(sweep: Sweep) -> Comparability:
    """Group the runs by everything their total depends on besides the image."""
    columns = {name: _column(sweep, aspect) for name, aspect in ASPECTS.items()}
    fixed = {name: column for name, column in columns.items() if name not in OBJECTIVE}
    differing = {
        name: tuple(dict.fromkeys(column))
        for name, column in columns.items()
        if len(set(column)) > 1
    }
    return Comparability(_numbered(sweep, columns), _numbered(sweep, fixed), differing)


def _numbered(sweep: Sweep, columns: Mapping[str, list[str]]) -> dict[str, int]:
    """Number the runs by their values in all columns, in order of appearance."""
    keys = list(zip(*columns.values(), strict=True))
    order = list(dict.fromkeys(keys))
    return {run.name: order.index(key) for run, key in zip(sweep.runs, keys, strict=True)}


def _column(sweep: Sweep, aspect: Aspect) -> list[str]:
    """Return one aspect of every run.

    A run that recorded nothing (it failed early) is taken to be like the others, as far as
    these agree.
    """
    values = [aspect(run) for run in sweep.runs]
    known = {value for value in values if value}
    return [value or next(iter(known)) for value in values] if len(known) == 1 else values


def _network(run: Run) -> str:
    source, digest = run.weights.get("source", ""), run.weights.get("sha256", "")
    computes = map(run.weights.get, ("pooling", "pooling_scale", "padding", "input"))
    return " ".join(part for part in (source, digest[:12], *computes) if part)


def _size(run: Run) -> str:
    return "x".join(map(str, run.size)) if run.size else ""


def _layers(run: Run) -> str:
    """Return the taps and their weights, or where no configuration is left the taps seen."""
    measured = sorted(run.final.layers) if run.final else []
    return _configured(run, "layers") or ", ".join(measured)


def _configured(run: Run, *sections: str) -> str:
    """Return the run's configuration of ``sections`` and its overrides below them."""
    chosen = {key: run.config[key] for key in sections if key in run.config}
    swept = {key: val for key, val in run.levels.items() if key.split(".", 1)[0] in sections}
    if not chosen and not swept:
        return ""
    return json.dumps([chosen, swept], sort_keys=True, default=str)


# What says which pictures a run compares with, and how it takes them.
_PICTURES = (
    "content",
    "style",
    "style_weights",
    "style_scale",
    "style_size",
    "regions",
    "color",
    "resize",
)
ASPECTS: Mapping[str, Aspect] = {
    "network": _network,
    "image size": _size,
    "layers": _layers,
    "loss weights": lambda run: _configured(run, "loss"),
    "statistics": lambda run: _configured(run, "content_loss", "style_loss"),
    "pictures": lambda run: _configured(run, *_PICTURES),
}
