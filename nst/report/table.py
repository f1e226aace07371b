"""Sweep and findings -> ``summary.csv``: one row per run."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from nst.report.findings import Findings, RunFinding
from nst.report.runs import Run, Sweep

Cell = str | int | float | None
Row = Mapping[str, Cell]


def rows_of(sweep: Sweep, findings: Findings) -> tuple[Row, ...]:
    """Return the row of every run; all rows have the same columns in the same order.

    Of the picture as saved are ``picture_total``, ``picture_content``, ``picture_style`` and
    ``picture_tv`` (weighted terms), ``clipped`` (the share in [0, 1] of its pixels that were
    clipped), ``fixed_content``, ``fixed_style`` and the layers' columns (unweighted terms),
    ``content_share`` and ``style_share`` (the fixed ones relative to the two pictures) and
    their sum, ``balance``. In a run whose picture was not measured, ``clipped`` is empty and
    the others are of the image of its best evaluation.

    Of the evaluations, and so of the image being optimised, are ``final_total``,
    ``best_total``, ``best_evaluation`` and the measures of convergence and stability:
    ``evaluations_to_target`` and ``seconds_to_target`` count up to the first total at or below
    ``target_total``, ``raised_share`` is in [0, 1] and ``largest_jump`` a ratio.

    Seconds are of optimisation. What a run does not have is ``None``, an empty cell.
    """
    layers = sorted({name for run in sweep.runs if run.picture for name in run.picture.layers})
    return tuple(_row(run, findings.runs[run.name], sweep, layers) for run in sweep.runs)


def to_csv(rows: Sequence[Row]) -> bytes:
    """Write ``rows`` as CSV with a header line; numbers keep full precision."""
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode()


def _row(run: Run, finding: RunFinding, sweep: Sweep, layers: Sequence[str]) -> Row:
    picture, final, best = run.picture, run.final, run.best
    reach, steady = finding.reach, finding.stability
    return {
        "run": run.name,
        **{key: run.level(key) for key in sweep.factors},
        "status": run.status,
        "stop_reason": run.stop_reason,
        "picture_total": picture.total if picture else None,
        "picture_content": picture.content if picture else None,
        "picture_style": picture.style if picture else None,
        "picture_tv": picture.tv if picture else None,
        "clipped": picture.clipped if picture else None,
        "final_total": final.total if final else None,
        "best_total": best.total if best else None,
        "best_evaluation": best.evaluation if best else None,
        "fixed_content": run.yardstick.get("content"),
        "fixed_style": run.yardstick.get("style"),
        "content_share": run.yardstick.get("content_share"),
        "style_share": run.yardstick.get("style_share"),
        "balance": run.yardstick.get("balance"),
        **{name: picture.layers.get(name) if picture else None for name in layers},
        "evaluations": run.evaluations,
        "steps": run.steps,
        "seconds": run.seconds,
        "evaluations_per_second": run.evaluations_per_second,
        "target_total": finding.target,
        "evaluations_to_target": reach.evaluations if reach else None,
        "seconds_to_target": reach.seconds if reach else None,
        "raised_share": steady.raised if steady else None,
        "largest_jump": steady.jump if steady else None,
        "weights": " ".join(filter(None, map(run.weights.get, ("source", "sha256")))),
        "error": run.error,
    }
