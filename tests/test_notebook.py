"""Results in notebooks and as tables, and the example notebook, run in a kernel of its own."""

import base64
import io
import math
import re
import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

import nst
from support import REPOSITORY, checker_picture, stylize, xor_picture

EXAMPLE = REPOSITORY / "scripts" / "example.ipynb"


@pytest.fixture(scope="module")
def result() -> nst.Result:
    """Of two sizes, from the content picture, whose content term is 0 at first."""
    return stylize(
        xor_picture(),
        checker_picture(),
        weights="random",
        size=64,
        optimizer=nst.adam,
        schedule=[nst.Scale(0.5, 3), nst.Scale(1, None)],
        budget=nst.Budget(evaluations=4),
    )


def test_columns_are_the_rows_by_the_names_of_logs_and_tensorboard(result: nst.Result) -> None:
    columns = result.columns()
    assert {len(column) for column in columns.values()} == {len(result.losses)}
    assert columns["evaluation"] == list(range(1, len(result.losses) + 1))
    row = result.losses[-1]
    assert {name: column[-1] for name, column in columns.items()} == {
        **{name: getattr(row, name) for name in ("step", "evaluation", "seconds", "scale", "cost")},
        **{"total": row.total, "content": row.content, "style": row.style, "tv": row.tv},
        **{f"per_layer/{name}": value for name, value in row.layers.items()},
    }


def test_curves_are_those_of_the_last_size(result: nst.Result) -> None:
    figure = result.curves()
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    drawn = {line.get_label(): line for line in axes.lines}
    assert set(drawn) == {"total", "content", "style"}  # the total variation has no weight
    rows = [row for row in result.losses if row.scale == 1]
    assert 0 < len(rows) < len(result.losses)
    assert list(drawn["total"].get_xdata()) == [row.cost for row in rows]
    assert list(drawn["style"].get_ydata()) == [row.style for row in rows]
    with Image.open(io.BytesIO(figure._repr_png_())) as picture:
        picture.verify()


def test_result_is_shown_as_picture_and_table(result: nst.Result) -> None:
    page = result._repr_html_()
    (png,) = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    with Image.open(io.BytesIO(base64.b64decode(png))) as shown:
        assert shown.tobytes() == result.picture.tobytes()
    cells = dict(re.findall(r"<tr><th>(.*?)</th><td>(.*?)</td></tr>", page))
    assert math.isclose(float(cells["total"]), result.picture_losses.total, rel_tol=1e-3)
    assert {"content", "style", "evaluations"} < set(cells)
    assert cells["ended"] == "ok (evaluations)"
    assert len(repr(result)) < 120
    assert "64 x 51 px" in repr(result)


def test_what_a_failed_run_says_is_no_markup() -> None:
    def wrong(variables: list) -> object:
        return nst.adam(variables, lr=1e30)

    found = stylize(
        xor_picture(),
        checker_picture(),
        weights="random",
        size=32,
        optimizer=wrong,
        gamut=nst.gamuts.free,
        parametrization=nst.pixel,
        budget=nst.Budget(evaluations=4),
    )
    assert found.status == "failed"
    object.__setattr__(found, "error", "<script>")
    assert "<script>" not in found._repr_html_()


def test_a_run_without_evaluations_has_no_columns_and_empty_curves(result: nst.Result) -> None:
    empty = object.__new__(nst.Result)
    for name, value in {**vars(result), "losses": []}.items():
        object.__setattr__(empty, name, value)
    assert empty.columns() == {}
    assert not empty.curves().axes[0].lines


@pytest.mark.slow
def test_example_runs_without_a_warning() -> None:
    notebook = nbformat.read(EXAMPLE, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in cells)
    assert re.fullmatch(r"size, evaluations = \d+, \d+", cells[0].source)
    cells[0].source = "\n".join(
        [
            "size, evaluations = 32, 3",
            "import warnings",
            "filters = warnings.filters[:]",
            "warnings.simplefilter('error')",
        ]
    )
    cells[-1].source += "\nwarnings.filters[:] = filters"  # of the kernel's own end
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": "/"}}).execute()
    outputs = [output for cell in cells for output in cell.outputs]
    shown = [set(output.get("data", {})) for output in outputs]
    # A bar for each of the six runs, the result, its curves, and two plots; nothing on stderr.
    assert sum("application/vnd.jupyter.widget-view+json" in kinds for kinds in shown) == 6
    assert sum("text/html" in kinds for kinds in shown) == 1
    assert sum("image/png" in kinds for kinds in shown) == 3
    assert len(outputs) == 10


@pytest.mark.slow
def test_a_notebook_without_widgets_gets_a_bar_of_text() -> None:
    code = """
import sys
sys.modules["ipywidgets"] = None
import ipykernel.zmqshell
ipykernel.zmqshell.ZMQInteractiveShell.instance()
from nst.run.tracking import Progress
bar = Progress()
assert bar._shown and bar._tqdm.__module__ == "tqdm.asyncio"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
