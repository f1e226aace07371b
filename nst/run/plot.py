"""The curves of one run, for a notebook; those of a sweep are its report's."""

import io
from collections.abc import Sequence

from matplotlib.figure import Figure

from nst.run.records import Row


class Shown(Figure):
    """A figure that a notebook shows, also where nothing has told it how, as pyplot would."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def draw(rows: Sequence[Row]) -> Figure:
    """Total and weighted terms of rows of one size; terms that are 0 throughout are left out."""
    figure = Shown(figsize=(7.0, 4.0), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    axes.set_yscale("log", nonpositive="mask")
    axes.set(xlabel="evaluations", ylabel="loss")
    axes.grid(color="#d9d9d9", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    at = [row.cost for row in rows]
    for name in ("total", *(rows[0].terms if rows else ())):
        values = [row.total if name == "total" else row.terms[name] for row in rows]
        if any(value > 0 for value in values):
            axes.plot(at, values, label=name, linewidth=2.5 if name == "total" else 1.5)
    if axes.lines:
        axes.legend(frameon=False)
    return figure
