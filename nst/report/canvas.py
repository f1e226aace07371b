"""A figure to place tiles and lines of text on, in inches from its top left corner."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nst.report import text
from nst.report.thumbnails import Picture

DPI = 120
SMALL, NORMAL, LARGE = 7.5, 9.0, 15.0  # points
GLYPH = 0.0087  # average width of a character per point of its size
LINE = 0.0195  # height of a line per point of its size
INK, QUIET, EMPTY, BEST = "#1a1a1a", "#666666", "#ececec", "#0072B2"
SEPARATOR = ", "


@dataclass(frozen=True)
class Box:
    """A rectangle on the sheet."""

    left: float
    top: float
    width: float
    height: float


class Sheet:
    """A white figure of the given width and height."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")

    def write(
        self, x: float, y: float, line: str, size: float = NORMAL, colour: str = INK,
        align: str = "center", bold: bool = False,
    ) -> None:  # fmt: skip
        """Write one line of text, its vertical centre at ``y``."""
        self.figure.text(
            x / self.width, 1 - y / self.height, line, fontsize=size, color=colour, ha=align,
            va="center", fontweight="bold" if bold else "normal", parse_math=False,
        )  # fmt: skip

    def rule(self, left: float, right: float, y: float) -> None:
        """Draw a thin horizontal line."""
        ends = [left / self.width, right / self.width], [1 - y / self.height] * 2
        self.figure.add_artist(Line2D(*ends, color="#bbbbbb", linewidth=0.8))

    def tile(self, box: Box, picture: Picture | None, words: str = "", best: bool = False) -> None:
        """Show ``picture`` in ``box``, whole and undistorted, or a grey tile with ``words``."""
        panel = self.figure.add_axes((
            box.left / self.width, 1 - (box.top + box.height) / self.height,
            box.width / self.width, box.height / self.height,
        ))  # fmt: skip
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set(color=BEST if best else "#c8c8c8", linewidth=2.5 if best else 0.6)
        if picture is not None:
            panel.imshow(picture, aspect="equal", interpolation="antialiased")
            return
        panel.set_facecolor(EMPTY)
        panel.text(
            0.5, 0.5, words, transform=panel.transAxes, ha="center", va="center",
            fontsize=NORMAL, color=QUIET, parse_math=False,
        )  # fmt: skip

    def png(self) -> bytes:
        """Return the sheet as a PNG."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png")
        return buffer.getvalue()


def fit(line: str, width: float, size: float) -> str:
    """Cut ``line`` in its middle to fit ``width`` at a size in points."""
    return text.shorten(line, max(4, int(width / (GLYPH * size))))


def wrap(parts: Sequence[str], width: float, size: float, separator: str = SEPARATOR) -> list[str]:
    """Join ``parts`` into lines that fit ``width``."""
    lines: list[str] = []
    for part in parts:
        joined = f"{lines[-1]}{separator}{part}" if lines else part
        if lines and text.width(joined) * GLYPH * size <= width:
            lines[-1] = joined
        else:
            lines.append(fit(part, width, size))
    return lines
