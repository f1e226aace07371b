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
    combinations were not run or a row would be too long, the layout is flat.
    """
    if not sweep.axes:
        return _flat(sweep)
    candidates = [_grid(sweep, rows, columns) for rows, columns in _splits(sweep)]
    found = [grid for grid in candidates if grid is not None and grid.filled >= SPARSEST]
    best = min(found, key=lambda grid: grid.strain, default=None)
    crowded = best is None or (len(sweep.axes) == 1 and len(best.columns) > MOST_COLUMNS)
    return _flat(sweep) if best is None or crowded else best


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
    down = math.ceil(count / across)
    return Layout(
        row_axes=(),
        column_axes=(),
        rows=((),) * down,
        columns=((),) * across,
        cells={divmod(index, across): run for index, run in enumerate(sweep.runs)},
        flat=True,
    )
