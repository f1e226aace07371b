"""Which runs may be ranked against each other, and by what."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nst.report.runs import Run, Sweep

Aspect = Callable[[Run], str]


@dataclass(frozen=True)
class Yardstick:
    """A measure of a run's final image, lower is better.

    ``score`` gives it (``None`` where the run has none); ``groups`` maps each run's name to
    a number: only runs with the same number may be ranked by it.
    """

    name: str
    score: Callable[[Run], float | None]
    groups: Mapping[str, int]


@dataclass(frozen=True)
class Comparability:
    """How far the totals of a sweep's runs are one measure.

    ``groups`` numbers the runs by the objective they minimised; ``differing`` names what
    differs between the objectives, with the values found.
    """

    groups: Mapping[str, int]
    differing: Mapping[str, tuple[str, ...]]


def pick(comparability: Comparability) -> Yardstick:
    """Return the yardstick of the report: each run's own final total loss.

    A fixed yardstick (a measure recorded in every ``result.json``, the same whatever the
    run minimised) is chosen here: its ``score`` reads that measure, its ``groups`` put all
    runs that hold it in one group, and every ranking follows.
    """
    return Yardstick("total loss", final_total, comparability.groups)


def final_total(run: Run) -> float | None:
    """Return the final total of a run that finished with a finite one."""
    return run.final.total if run.ok and run.final is not None else None


def compare(sweep: Sweep) -> Comparability:
    """Group the runs by everything their total depends on besides the image."""
    columns = {name: _column(sweep, aspect) for name, aspect in ASPECTS.items()}
    keys = list(zip(*columns.values(), strict=True))
    order = list(dict.fromkeys(keys))
    groups = {run.name: order.index(key) for run, key in zip(sweep.runs, keys, strict=True)}
    differing = {
        name: tuple(dict.fromkeys(column))
        for name, column in columns.items()
        if len(set(column)) > 1
    }
    return Comparability(groups, differing)


def _column(sweep: Sweep, aspect: Aspect) -> list[str]:
    """Return one aspect of every run.

    A run that recorded nothing (it failed early) is taken to be like the others, as far as
    these agree.
    """
    values = [aspect(run) for run in sweep.runs]
    known = {value for value in values if value}
    return [value or next(iter(known)) for value in values] if len(known) == 1 else values


def _weights(run: Run) -> str:
    source, digest = run.weights.get("source", ""), run.weights.get("sha256", "")
    return " ".join(part for part in (source, digest[:12], run.weights.get("pooling")) if part)


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


ASPECTS: Mapping[str, Aspect] = {
    "network weights": _weights,
    "image size": _size,
    "layers": _layers,
    "loss weights": lambda run: _configured(run, "loss"),
    "pictures": lambda run: _configured(run, "content", "style", "resize"),
}
