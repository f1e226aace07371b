"""``report.html``: one page, self-contained but for films, from the jinja2 template beside it."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from urllib.parse import quote

import jinja2

from nst.report import text
from nst.report.findings import Findings, RunFinding, SettingFinding, outcome
from nst.report.measures import Reach, Spread
from nst.report.observations import FEW, Observation
from nst.report.runs import Run, Sweep

TEMPLATE = "report.html.j2"
BADGES = {"holds": "yes", "does not hold": "no"}
BADGES |= {"not seen here": "open", "not testable here": "open"}


@dataclass(frozen=True)
class Field:
    """One cell of a table: its text, and its number where it sorts and aligns as one."""

    text: str
    key: float | None = None
    kind: str = "number"

    @property
    def sort(self) -> str:
        """Return the sort key as the page's script reads it; empty sorts last."""
        if self.kind == "number":
            return "" if self.key is None or math.isnan(self.key) else repr(self.key)
        return self.text


def render(sweep: Sweep, findings: Findings, comparison: bytes, losses: bytes) -> bytes:
    """Render the page; ``comparison`` and ``losses`` are the PNGs it shows."""
    source = resources.files(__package__).joinpath(TEMPLATE).read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.from_string(source).render(
        name=sweep.name,
        question=sweep.question,
        headline=findings.headline,
        outcomes=_outcomes(findings.counts),
        warnings=findings.warnings,
        observations=_observations(findings),
        effects=_effects(findings),
        ranked_by=findings.ranked_by,
        target=_target(findings),
        settings_head=_settings_head(sweep, findings),
        settings=[_setting(item, sweep, findings) for item in findings.settings],
        repeated=findings.repeated,
        runs_head=_runs_head(sweep),
        runs=[_run(run, findings.runs[run.name], sweep) for run in sweep.runs],
        comparison=base64.b64encode(comparison).decode(),
        timelapses=[_timelapse(run, sweep) for run in sweep.runs if run.timelapse],
        losses=base64.b64encode(losses).decode(),
        facts=_facts(sweep),
    )
    return page.encode()


def _outcomes(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """Return (status, words) for the line under the title, the successes first."""
    total = sum(counts.values())
    ordered = sorted(counts, key=lambda status: (status != "ok", status))
    found = [(status, f"{counts[status]} {status}") for status in ordered]
    return [("", f"{total} run{'' if total == 1 else 's'}"), *found]


def _observations(findings: Findings) -> list[dict[str, object]]:
    """Return the observations, none where the sweep has nothing to say on any of them."""
    tested = any(item.verdict != "not testable here" for item in findings.observations)
    return [_observation(item) for item in findings.observations] if tested else []


def _observation(item: Observation) -> dict[str, object]:
    return {
        "claim": item.claim,
        "verdict": item.verdict,
        "badge": BADGES[item.verdict],
        "evidence": item.evidence if len(item.evidence) <= FEW else item.evidence[:1],
        "details": item.evidence[1:] if len(item.evidence) > FEW else (),
    }


def _timelapse(run: Run, sweep: Sweep) -> dict[str, object]:
    """Return a film's address relative to the page: films are too large to be a part of it."""
    path = run.timelapse
    assert path is not None  # noqa: S101 - asked for those that have one
    levels = [f"{key}={text.level(run.levels[key])}" for key in sweep.factors]
    return {
        "address": quote(path.relative_to(sweep.folder).as_posix()),
        "video": path.suffix == ".mp4",
        "name": ", ".join(levels) or run.name,
    }


def _effects(findings: Findings) -> list[dict[str, object]]:
    return [
        {
            "factor": effect.factor,
            "pair": f"{text.level(effect.level)} / {text.level(effect.baseline)}",
            "ratios": [(name, text.times(ratio)) for name, ratio in effect.ratios.items()],
            "range": _range(list(effect.ratios.values())),
            "mean": text.times(effect.geometric_mean),
        }
        for effect in findings.effects
    ]


def _range(ratios: list[float]) -> str:
    """Sum up many ratios; nothing where there are few enough to be read."""
    if len(ratios) <= FEW:
        return ""
    return f"{text.times(min(ratios))} to {text.times(max(ratios))} in {len(ratios)} comparisons"


def _target(findings: Findings) -> str:
    """Return the convergence target, or nothing where runs have different ones."""
    targets = {found.target for found in findings.runs.values()}
    return text.number(targets.pop()) if len(targets) == 1 else ""


def _settings_head(sweep: Sweep, findings: Findings) -> list[tuple[str, bool]]:
    """Return (column title, whether it holds numbers)."""
    measure = findings.measure
    spread = ["runs", f"mean {measure}", "± std", "min", "max"] if findings.repeated else [measure]
    numbers = [*spread, "content", "style", "evals to target", "s to target"]
    numbers += ["share of rises", "largest jump", "seconds"]
    axes = [(axis, False) for axis in sweep.axes] or [("setting", False)]
    return axes + [(name, True) for name in numbers]


def _setting(item: SettingFinding, sweep: Sweep, findings: Findings) -> list[Field]:
    names = [Field(text.level(item.setting.levels[axis]), kind="text") for axis in sweep.axes]
    fields = names or [Field("all runs", kind="text")]
    if findings.repeated:
        fields += [_repeats(item), *_spread(item.score)]
    else:
        fields.append(_mean(item.score))
    fields += [_mean(item.content), _mean(item.style)]
    fields.append(Field(text.count(item.evaluations), item.evaluations))
    fields.append(_effort(item.seconds_to_target))
    fields.append(Field(text.percent(item.raised), item.raised))
    fields.append(Field(text.jump(item.jump), item.jump))
    fields.append(_mean(item.seconds))
    return fields


def _repeats(item: SettingFinding) -> Field:
    finished, total = len(item.setting.finished), len(item.setting.runs)
    return Field(str(total) if finished == total else f"{finished} of {total}", finished)


def _mean(found: Spread | None) -> Field:
    return _number(found.mean if found else None)


def _spread(found: Spread | None) -> list[Field]:
    if found is None:
        return [_number(None)] * 4
    std = Field(text.number(found.std, 2), found.std)
    return [_number(found.mean), std, _number(found.low), _number(found.high)]


def _number(value: float | None) -> Field:
    return Field(text.number(value), value)


def _effort(value: float | None) -> Field:
    return Field("never" if value is not None and math.isinf(value) else text.number(value), value)


def _runs_head(sweep: Sweep) -> list[tuple[str, bool]]:
    """Return (column title, whether it holds numbers)."""
    numbers = ["total", "content", "style", "clipped", "while optimising"]
    numbers += ["evals", "evals to target", "s to target"]
    numbers += ["share of rises", "largest jump", "seconds", "evals/s"]
    words = ["run"] if not sweep.factors else list(sweep.factors)
    return [*((name, False) for name in [*words, "outcome"]), *((name, True) for name in numbers)]


def _run(run: Run, finding: RunFinding, sweep: Sweep) -> list[Field]:
    names = [Field(text.level(run.levels[key]), kind="text") for key in sweep.factors]
    picture, steady = run.picture, finding.stability
    clipped = picture.clipped if picture else None
    raised, jump = (steady.raised, steady.jump) if steady else (None, None)
    return [
        *(names or [Field(run.name, kind="text")]),
        Field(outcome(run), kind=run.status),
        _number(picture.total if picture else None),
        _number(picture.content if picture else None),
        _number(picture.style if picture else None),
        Field(text.percent(clipped), clipped),
        _number(run.best.total if run.best else None),
        Field(text.count(run.evaluations), run.evaluations),
        *_reach(finding.reach, len(run.curve) > 0),
        Field(text.percent(raised), raised),
        Field(text.jump(jump), jump),
        _number(run.seconds),
        _number(run.evaluations_per_second),
    ]


def _reach(found: Reach | None, traced: bool) -> list[Field]:
    """Return evaluations and seconds to the target; a run without a curve cannot tell."""
    if found is None:
        return [Field("never" if traced else "-")] * 2
    return [Field(text.count(found.evaluations), found.evaluations), _number(found.seconds)]


def _facts(sweep: Sweep) -> list[tuple[str, str]]:
    """Return what the runs ran on, for the small print; several values are listed."""
    versions = sorted({name for run in sweep.runs for name in run.versions})
    facts = {
        "Network weights": [" ".join(_weight_facts(run)) for run in sweep.runs],
        "Image size": ["{} x {} px".format(*run.size) for run in sweep.runs if run.size],
        "Seed": [str(run.seed) for run in sweep.runs if run.seed is not None],
        "Device": [run.device for run in sweep.runs],
    }
    facts |= {name: [run.versions.get(name, "") for run in sweep.runs] for name in versions}
    listed = {name: list(dict.fromkeys(filter(None, found))) for name, found in facts.items()}
    return [(name, "; ".join(found)) for name, found in listed.items() if found]


def _weight_facts(run: Run) -> list[str]:
    found = run.weights
    digest, pooling = found.get("sha256", ""), found.get("pooling", "")
    parts = [found.get("source", ""), f"(sha256 {digest})" if digest else ""]
    parts.append(f"{pooling} pooling" if pooling else "")
    return [part for part in parts if part]
