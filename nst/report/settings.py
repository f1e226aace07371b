"""A setting: the runs that differ only in their seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nst.report import text
from nst.report.measures import mean
from nst.report.ranking import Ranking
from nst.report.runs import Run, Sweep


@dataclass(frozen=True)
class Setting:
    """One combination of levels, with every run that has it.

    ``group`` is the ranking's group, ``None`` where the runs are not all of one.
    ``scores`` are those of the finished runs.
    """

    levels: Mapping[str, str]
    runs: tuple[Run, ...]
    scores: tuple[float, ...]
    group: int | None

    @property
    def finished(self) -> tuple[Run, ...]:
        """The runs that ended with a picture of a finite total."""
        return tuple(run for run in self.runs if run.ok)

    @property
    def score(self) -> float | None:
        """The mean score, ``None`` where no run has one."""
        return mean(self.scores)

    def value(self, key: str) -> str:
        """Return the setting of ``key``, swept or not."""
        return self.levels.get(key) or self.runs[0].value(key)

    def context(self, factor: str) -> str:
        """Name the levels of the factors other than ``factor``."""
        return text.pairs({key: val for key, val in self.levels.items() if key != factor})


def settings_of(sweep: Sweep, ranking: Ranking) -> tuple[Setting, ...]:
    """Group the runs of ``sweep`` by their levels of everything but the seed."""
    grouped: dict[tuple[str, ...], list[Run]] = {}
    for run in sweep.runs:
        grouped.setdefault(tuple(run.levels[axis] for axis in sweep.axes), []).append(run)
    return tuple(
        _setting(dict(zip(sweep.axes, key, strict=True)), runs, ranking)
        for key, runs in grouped.items()
    )


def _setting(levels: Mapping[str, str], runs: list[Run], ranking: Ranking) -> Setting:
    groups = {ranking.groups[run.name] for run in runs}
    scores = tuple(score for run in runs if (score := ranking.score(run)) is not None)
    return Setting(levels, tuple(runs), scores, groups.pop() if len(groups) == 1 else None)
