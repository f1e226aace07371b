"""Sweep -> findings: settings, effects of each factor, the headline. Pure functions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nst.report import text
from nst.report.cautions import cautions
from nst.report.measures import (
    Reach,
    Spread,
    Stability,
    first_reach,
    geometric_mean,
    mean,
    spread,
    stability,
    target_total,
)
from nst.report.observations import Observation, observe
from nst.report.ranking import OBJECTIVE, Comparability, Ranking, compare, pick
from nst.report.runs import Run, Sweep
from nst.report.settings import Setting, settings_of

# The scores by the levels of a factor, at each combination of the other factors' levels, which have
# a name, in each group of the ranking.
Contexts = dict[tuple[str, int], dict[str, float]]


@dataclass(frozen=True)
class RunFinding:
    """Convergence and stability of one run, against the target of its group."""

    target: float | None
    reach: Reach | None
    stability: Stability | None


@dataclass(frozen=True)
class SettingFinding:
    """One setting over its repetitions.

    ``score`` (the ranking), ``content`` and ``style`` are of the saved pictures of the runs
    that finished, ``seconds`` of these runs. ``evaluations`` and ``seconds_to_target`` are
    means over them, infinite where one never reached the target while optimising. ``raised``
    is the mean, ``jump`` the largest of all runs.
    """

    setting: Setting
    score: Spread | None
    content: Spread | None
    style: Spread | None
    seconds: Spread | None
    evaluations: float | None
    seconds_to_target: float | None
    raised: float | None
    jump: float | None


@dataclass(frozen=True)
class Effect:
    """Score of ``level`` over score of ``baseline`` for one factor.

    ``ratios`` holds the ratio at each combination of the other factors (its name, the
    ratio of mean scores); the baseline is the level with the lowest scores.
    """

    factor: str
    level: str
    baseline: str
    ratios: Mapping[str, float]
    geometric_mean: float | None


@dataclass(frozen=True)
class Findings:
    """Everything the report concludes from the runs; ``best`` names the lowest-scoring one."""

    ranked_by: str
    measure: str
    headline: str
    best: str | None
    counts: Mapping[str, int]
    warnings: tuple[str, ...]
    runs: Mapping[str, RunFinding]
    settings: tuple[SettingFinding, ...]
    effects: tuple[Effect, ...]
    observations: tuple[Observation, ...]
    repeated: bool


def find(sweep: Sweep) -> Findings:
    """Compute the findings of ``sweep``."""
    comparability = compare(sweep)
    ranking = pick(sweep, comparability)
    settings = settings_of(sweep, ranking)
    per_run = _run_findings(sweep, comparability)
    per_setting = tuple(_setting_finding(item, per_run) for item in settings)
    return Findings(
        ranked_by=ranking.name,
        measure=ranking.short,
        headline=headline(per_setting, ranking, comparability, sweep.of_taste),
        best=None if sweep.of_taste else _best_run(sweep, ranking),
        counts=dict(Counter(run.status for run in sweep.runs)),
        warnings=cautions(sweep, comparability, ranking),
        runs=per_run,
        settings=per_setting,
        effects=tuple(e for axis in sweep.axes for e in _effects(axis, settings)),
        observations=observe(settings),
        repeated=any(len(item.runs) > 1 for item in settings),
    )


def _run_findings(sweep: Sweep, comparability: Comparability) -> dict[str, RunFinding]:
    """Measure every run; the target is the worst final evaluation's among comparable runs."""
    groups = comparability.groups
    targets = {
        group: target_total(run for run in sweep.runs if groups[run.name] == group)
        for group in set(groups.values())
    }
    return {
        run.name: RunFinding(
            target=targets[groups[run.name]],
            reach=first_reach(run, targets[groups[run.name]]),
            stability=stability(run),
        )
        for run in sweep.runs
    }


def _setting_finding(setting: Setting, per_run: Mapping[str, RunFinding]) -> SettingFinding:
    pictures = [run.picture for run in setting.finished if run.picture]
    traced = [per_run[run.name].reach for run in setting.finished if len(run.curve)]
    steady = [found for run in setting.runs if (found := per_run[run.name].stability)]
    return SettingFinding(
        setting=setting,
        score=spread(setting.scores),
        content=spread(picture.content for picture in pictures),
        style=spread(picture.style for picture in pictures),
        seconds=spread(run.seconds for run in setting.finished if run.seconds is not None),
        evaluations=mean([reach.evaluations if reach else math.inf for reach in traced]),
        seconds_to_target=mean([reach.seconds if reach else math.inf for reach in traced]),
        raised=mean([found.raised for found in steady]),
        jump=max((found.jump for found in steady), default=None),
    )


def _effects(factor: str, settings: Sequence[Setting]) -> list[Effect]:
    """Compare the levels of ``factor`` with its best one, the other factors held fixed.

    Only scores of one group are compared; zero scores have no ratio and are left out. Where
    the other factors have levels of their own, such as two optimizers their learning rates,
    each has its best one.
    """
    contexts: Contexts = {}
    for item in settings:
        if item.group is not None and item.score is not None and item.score > 0:
            context = contexts.setdefault((item.context(factor), item.group), {})
            context[item.levels[factor]] = item.score
    return [effect for own in _sharing_levels(contexts) for effect in _compared(factor, own)]


def _sharing_levels(contexts: Contexts) -> list[Contexts]:
    """Part contexts that have no level in common, not even through others."""
    parts: list[Contexts] = []
    for key, context in contexts.items():
        joined: Contexts = {key: context}
        for part in [p for p in parts if any(context.keys() & c.keys() for c in p.values())]:
            joined = part | joined
            parts.remove(part)
        parts.append(joined)
    return parts


def _compared(factor: str, contexts: Contexts) -> list[Effect]:
    levels = list(dict.fromkeys(level for context in contexts.values() for level in context))
    baseline = _baseline(levels, list(contexts.values()))
    found = []
    for level in levels:
        if level != baseline:
            ratios = {
                name: context[level] / context[baseline]
                for (name, _), context in contexts.items()
                if level in context and baseline in context
            }
            found.append(
                Effect(factor, level, baseline, ratios, geometric_mean(list(ratios.values())))
            )
    return [effect for effect in found if effect.ratios]


def _baseline(levels: Sequence[str], contexts: Sequence[Mapping[str, float]]) -> str:
    """Return the level with the lowest geometric mean where all levels can be compared."""
    full = [context for context in contexts if len(context) == len(levels)] or list(contexts)

    def typical(level: str) -> float:
        return geometric_mean([c[level] for c in full if level in c]) or math.inf

    return min(levels, key=typical, default="")


def headline(
    settings: Sequence[SettingFinding],
    ranking: Ranking,
    comparability: Comparability,
    of_taste: bool,
) -> str:
    """Answer in a sentence which setting did best, by how much and in what time, if any did."""
    scored = [(item.score.mean, item) for item in settings if item.score is not None]
    if not scored:
        return "No run finished with a finite loss, so there is nothing to compare."
    if of_taste:
        return "How much style is a question of taste, so there is no winner here."
    groups = dict.fromkeys(item.setting.group for _, item in scored)
    if len(groups) > 1:
        by_total = ranking.groups == comparability.groups
        apart = [name for name in comparability.differing if by_total or name not in OBJECTIVE]
        return (
            f"The runs differ in {text.listed(apart)}, so there is no overall winner: compare only "
            f"those that share {'it' if len(apart) == 1 else 'them'}."
        )
    ranked = sorted(scored, key=lambda pair: pair[0])
    (lowest, best), (highest, worst) = ranked[0], ranked[-1]
    reached = f"{_score(best)}{_repeats(best)}{_cost(best)}"
    if best is worst:
        return f"{_subject(best)} ended at a {ranking.name} of {reached}."
    if lowest == highest:
        return f"All settings ended at the same {ranking.name}, {_score(best)}."
    sentence = f"{_subject(best)} reached the lowest {ranking.name}, {reached}"
    other = f"{text.setting(worst.setting.levels)} ({_score(worst)})"
    if lowest <= 0:
        return f"{sentence}; the highest is that of {other}."
    return f"{sentence}: {text.number(highest / lowest)} times lower than {other}."


def _best_run(sweep: Sweep, ranking: Ranking) -> str | None:
    """Return the run with the lowest score, where all can be ranked and are not all alike."""
    scores = {run.name: s for run in sweep.runs if (s := ranking.score(run)) is not None}
    one_group = len({ranking.groups[name] for name in scores}) == 1
    differing = len(set(scores.values())) > 1
    return min(scores, key=scores.__getitem__) if one_group and differing else None


def _subject(item: SettingFinding) -> str:
    name = text.setting(item.setting.levels)
    if not name:
        return "The run" if len(item.setting.runs) == 1 else "The runs"
    return name if "optimizer" in item.setting.levels else f"The setting {name}"


def _score(item: SettingFinding) -> str:
    found = item.score
    if found is None:
        return text.number(None)
    return text.plus_minus(found.mean, found.std or None)


def _repeats(item: SettingFinding) -> str:
    found = item.score
    if found is None or found.std is None:
        return ""
    if found.std == 0:  # the same run again, or seeds that nothing depends on
        return f" (the same in {found.n} runs)"
    return f" (mean ± standard deviation of {found.n} runs)"


def _cost(item: SettingFinding) -> str:
    runs = item.setting.finished
    spent = mean([run.evaluations for run in runs if run.evaluations is not None])
    parts = [] if spent is None else [text.evaluations(spent)]
    if item.seconds is not None:
        parts.append(text.seconds(item.seconds.mean))
    return f" after {' in '.join(parts)}" if parts else ""


def outcome(run: Run) -> str:
    """Return the status and, where it says more, the stop reason."""
    return f"{run.status} ({run.stop_reason})" if run.stop_reason else run.status
