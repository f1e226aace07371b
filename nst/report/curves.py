"""``losses.png``: total, content and style against evaluations and against seconds."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from nst.report import text
from nst.report.runs import Curve, Floats, Run
from nst.report.settings import Setting

# Okabe and Ito (2008), distinguishable with any colour vision; its yellow is too pale here.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#000000")
Line = Literal["-", "--", "-.", ":"] | tuple[float, tuple[float, ...]]
LINES: tuple[Line, ...] = ("-", "--", "-.", ":", (0, (6, 1.5, 1, 1.5, 1, 1.5)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
Term = Literal["total", "content", "style"]
TERMS: tuple[Term, ...] = ("total", "content", "style")
Axis = Literal["evaluation", "seconds"]
AXES: Mapping[Axis, str] = {"evaluation": "evaluations", "seconds": "optimisation seconds"}
DPI = 120
HEADROOM = 30.0  # a diverging curve is drawn up to this multiple of the starting losses
FOOTROOM = 10.0  # and values below most of a curve down to this fraction of them
MARKS_PER_CURVE = 7
LEGEND_ROW = 0.24  # inches
# Factors that are told apart by colour and line, rather than by a number each.
_MOST_AXES = 8


@dataclass(frozen=True)
class Band:
    """A mean curve and its range over repetitions: arrays of one length."""

    x: Floats
    mean: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Look:
    """How one setting is drawn, the same in every panel."""

    label: str
    colour: str
    line: Line
    marker: str


def draw_losses(settings: Sequence[Setting], axes: Sequence[str]) -> bytes:
    """Draw the loss curves of ``settings`` as a PNG; ``axes`` are the swept factors.

    One line per setting; where it has several finished runs, their mean and min-max band.
    """
    shown = [item for item in settings if any(len(run.curve) for run in item.runs)]
    looks = _looks(shown, axes)
    columns = _legend_columns(looks)
    legend = LEGEND_ROW * (math.ceil(len(looks) / columns) + 1) + 0.25
    height = 9.0 + legend
    figure = Figure(figsize=(11.0, height), dpi=DPI)
    grid = figure.subplots(len(TERMS), len(AXES), sharex="col", sharey="row", squeeze=False)
    for row, term in enumerate(TERMS):
        for column, (axis, label) in enumerate(AXES.items()):
            panel = grid[row][column]
            for item, look in zip(shown, looks, strict=True):
                _draw(panel, item, look, axis, term)
            _dress(panel, term if column == 0 else "", label if row == len(TERMS) - 1 else "")
        _limit(grid[row][0], [run.curve for item in shown for run in item.runs], term)
        _mark_decades(grid[row][0])
    figure.subplots_adjust(
        left=0.08, right=0.985, top=1 - 0.2 / height, bottom=(0.55 + legend) / height,
        hspace=0.08, wspace=0.04,
    )  # fmt: skip
    if looks:
        repeated = any(len(_drawn(item)) > 1 for item in shown)
        note = " (mean and range over repetitions)" if repeated else ""
        _add_legend(figure, looks, columns, " / ".join(axes) + note, legend / height)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def band(runs: Sequence[Run], axis: Axis, term: Term) -> Band | None:
    """Return mean and range of ``term`` over ``runs``; ``None`` where nothing can be drawn.

    Runs are interpolated onto all their points and compared where every one has values.
    Values that a log scale cannot show (zero, negative, not finite) are left out.
    """
    lines = [_points(run.curve, axis, term) for run in runs]
    lines = [(x, y) for x, y in lines if len(x)]
    if not lines:
        return None
    if len(lines) == 1:
        (x, y) = lines[0]
        return Band(x, y, y, y)
    start, end = max(x[0] for x, _ in lines), min(x[-1] for x, _ in lines)
    grid = np.unique(np.concatenate([x for x, _ in lines]))
    grid = grid[(grid >= start) & (grid <= end)]
    if not len(grid):
        return None
    values = np.stack([np.interp(grid, x, y) for x, y in lines])
    return Band(grid, values.mean(axis=0), values.min(axis=0), values.max(axis=0))


def _points(curve: Curve, axis: Axis, term: Term) -> tuple[Floats, Floats]:
    x, y = getattr(curve, axis), getattr(curve, term)
    usable = np.isfinite(x) & np.isfinite(y) & (y > 0)
    return x[usable], y[usable]


def _draw(panel: Axes, item: Setting, look: Look, axis: Axis, term: Term) -> None:
    found = band(_drawn(item), axis, term)
    if found is None:
        return
    step = max(1, len(found.x) // MARKS_PER_CURVE)
    offset = sum(map(ord, look.label)) % step  # so that markers of close curves do not pile up
    panel.plot(
        found.x, found.mean, color=look.colour, linestyle=look.line, linewidth=1.5,
        marker=look.marker, markersize=4, markevery=(offset, step),
    )  # fmt: skip
    if (found.high > found.low).any():
        panel.fill_between(found.x, found.low, found.high, color=look.colour, alpha=0.18, lw=0)


def _drawn(item: Setting) -> Sequence[Run]:
    """Return the runs a setting's curve is made of: the finished ones, else all."""
    return [run for run in item.finished if len(run.curve)] or item.runs


def _dress(panel: Axes, term: str, label: str) -> None:
    panel.set_yscale("log", nonpositive="mask")
    panel.grid(visible=True, which="major", color="#d9d9d9", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=9)
    if term:
        panel.set_ylabel(f"{term} loss", fontsize=10.5)
    if label:
        panel.set_xlabel(label, fontsize=10.5)
        panel.xaxis.set_major_locator(MaxNLocator(8, integer=label == AXES["evaluation"]))
    if not panel.lines:
        panel.text(
            0.5, 0.5, "no positive values", transform=panel.transAxes, ha="center", color="#777"
        )


def _limit(panel: Axes, curves: Sequence[Curve], term: Term) -> None:
    """Keep a few extreme values from squashing everything else into a line.

    Those are a diverging curve, and the content loss of a run that starts from the content.
    """
    values = [_points(curve, "evaluation", term)[1] for curve in curves]
    values = [y for y in values if len(y)]
    if not values:
        return
    starts = max(float(y[0]) for y in values)
    typical = float(np.median([np.median(y) for y in values]))
    ceiling = HEADROOM * max(starts, typical)
    if max(float(y.max()) for y in values) > ceiling:
        panel.set_ylim(top=ceiling)
    lowest = min(float(np.percentile(y, 10)) for y in values)
    if min(float(y.min()) for y in values) < lowest / FOOTROOM:
        panel.set_ylim(bottom=lowest / FOOTROOM)


def _mark_decades(panel: Axes) -> None:
    """Put labels at 1, 2 and 5 of each decade where powers of ten alone would be too few."""
    low, high = panel.get_ylim()
    few = math.log10(high / low) < 2
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,), numticks=12))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.yaxis.set_minor_formatter(NullFormatter())


def _looks(settings: Sequence[Setting], axes: Sequence[str]) -> list[Look]:
    """Give every setting its own look.

    Where the levels are few enough, colour tells some factors and the line the others;
    otherwise settings are numbered through all colours, then through lines.
    """
    lined = _lined_axes(settings, axes)
    if lined is None:
        codes = [(i % len(COLOURS), i // len(COLOURS)) for i in range(len(settings))]
    else:
        coloured = [axis for axis in axes if axis not in lined]
        codes = list(zip(_codes(settings, coloured), _codes(settings, lined), strict=True))
    return [
        Look(_label(item), COLOURS[c], LINES[s % len(LINES)], MARKERS[s % len(MARKERS)])
        for item, (c, s) in zip(settings, codes, strict=True)
    ]


def _lined_axes(settings: Sequence[Setting], axes: Sequence[str]) -> Sequence[str] | None:
    """Choose the factors told by the line, so that neither lines nor colours are many."""
    best: tuple[float, Sequence[str]] | None = None
    # What so few colours and lines can tell has fewer factors; and the ways to part them double
    # with each.
    axes = axes if len(axes) <= _MOST_AXES else ()
    for size in range(len(axes)):
        for lined in combinations(reversed(axes), size):
            coloured = [axis for axis in axes if axis not in lined]
            lines, colours = (len(set(_codes(settings, part))) for part in (lined, coloured))
            load = max(lines / len(LINES), colours / len(COLOURS))
            if load <= 1 and (best is None or load < best[0]):
                best = (load, lined)
    return best[1] if best else None


def _codes(settings: Sequence[Setting], axes: Sequence[str]) -> list[int]:
    """Return numbers for the combinations of levels of ``axes`` as they occur."""
    keys = [tuple(item.levels[axis] for axis in axes) for item in settings]
    order = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return [order[key] for key in keys]


def _label(item: Setting) -> str:
    levels = " / ".join(text.level(value) for value in item.levels.values())
    name = levels or text.shorten(item.runs[0].name, text.LONGEST_LEVEL)
    return name if item.finished else f"{name} ({item.runs[0].status})"


def _legend_columns(looks: Sequence[Look]) -> int:
    longest = max((text.width(look.label) for look in looks), default=1)
    fitting = int(10.6 / (0.75 + 0.075 * longest))  # inches: handle and padding, characters
    return max(1, min(fitting, len(looks), 6))


def _add_legend(
    figure: Figure, looks: Sequence[Look], columns: int, title: str, height: float
) -> None:
    handles = [
        Line2D([], [], color=k.colour, linestyle=k.line, marker=k.marker, ms=5, label="-")
        for k in looks
    ]
    legend = figure.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, height), ncols=columns,
        title=title or None, fontsize=9.5, title_fontsize=9.5, frameon=False, handlelength=3.2,
    )  # fmt: skip
    # As labels, names that begin with `_` would be left out and `$` be mathematics.
    for line, look in zip(legend.get_texts(), looks, strict=True):
        line.set(text=look.label, parse_math=False)
