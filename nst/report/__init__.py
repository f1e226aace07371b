"""Sweep folder -> ``summary.csv``, ``comparison.png``, ``losses.png``, ``report.html``.

The data flows ``scan -> runs -> findings -> table, curves, sheet, page``: only ``scan`` and
``thumbnails`` read files, only this module writes them, and everything between is pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from nst.files import atomic_write
from nst.report.curves import draw_losses
from nst.report.findings import Findings, find
from nst.report.fonts import fonts_for
from nst.report.page import render
from nst.report.runs import Run
from nst.report.scan import ReportError, read_sweep
from nst.report.sheet import draw_sheet
from nst.report.table import Row, rows_of, to_csv
from nst.run.folder import REPORT, Folder

__all__ = ["Report", "ReportError", "write_report"]


@dataclass(frozen=True)
class Report:
    """What a report says and where it was written.

    ``rows`` are those of ``summary.csv``, ``runs`` what was read, in the same order;
    ``factors`` maps each swept override key to its levels; ``files`` are the paths written.
    """

    folder: Path
    runs: tuple[Run, ...]
    rows: tuple[Row, ...]
    factors: Mapping[str, tuple[str, ...]]
    findings: Findings
    files: tuple[Path, ...]


def write_report(folder: Path) -> Report:
    """Report on the runs in ``folder`` and write the four files there.

    Missing and failed jobs are part of the report. Each file appears whole or not at all.

    Raises:
        ReportError: ``folder`` is not a folder or holds no run.
        InputError: a file of the same name is there that is not nst's.
        OSError: a file cannot be written.
    """
    sweep = read_sweep(folder)
    own = Folder(folder)
    for name in REPORT:
        own.check(folder / name)
    findings = find(sweep)
    rows = rows_of(sweep, findings)
    names = [sweep.title, *(run.name for run in sweep.runs), *chain(*sweep.factors.values())]
    with fonts_for(names):
        comparison = draw_sheet(sweep, sweep.title, findings.best, findings.measure)
        losses = draw_losses([item.setting for item in findings.settings], sweep.axes)
    page = render(sweep, findings, comparison, losses)
    files = tuple(folder / name for name in REPORT)
    for path, data in zip(files, (to_csv(rows), comparison, losses, page), strict=True):
        own.give_way(path)
        atomic_write(own.claim(path), data)
        own.seal(path)
    return Report(folder, sweep.runs, rows, sweep.factors, findings, files)
