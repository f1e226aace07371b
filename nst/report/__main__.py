"""``python -m nst.report FOLDER``: write the report of a sweep and print its outcome."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from nst.errors import InputError
from nst.report import Report, text, write_report
from nst.report.findings import outcome

OK, BAD_INPUT = 0, 2
_DESCRIPTION = """\
Compare the runs of a folder, finished or not, and write into it:

  report.html     what was found, with the two pictures below; opens in any browser
  comparison.png  the pictures side by side
  losses.png      the curves
  summary.csv     one line per run: settings, losses, time

A sweep makes its report itself; this makes it anew, such as for a sweep that was cut short."""
_EPILOG = """\
exit codes:
  0  the report is written
  2  nothing there to report on, or not to be written; one line on stderr says why

example:
  python -m nst.report outputs/my_sweep"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0, or 2 for a folder it cannot report on."""
    parser = argparse.ArgumentParser(
        prog="python -m nst.report",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of a sweep, or of one run")
    folder = parser.parse_args(arguments).folder
    try:
        report = write_report(folder)
    except InputError as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(f"{error.filename or folder}: {error.strerror or error}")
    print(outcome_table(report))
    print()
    print(report.findings.headline)
    for path in report.files:
        print(path)
    return OK


def _refuse(problem: str) -> int:
    print(f"nst.report: error: {problem}", file=sys.stderr)
    return BAD_INPUT


def outcome_table(report: Report) -> str:
    """Return one line per run: its outcome, the picture's total, evaluations, seconds."""
    lines = [("run", "outcome", "total", "evaluations", "seconds")]
    lines += [
        (
            run.name,
            outcome(run),
            text.number(run.picture.total if run.picture else None),
            text.count(run.evaluations),
            text.number(run.seconds),
        )
        for run in report.runs
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_aligned(line, widths) for line in lines)


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    words = [cell.ljust(width) for cell, width in zip(line[:2], widths[:2], strict=True)]
    numbers = [cell.rjust(width) for cell, width in zip(line[2:], widths[2:], strict=True)]
    return "  ".join(words + numbers).rstrip()


if __name__ == "__main__":
    sys.exit(main())
