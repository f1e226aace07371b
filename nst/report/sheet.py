"""``comparison.png``: a labelled contact sheet of content, style and every result."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nst.report import text
from nst.report.canvas import (
    DPI,
    GLYPH,
    LARGE,
    LINE,
    NORMAL,
    QUIET,
    SEPARATOR,
    SMALL,
    Box,
    Sheet,
    fit,
    wrap,
)
from nst.report.layout import MOST_COLUMNS, Labels, Layout, arrange
from nst.report.measures import picture_excess
from nst.report.runs import Run, Sweep
from nst.report.thumbnails import Picture, thumbnail

# Inches.
PAGE = 12.0  # width aimed at
MARGIN = 0.3
GAP = 0.14
NARROWEST, WIDEST = 1.3, 2.7  # of a tile
INPUT_NARROWEST, INPUT_WIDEST = 0.8, 2.0  # of the content and style pictures
TITLE = 3.4  # room beside them
HEAD = 0.9  # width of a content or style picture at its row or column
LABEL = 0.25  # height of the line above a column


@dataclass(frozen=True)
class Input:
    """A content or style picture with its label, and its level where it was swept."""

    label: str
    picture: Picture | None
    level: str = ""


@dataclass(frozen=True)
class Plan:
    """Where things go on the sheet."""

    layout: Layout
    gutter: float  # left of the tiles, for the row labels
    tile: tuple[float, float]  # width, height
    input_tile: tuple[float, float]
    label_lines: int  # above every tile of a flat layout
    aside_lines: int  # between the total and the seconds below every tile
    heads: Mapping[str, Mapping[str, Picture | None]] = field(default_factory=dict)  # of axes

    @property
    def small(self) -> float:
        """The size of captions, in points."""
        return _small(self.tile[0])

    @property
    def header(self) -> float:
        """The height of title and inputs."""
        return self.input_tile[1] + 0.62

    @property
    def column_labels(self) -> float:
        """The height of the labels above the grid."""
        heads = sum(axis in self.heads for axis in self.layout.column_axes)
        return LABEL * len(self.layout.column_axes) + (self.head[1] + 0.1) * heads

    @property
    def head(self) -> tuple[float, float]:
        """Width and height of a picture at its row or column."""
        width = min(HEAD, self.tile[0])
        return width, width * self.tile[1] / self.tile[0]

    @property
    def above(self) -> float:
        """The height of the labels above each tile of a flat layout."""
        return self.label_lines * LINE * SMALL + (0.06 if self.label_lines else 0)

    @property
    def pitch(self) -> float:
        """The height of one row: labels, tile, lines of caption, gap."""
        return self.above + self.tile[1] + (2 + self.aside_lines) * LINE * self.small + 0.24

    @property
    def width(self) -> float:
        """The width of the sheet."""
        grid = len(self.layout.columns) * (self.tile[0] + GAP) - GAP
        return max(2 * MARGIN + self.gutter + grid, 7.5)

    @property
    def height(self) -> float:
        """The height of the sheet."""
        rows = len(self.layout.rows) * self.pitch
        return MARGIN + self.header + self.column_labels + rows

    def box(self, row: int, column: int) -> Box:
        """Return the rectangle of a tile."""
        left = MARGIN + self.gutter + column * (self.tile[0] + GAP)
        top = MARGIN + self.header + self.column_labels + row * self.pitch + self.above
        return Box(left, top, *self.tile)


def draw_sheet(sweep: Sweep, title: str, best: str | None, measure: str) -> bytes:
    """Draw the contact sheet of ``sweep`` as a PNG.

    ``best`` names the run to mark, ``measure`` what it is the best by: ``total`` or ``balance``.
    """
    return compose(sweep, title, best, measure).png()


def compose(sweep: Sweep, title: str, best: str | None, measure: str = "total") -> Sheet:
    """Place title, inputs, labels, results and captions on a sheet that fits them."""
    layout = arrange(sweep)
    pictures = {run.name: _result(run) for run in sweep.runs}
    found = {kind: _inputs(sweep, kind) for kind in _kinds(sweep)}
    axes = layout.row_axes + layout.column_axes
    headed = [axis for axis in axes if axis in ("content", "style")]
    heads = {kind: {item.level: item.picture for item in found.pop(kind)} for kind in headed}
    # Of many pictures the tiles have the names: a few of them would tell nothing.
    inputs = [item for items in found.values() if len(items) <= MOST_COLUMNS for item in items]
    shown = [*pictures.values(), *(item.picture for item in inputs)]
    plan = _plan(sweep, layout, shown, len(inputs), heads)
    sheet = Sheet(plan.width, plan.height)
    _draw_header(sheet, plan, inputs, title, _subtitle(sweep))
    _label_columns(sheet, plan)
    _label_rows(sheet, plan)
    for row in range(len(layout.rows)):
        for column in range(len(layout.columns)):
            run = layout.cells.get((row, column))
            if run is not None:
                caption = f"{measure} {text.number(_measured(run, measure))}"
                picture, marked = pictures[run.name], run.name == best
                _draw_run(sheet, plan, plan.box(row, column), run, picture, caption, marked)
            elif not layout.flat:
                sheet.tile(plan.box(row, column), None, "not run")
    return sheet


def _plan(
    sweep: Sweep,
    layout: Layout,
    pictures: Sequence[Picture | None],
    inputs: int,
    heads: Mapping[str, Mapping[str, Picture | None]],
) -> Plan:
    labels = [
        _line(axis, level)
        for row in layout.rows
        for axis, level in zip(layout.row_axes, row, strict=True)
    ]
    longest = max(map(text.width, labels), default=0)
    gutter = min(max(longest * GLYPH * NORMAL, HEAD) + 0.2, 2.4) if layout.row_axes else 0.0
    columns = len(layout.columns)
    fitting = (PAGE - 2 * MARGIN - gutter) / columns - GAP
    width = min(max(fitting, NARROWEST), WIDEST)
    aspect = next((p.shape[0] / p.shape[1] for p in pictures if p is not None), 1.0)
    aspect = min(max(aspect, 0.4), 1.8)
    room = max(gutter + columns * (width + GAP), TITLE + 2 * INPUT_WIDEST) - TITLE
    input_width = min(width, INPUT_WIDEST, max(room / max(inputs, 1) - GAP, INPUT_NARROWEST))
    lines = min(max(len(sweep.factors), 1), 4) if layout.flat else 0
    return Plan(
        layout=layout,
        gutter=gutter,
        tile=(width, width * aspect),
        input_tile=(input_width, input_width * aspect) if inputs else (0.0, 0.2),
        label_lines=lines,
        aside_lines=max(len(_aside(run, width)) for run in sweep.runs),
        heads=heads,
    )


def _draw_header(
    sheet: Sheet, plan: Plan, inputs: Sequence[Input], title: str, subtitle: str
) -> None:
    """Draw the inputs at the left, title and subtitle at their right, above the grid."""
    width, height = plan.input_tile
    room = plan.width - 2 * MARGIN - TITLE
    shown = list(inputs)[: max(2, int(room / (width + GAP) + 0.01))]
    for index, item in enumerate(shown):
        box = Box(MARGIN + index * (width + GAP), MARGIN, width, height)
        sheet.tile(box, item.picture, "not found")
        label = fit(item.label, width, NORMAL)
        sheet.write(box.left + width / 2, MARGIN + height + 0.16, label, bold=True)
    left = MARGIN + (len(shown) * (width + GAP) + 0.15 if shown else 0)
    space = plan.width - MARGIN - left
    middle = MARGIN + height / 2
    # A name is one word; a question has several, of which two lines are about as many as fit.
    words = fit(title, 2 * space, LARGE).split()
    lines = wrap(words, space, LARGE, " ")
    top = middle - 0.16 - 0.14 * (len(lines) - 1)
    for index, line in enumerate(lines):
        sheet.write(left, top + 0.28 * index, line, LARGE, align="left", bold=True)
    below = top + 0.28 * len(lines) + 0.02
    for index, line in enumerate(wrap(subtitle.split(SEPARATOR), space, NORMAL)):
        sheet.write(left, below + 0.2 * index, line, NORMAL, QUIET, "left")


def _label_columns(sheet: Sheet, plan: Plan) -> None:
    """Label the columns, one line per factor; equal neighbours share one label."""
    columns, (width, height) = plan.layout.columns, plan.head
    y = MARGIN + plan.header + 0.1
    for depth, axis in enumerate(plan.layout.column_axes):
        top, head = y, plan.heads.get(axis)
        y += height + 0.1 if head else 0
        for start, stop in _spans(columns, depth):
            left, right = plan.box(0, start).left, plan.box(0, stop).left + plan.tile[0]
            if head:
                box = Box((left + right - width) / 2, top - 0.1, width, height)
                sheet.tile(box, head.get(columns[start][depth]), "not found")
            label = _fit_level(axis, columns[start][depth], right - left, NORMAL)
            sheet.write((left + right) / 2, y, label, bold=depth == 0)
            if stop > start:
                sheet.rule(left, right, y + 0.11)
        y += LABEL


def _spans(columns: Sequence[Labels], depth: int) -> list[tuple[int, int]]:
    """Return first and last column of each run of equal labels down to ``depth``."""
    starts = [
        index
        for index, labels in enumerate(columns)
        if index == 0 or labels[: depth + 1] != columns[index - 1][: depth + 1]
    ]
    return list(zip(starts, [start - 1 for start in starts[1:]] + [len(columns) - 1], strict=True))


def _label_rows(sheet: Sheet, plan: Plan) -> None:
    for row, labels in enumerate(plan.layout.rows):
        levels = list(zip(plan.layout.row_axes, labels, strict=True))
        heads = [(plan.heads[axis], level) for axis, level in levels if axis in plan.heads]
        width, height = plan.head
        # As much as fits beside the tile.
        height = min(height, (plan.tile[1] - 0.2 * len(levels)) / max(len(heads), 1) - 0.1)
        content = 0.2 * len(levels) + (height + 0.1) * len(heads)
        y = plan.box(row, 0).top + (plan.tile[1] - content) / 2
        for head, level in heads:
            sheet.tile(Box(MARGIN, y, width, height), head.get(level), "not found")
            y += height + 0.1
        for index, (axis, level) in enumerate(levels):
            shown = _fit_level(axis, level, plan.gutter - 0.1, NORMAL)
            sheet.write(MARGIN, y + 0.1 + 0.2 * index, shown, align="left", bold=index == 0)


def _measured(run: Run, measure: str) -> float | None:
    if measure == "total":
        return run.picture.total if run.picture else None
    return run.yardstick.get(measure)


def _draw_run(
    sheet: Sheet,
    plan: Plan,
    box: Box,
    run: Run,
    picture: Picture | None,
    caption: str,
    best: bool,
) -> None:
    if plan.layout.flat:
        _label_tile(sheet, plan, box, run)
    words = run.status if run.status != "ok" else "no picture"
    reason = f"\n{run.stop_reason}" if run.stop_reason and run.status != "ok" else ""
    sheet.tile(box, picture, words + reason, best)
    if picture is None and run.picture is None:
        return
    caption = f"best: {caption}" if best else caption
    note = text.seconds(run.seconds) + (f", {run.status}" if run.status != "ok" else "")
    x, y, line = box.left + box.width / 2, box.top + box.height + 0.13, LINE * plan.small
    sheet.write(x, y, fit(caption, box.width, plan.small), plan.small, bold=best)
    quiet = [*_aside(run, box.width), fit(note, box.width, plan.small)]
    for index, words in enumerate(quiet, start=1):
        sheet.write(x, y + index * line, words, plan.small, QUIET)


def _aside(run: Run, width: float) -> list[str]:
    """Return what follows the total of a picture that is worse than the image optimised."""
    if run.best is None or picture_excess(run) is None:
        return []
    words = f"({text.number(run.best.total)} while optimising)".split()
    return wrap(words, width, _small(width), " ")


def _small(width: float) -> float:
    """Return the size of captions below a tile of the given width, in points."""
    return NORMAL if width >= 1.7 else SMALL


def _label_tile(sheet: Sheet, plan: Plan, box: Box, run: Run) -> None:
    lines = [_fit_level(*item, box.width, SMALL) for item in run.levels.items()] or [run.name]
    if len(lines) > plan.label_lines:
        lines = [*lines[: plan.label_lines - 1], SEPARATOR.join(lines[plan.label_lines - 1 :])]
    for index, line in enumerate(lines):
        y = box.top - plan.above + LINE * SMALL * (index + 0.5)
        sheet.write(box.left, y, fit(line, box.width, SMALL), SMALL, align="left")


def _line(axis: str, value: str) -> str:
    """Name a level; the name of a file says enough without the key."""
    return text.level(value) if text.is_file(value) else f"{axis} = {text.level(value)}"


def _fit_level(axis: str, value: str, width: float, size: float) -> str:
    """Name a level in the given width, leaving off the group of a long key first."""
    whole, short = _line(axis, value), _line(axis.rsplit(".", 1)[-1], value)
    return whole if fit(whole, width, size) == whole else fit(short, width, size)


def _subtitle(sweep: Sweep) -> str:
    """Say what all tiles have in common."""
    count = len(sweep.runs)
    sizes = {run.size for run in sweep.runs if run.size}
    sources = {source for run in sweep.runs if (source := run.weights.get("source"))}
    parts = [f"{count} run{'' if count == 1 else 's'}"]
    if len(sizes) == 1:
        parts.append("{} x {} px".format(*sizes.pop()))
    if len(sources) == 1:
        parts.append(f"{sources.pop()} weights")
    return SEPARATOR.join(parts)


def _result(run: Run) -> Picture | None:
    """Return the picture a run ended with; a failed run has none to compare."""
    pixels = int(WIDEST * DPI)
    if run.picture_file is None or run.status not in ("ok", "interrupted"):
        return None
    return thumbnail(run.picture_file, pixels)


def _kinds(sweep: Sweep) -> list[str]:
    """Return the names of the prepared inputs: content, styles, and regions where there are any."""
    names = {path.stem for run in sweep.runs for path in (run.folder / "images").glob("*.png")}
    more = (name for name in names if re.fullmatch(r"style_\d+|regions", name))
    others = sorted(more, key=lambda name: (name == "regions", len(name), name))
    return ["content", "style", *others]


def _inputs(sweep: Sweep, kind: str) -> list[Input]:
    """Return the prepared ``kind`` picture, or where it was swept one per level."""
    key = "regions.content" if kind == "regions" else kind.partition("_")[0]
    shown = kind.replace("_", " ")
    found: dict[str, Path] = {}
    for run in sweep.runs:
        path = run.folder / "images" / f"{kind}.png"
        if path.is_file():
            found.setdefault(run.levels.get(key, ""), path)
    pixels = int(INPUT_WIDEST * DPI)
    return [
        Input(_line(shown, level) if level else shown, thumbnail(path, pixels), level)
        for level, path in found.items()
    ] or [Input(shown, None)]
