"""Which tile of the contact sheet shows which run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nst.report.runs import SEED, Run, Sweep

Labels = tuple[str, ...]

MOST_COLUMNS = 8  # tiles in one line before the sheet is better wrapped or turned
SPARSEST = 0.6  # share of a grid's cells that must hold a run for the grid to be worth it
PLEASANT = 1.5  # columns per row of a sheet that fills a screen
TURNED = 0.5  # strain that a grid with its factors in another order must save to be worth it


@dataclass(frozen=True)
class Layout:
    """A grid of runs.

    ``rows`` and ``columns`` give the levels of ``row_axes`` and ``column_axes`` in order. A
    flat layout has no axes: its tiles just follow each other and carry their own labels.
    """

    row_axes: Labels
    column_axes: Labels
    rows: tuple[Labels, ...]
    columns: tuple[Labels, ...]
    cells: Mapping[tuple[int, int], Run]
    flat: bool = False

    @property
    def filled(self) -> float:
        """The share of cells with a run, in (0, 1]."""
        return len(self.cells) / (len(self.rows) * len(self.columns))

    @property
    def strain(self) -> float:
        """How far the grid is from a pleasant shape; 0 is best."""
        wide = max(0, len(self.columns) - MOST_COLUMNS)
        shape = math.log(len(self.columns) / len(self.rows) / PLEASANT)
        return round(abs(shape), 6) + wide  # rounded: of two equals the first is taken


def arrange(sweep: Sweep) -> Layout:
    """Lay out the runs of ``sweep``: factors as rows and columns where that gives a grid.

    One factor makes one row, two make rows and columns; seeds and further factors join
    either side, whichever shape is better. Where runs share their levels, where many
    combinations were not run or a row would be too long, the layout is flat; it has a row
    for each level of the first factor, where these are about equally long.
    """
    if not sweep.axes:
        return _flat(sweep)
    candidates = [_grid(sweep, rows, columns) for rows, columns in _splits(sweep)]
    found = [grid for grid in candidates if grid is not None and grid.filled >= SPARSEST]
    best = min(found, key=lambda grid: grid.strain + TURNED * _is_turned(grid, sweep), default=None)
    crowded = best is None or (len(sweep.axes) == 1 and len(best.columns) > MOST_COLUMNS)
    return _flat(sweep) if best is None or crowded else best


def _is_turned(grid: Layout, sweep: Sweep) -> bool:
    """Whether the first factor is not the one that the rows are of."""
    return len(sweep.axes) > 1 and grid.row_axes[0] != sweep.axes[0]


def _splits(sweep: Sweep) -> list[tuple[Labels, Labels]]:
    """Return the ways to put the factors on rows and columns, in their given order."""
    axes = sweep.axes
    seed = (SEED,) if SEED in sweep.factors else ()
    if len(axes) == 1:
        return [(seed, axes)]
    cuts = range(1, len(axes))
    found = [(axes[:cut], axes[cut:] + seed) for cut in cuts]
    if seed:
        found += [(axes[:cut] + seed, axes[cut:]) for cut in cuts] + [(axes, seed)]
    elif len(axes) == 2:
        found.append((axes[1:], axes[:1]))
    return found


def _grid(sweep: Sweep, row_axes: Labels, column_axes: Labels) -> Layout | None:
    """Place every run by its levels; ``None`` where two runs would share a cell."""
    places = [(_levels(run, row_axes), _levels(run, column_axes)) for run in sweep.runs]
    rows = _ordered(sweep, row_axes, [row for row, _ in places])
    columns = _ordered(sweep, column_axes, [column for _, column in places])
    cells = {
        (rows.index(row), columns.index(column)): run
        for (row, column), run in zip(places, sweep.runs, strict=True)
    }
    if len(cells) < len(sweep.runs):
        return None
    return Layout(row_axes, column_axes, rows, columns, cells)


def _levels(run: Run, axes: Labels) -> Labels:
    return tuple(run.levels[axis] for axis in axes)


def _ordered(sweep: Sweep, axes: Labels, found: Sequence[Labels]) -> tuple[Labels, ...]:
    def rank(levels: Labels) -> list[int]:
        return [sweep.factors[a].index(v) for a, v in zip(axes, levels, strict=True)]

    return tuple(sorted(set(found), key=rank))


def _flat(sweep: Sweep) -> Layout:
    count = len(sweep.runs)
    across = count if count <= 4 else min(MOST_COLUMNS, math.ceil(math.sqrt(count * PLEASANT)))
    wrapped = _in_lines([sweep.runs[start : start + across] for start in range(0, count, across)])
    if len(sweep.axes) < 2:
        return wrapped
    levels = sweep.factors[sweep.axes[0]]
    each = _in_lines(
        [[run for run in sweep.runs if run.levels[sweep.axes[0]] == level] for level in levels]
    )
    good = each.filled >= SPARSEST and 2 <= len(each.columns) <= MOST_COLUMNS
    return each if good else wrapped


def _in_lines(lines: Sequence[Sequence[Run]]) -> Layout:
    """Place runs line by line, without axes."""
    return Layout(
        row_axes=(),
        column_axes=(),
        rows=((),) * len(lines),
        columns=((),) * max(map(len, lines)),
        cells={
            (row, column): run for row, line in enumerate(lines) for column, run in enumerate(line)
        },
        flat=True,
    )
