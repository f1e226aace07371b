"""Folder -> :class:`~nst.report.runs.Sweep`. Reads whatever is there; nothing is required."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml

from nst.errors import InputError
from nst.report import text
from nst.report.runs import Curve, Losses, PictureLosses, Run, Sweep
from nst.run.folder import record_of, run_folders

Number = TypeVar("Number", int, float)

# Overrides that say where a run goes or whether it is redone, not what it computes.
NOT_FACTORS = frozenset(
    {"name", "force", "metric", "resume", "checkpoint.every", "study", "study.question"}
)
STATUSES = frozenset({"ok", "failed", "interrupted"})


class ReportError(InputError):
    """The folder cannot be reported on; the message is one line for the user."""


def read_sweep(folder: Path) -> Sweep:
    """Read every run in ``folder``, at any depth.

    Raises:
        ReportError: ``folder`` is not a folder, cannot be listed or holds no run.
    """
    if not folder.is_dir():
        raise ReportError(f"{folder}: not a folder")
    runs = [_read_run(path, folder) for path in run_folders(folder)]
    if not runs:
        raise ReportError(f"{folder}: no runs here (no folder with .nst or .hydra in it)")
    factors = _factors(runs)
    names = {key: _names(levels) for key, levels in factors.items()}
    levelled = [
        replace(run, levels={key: shown[run.level(key)] for key, shown in names.items()})
        for run in runs
    ]
    factors = {key: tuple(shown.values()) for key, shown in names.items()}
    levelled.sort(
        key=lambda run: (
            [factors[key].index(run.levels[key]) for key in factors],
            natural(run.name),
        )
    )
    searched = (folder / "optimization_results.yaml").exists()
    return Sweep(folder, tuple(levelled), factors, _question(folder), searched)


def _question(folder: Path) -> str:
    """Return the question of the study that was last run in ``folder``, if it was one."""
    study = _mapping(_read_yaml(folder / "multirun.yaml")).get("study")
    return _text(_mapping(study).get("question"))


def natural(text: str) -> tuple[tuple[int, float, str], ...]:
    """Return a sort key that puts numbers in numeric order: ``9 < 10``, ``1e-3 < 0.1``."""
    try:
        number = float(text)
    except ValueError:
        parts = re.split(r"(\d+)", text)
        return tuple((0, float(p), "") if p.isdecimal() else (1, 0.0, p) for p in parts if p)
    return ((0, number, text),) if math.isfinite(number) else ((1, 0.0, text),)


def _factors(runs: Iterable[Run]) -> dict[str, tuple[str, ...]]:
    """Return the override keys whose value differs between runs, with sorted levels.

    A run whose overrides could not be read says nothing about what was swept.
    """
    readable = [run for run in runs if run.overrides is not None]
    keys = dict.fromkeys(key for run in readable for key in run.overrides or {})
    found = {}
    for key in keys:
        if key not in NOT_FACTORS and len({run.value(key) for run in readable}) > 1:
            found[key] = tuple(sorted({run.level(key) for run in runs}, key=natural))
    return found


def _names(levels: Sequence[str]) -> dict[str, str]:
    """Return what levels are called: of paths, as many last parts as tell them apart."""
    parts = {one: one.split("/") if text.is_file(one) else [one] for one in levels}
    for depth in range(1, max(map(len, parts.values())) + 1):
        names = {one: "/".join(found[-depth:]) for one, found in parts.items()}
        if len(set(names.values())) == len(names):
            break
    return names


def _read_run(folder: Path, sweep: Path) -> Run:
    hydra = record_of(folder)
    result, problem = _read_result(folder / "result.json")
    status = str(result.get("status"))
    if status not in STATUSES:
        status = "missing"
        problem = problem or "result.json has no known status"
    final, best = _losses(result.get("final")), _losses(result.get("best"))
    return Run(
        name=folder.resolve().name if folder == sweep else folder.relative_to(sweep).as_posix(),
        folder=folder,
        status=status,
        overrides=_overrides(_read_yaml(hydra / "overrides.yaml")),
        choices=_choices(_read_yaml(hydra / "hydra.yaml")),
        config=_mapping(_read_yaml(hydra / "config.yaml")),
        curve=read_curve(folder / "losses.jsonl"),
        stop_reason=_text(result.get("stop_reason")),
        error=_text(result.get("error")) or problem,
        yardstick=_numbers(result.get("yardstick")),
        picture=_picture(result.get("picture"), best or final),
        final=final,
        best=best,
        steps=_optional(result.get("steps"), int),
        evaluations=_cost(result, "evaluations"),
        seconds=_optional(result.get("seconds"), float),
        evaluations_per_second=_optional(result.get("evaluations_per_second"), float),
        size=_size(result.get("size")),
        seed=_optional(result.get("seed"), int),
        device=_text(result.get("device")),
        memory=_strings(result.get("memory")),
        weights=_strings(result.get("weights")),
        versions=_strings(result.get("versions")),
        picture_file=_in_folder(folder, _picture_file(result.get("picture"))),
        timelapse=_in_folder(folder, _text(result.get("timelapse"))),
    )


def _picture_file(value: object) -> str:
    """Return the name of the saved picture's file; an earlier version wrote that alone, or none."""
    found = value.get("file") if isinstance(value, Mapping) else value
    return _text(found) or "result.png"


def _in_folder(folder: Path, name: str) -> Path | None:
    """Return a file that ``result.json`` names, where it is in the run's folder."""
    path = folder / name
    return path if path.parent == folder and path.is_file() else None


def _read_result(path: Path) -> tuple[Mapping[str, Any], str]:
    """Return ``result.json`` and, where there is none to read, why."""
    try:
        return _mapping(json.loads(path.read_text(encoding="utf-8"))), ""
    except FileNotFoundError:
        return {}, "no result.json: the job did not reach its end"
    except (OSError, ValueError):
        return {}, "result.json cannot be read"


def _read_yaml(path: Path) -> object:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None  # a job killed early leaves half a file: the report goes on without it


def _overrides(loaded: object) -> dict[str, str] | None:
    if not isinstance(loaded, list):
        return None
    pairs = (str(line).split("=", 1) for line in loaded if "=" in str(line))
    return {key.lstrip("+").strip(): _unquote(value.strip()) for key, value in pairs}


def _unquote(value: str) -> str:
    """Return the text that Hydra and OmegaConf read of a value, see `nst.cli.grammar`."""
    quote = value[:1]
    if len(value) < 2 or quote not in ("'", '"') or value[-1] != quote:
        return value
    special = rf"(\\+)({quote}|\$\{{|\Z)"
    return re.sub(special, lambda found: "\\" * (len(found[1]) // 2) + found[2], value[1:-1])


def _choices(loaded: object) -> dict[str, str]:
    """Return the chosen option of each config group, as Hydra records it for the job."""
    runtime = _mapping(_mapping(_mapping(loaded).get("hydra")).get("runtime"))
    return _strings(runtime.get("choices"))


def read_curve(path: Path) -> Curve:
    """Read ``losses.jsonl``; lines that are cut or no loss row of the full size are skipped.

    Of rows with the same evaluation the last one counts: a resumed run redoes the
    evaluations after its checkpoint.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    rows: dict[int, Losses] = {}
    for line in lines:
        try:
            row = _losses(json.loads(line))
        except ValueError:
            continue
        if row is not None:
            rows[row.evaluation] = row
    ordered = [rows[evaluation] for evaluation in sorted(rows)]
    names = [entry.name for entry in fields(Curve)]
    return Curve(*(np.array([getattr(r, name) for r in ordered], float) for name in names))


def _losses(value: object) -> Losses | None:
    row = _mapping(value)
    if "evaluation" not in row or "total" not in row or _number(row.get("scale", 1)) != 1:
        return None
    return Losses(
        evaluation=_cost(row) or 0,
        seconds=_number(row.get("seconds")),
        layers=_numbers(row.get("layers")),
        **_terms(row),
    )


def _picture(value: object, evaluation: Losses | None) -> PictureLosses | None:
    """Return the losses of the saved picture, or else those of ``evaluation``.

    Earlier versions wrote the name of the picture's file alone, or nothing.
    """
    found = _mapping(value)
    if found:
        return PictureLosses(
            layers=_numbers(found.get("layers")),
            clipped=_optional(found.get("clipped"), float),
            measured=True,
            **_terms(found),
        )
    if evaluation is None:
        return None
    return PictureLosses(
        total=evaluation.total,
        content=evaluation.content,
        style=evaluation.style,
        tv=evaluation.tv,
        layers=evaluation.layers,
        clipped=None,
        measured=False,
    )


def _terms(record: Mapping[str, Any]) -> dict[str, float]:
    return {name: _number(record.get(name)) for name in ("total", "content", "style", "tv")}


def _cost(record: Mapping[str, Any], other: str = "evaluation") -> int | None:
    """Return the evaluations made, those in smaller sizes by their share of the pixels."""
    cost = _optional(record.get("cost", record.get(other)), float)
    return None if cost is None or not math.isfinite(cost) else math.ceil(cost - 1e-6)


def _number(value: object) -> float:
    """Return ``value`` as a float, NaN where it is none (JSON writers put null for NaN)."""
    number = _optional(value, float)
    return math.nan if number is None else number


def _numbers(value: object) -> dict[str, float]:
    return {str(k): _number(v) for k, v in _mapping(value).items()}


def _optional(value: object, kind: Callable[[Any], Number]) -> Number | None:
    try:
        return None if value is None else kind(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _size(value: object) -> tuple[int, int] | None:
    """Return (width, height) in pixels."""
    match value:
        case [int(width), int(height)]:
            return width, height
    return None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _strings(value: object) -> dict[str, str]:
    return {str(k): str(v) for k, v in _mapping(value).items() if v is not None}


def _text(value: object) -> str:
    return "" if value is None else " ".join(str(value).split())
