"""Sinks for what the trainer emits: JSON lines, image files, TensorBoard, progress bar."""

import json
import logging
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TextIO

import torch
import torch.nn.functional as F
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams as hparams_summaries

from nst.files import atomic_write
from nst.pictures import images
from nst.pictures.regions import tinted
from nst.run.records import Budget, Row
from nst.run.results import Result, Start

log = logging.getLogger(__name__)

# px; larger pictures, and several side by side, would be more than a page shows.
_HIGHEST_PANEL = 1024


def _free(_: Path) -> None:
    """What a sink does about the files of a folder of which no list is kept."""


class Tracker:
    """A sink that ignores everything; the base of the others.

    Whoever makes one closes it, best by a `with` block around the run.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def on_start(self, start: Start) -> None:
        """Called once before the first evaluation."""

    def on_evaluation(self, row: Row) -> None:
        """Called after every evaluation with finite losses."""

    def on_image(self, evaluation: int, image: Tensor) -> None:
        """Called with the image (1 x 3 x H x W) that an evaluation measured."""

    def on_end(self, result: Result) -> None:
        """Called once after the last evaluation."""

    def close(self) -> None:
        """Release files; called once, whatever happened before."""


class JsonLines(Tracker):
    """`losses.jsonl`: one JSON object per evaluation, in order, written through line by line.

    A process that is killed may leave the last line cut off; readers should leave such a line out.
    A resumed run begins with the rows that its checkpoint holds: what the killed run wrote after it
    comes once more, and no line is there twice.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None

    def on_start(self, start: Start) -> None:
        """Write the rows before a resumption, and open the file for those to come."""
        atomic_write(self._path, "".join(map(_json_line, start.rows)).encode())
        self._file = self._path.open("a", encoding="utf-8", buffering=1)

    def on_evaluation(self, row: Row) -> None:
        """Append the row."""
        if self._file is not None:
            self._file.write(_json_line(row))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


class ImageFolder(Tracker):
    """`images/`: the prepared inputs and the intermediate images, named by evaluation.

    Args:
        folder: made where it is missing.
        claim: called with the path of every file before it is written.

    Attributes:
        intermediate: files of the run's intermediate images, in order, those before a resumption
            too.
    """

    def __init__(self, folder: Path, claim: Callable[[Path], object] = _free) -> None:
        self.intermediate: list[Path] = []
        self._folder = folder
        self._claim = claim

    def on_start(self, start: Start) -> None:
        """Write the inputs: the styles with the colours that the run takes, and the regions."""
        self._folder.mkdir(exist_ok=True)
        # Files of later evaluations are of before the resumption, which may now go another way.
        there = (self._path(row.evaluation) for row in start.rows)
        self.intermediate = [path for path in there if path.exists()]
        self._save(start.content, "content.png")
        for number, style in enumerate(start.styles, start=1):
            self._save(style, "style.png" if number == 1 else f"style_{number}.png")
        if len(start.regions) > 1:
            self._save(tinted(start.content, [one.mask for one in start.regions]), "regions.png")

    def on_image(self, evaluation: int, image: Tensor) -> None:
        """Write one image."""
        path = self._path(evaluation)
        self._save(image, path.name)
        self.intermediate.append(path)

    def _path(self, evaluation: int) -> Path:
        return self._folder / f"{evaluation:06d}.png"

    def _save(self, image: Tensor, name: str) -> None:
        path = self._folder / name
        self._claim(path)
        images.save(images.to_picture(image), path)


class TensorBoard(Tracker):
    """TensorBoard event file; the x-axis of everything is evaluations.

    Args:
        folder: the run's folder, whose path below the log directory becomes the run's name.
        config: the resolved config as YAML, shown as text.
        hparams: what makes the scalars of what is known at the start that tell this run from
            others, shown in the hparams table.
        claim: called with the path of the file once it is there; its name is new.
    """

    def __init__(
        self,
        folder: Path,
        config: str,
        hparams: Callable[[Start], Mapping[str, Any]],
        claim: Callable[[Path], object] = _free,
    ) -> None:
        self._folder = folder
        self._claim = claim
        self._opened: SummaryWriter | None = None
        self._config = config
        self._hparams = hparams
        self._previous: Row | None = None

    def on_start(self, start: Start) -> None:
        """Open the event file and show the config."""
        # TensorBoard then leaves out what a killed run wrote after the checkpoint.
        purge = start.rows[-1].evaluation + 1 if start.rows else None
        others = set(self._folder.glob("*.tfevents.*"))
        self._opened = SummaryWriter(str(self._folder), purge_step=purge)
        for path in set(self._folder.glob("*.tfevents.*")) - others:
            self._claim(path)
        self._previous = start.rows[-1] if start.rows else None
        indented = "\n".join(f"    {line}" for line in self._config.splitlines())
        self._text("config", indented)

    def on_evaluation(self, row: Row) -> None:
        """Plot the terms and the speed."""
        terms = {"total": row.total, **row.terms}
        values = {f"loss/{name}": value for name, value in terms.items()}
        values |= {f"per_layer/{name}": value for name, value in row.layers.items()}
        if self._previous and row.seconds > self._previous.seconds:
            # In full-size evaluations, as result.json has it.
            speed = (row.cost - self._previous.cost) / (row.seconds - self._previous.seconds)
            values["speed/evaluations_per_second"] = speed
        if row.cost != row.evaluation:
            values |= {"schedule/scale": row.scale, "schedule/cost": row.cost}
        self._scalars(values, row.evaluation)
        self._previous = row

    def on_image(self, evaluation: int, image: Tensor) -> None:
        """Show one intermediate image, of a large one a smaller copy."""
        self._image("image/current", _side_by_side([image]), evaluation)

    def on_end(self, result: Result) -> None:
        """Show content, style and result side by side, and the row of the hparams table."""
        end = result.losses[-1].evaluation if result.losses else 0
        panels = [result.start.content, *result.start.styles]
        picture = images.load(result.picture)
        panels.append(images.to_tensor(picture, result.start.size[::-1]))
        self._image("image/content_style_result", _side_by_side(panels), end)
        if result.best:
            losses = result.picture_losses
            named = {"total": losses.total, **losses.terms}
            # Without the total variation, which hardly any run has.
            found = {f"picture_{name}": value for name, value in named.items() if name != "tv"}
            found |= {"clipped": losses.clipped, "seconds": result.seconds}
            metrics = {f"summary/{name}": value for name, value in found.items()}
            self._hparams_row(self._hparams(result.start), metrics, end)

    def close(self) -> None:
        """Flush and close the event file."""
        if self._opened is not None:
            self._opened.close()

    @property
    def _writer(self) -> SummaryWriter:
        assert self._opened is not None  # noqa: S101 - on_start comes first
        return self._opened

    def _hparams_row(
        self, hparams: Mapping[str, Any], metrics: dict[str, float], evaluation: int
    ) -> None:
        # SummaryWriter.add_hparams would open a second run in a sub-folder; the summaries that it
        # writes go into this run's own file instead. The first of the three, the experiment
        # record, belongs to a whole table, and TensorBoard makes one itself where it is missing.
        # The table drops values that are False, so booleans go in as words.
        values = {k: str(v) if isinstance(v, bool) else v for k, v in hparams.items()}
        _, start, end = hparams_summaries(values, metrics)  # type: ignore[no-untyped-call]
        for summary in (start, end):
            self._summary(summary)
        self._scalars(metrics, evaluation)

    def _scalars(self, values: Mapping[str, float], evaluation: int) -> None:
        # As one event: SummaryWriter.add_scalar writes one for each, which takes six times as long.
        # A fast GPU evaluates a small picture meanwhile.
        entries = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._summary(Summary(value=entries), evaluation)

    def _summary(self, summary: Summary, evaluation: int | None = None) -> None:
        writer = self._writer._get_file_writer()  # type: ignore[no-untyped-call]
        writer.add_summary(summary, evaluation)

    def _image(self, tag: str, image: Tensor, evaluation: int) -> None:
        self._writer.add_image(tag, image, evaluation)

    def _text(self, tag: str, text: str) -> None:
        self._writer.add_text(tag, text)


class Progress(Tracker):
    """Progress bar on a terminal or in a notebook; anywhere a logged estimate of the whole time.

    Args:
        bar: whether there is a bar; of runs side by side each would write over the others'.
    """

    # Evaluations to time before the estimate; the first, which warms up, is left out, and so are
    # those in smaller sizes, which take longer for each of their pixels.
    _SAMPLE = 5

    def __init__(self, bar: bool = True) -> None:
        with warnings.catch_warnings():
            # A notebook without ipywidgets gets a bar of text, which needs no explanation.
            warnings.filterwarnings("ignore", message="IProgress not found")
            from tqdm.auto import tqdm  # not among what the library alone needs

        self._tqdm = tqdm
        self._shown = bar and (sys.stderr.isatty() or "ipykernel.zmqshell" in sys.modules)
        self._bar: tqdm[Any] | None = None
        self._budget: Budget | None = None
        self._first: Row | None = None
        self._began = 0.0

    def on_start(self, start: Start) -> None:
        """Open the bar."""
        self._budget = start.budget
        self._began = time.perf_counter()
        self._bar = self._tqdm(
            total=start.budget.evaluations,
            initial=start.rows[-1].cost if start.rows else 0,
            unit="eval",
            bar_format="{l_bar}{bar}| {n:.0f}/{total} [{elapsed}<{remaining}, {rate_fmt}{postfix}]",
            disable=not self._shown,
        )

    def on_evaluation(self, row: Row) -> None:
        """Advance the bar."""
        if self._bar is None:
            return
        self._bar.set_postfix(loss=f"{row.total:.4g}", step=row.step, refresh=False)
        self._bar.update(row.cost - self._bar.n)
        if row.scale < 1:
            return
        self._first = self._first or row
        if row.evaluation - self._first.evaluation == self._SAMPLE:
            self._bar.clear()  # a log line would otherwise begin behind the bar
            self._estimate(row, (row.seconds - self._first.seconds) / self._SAMPLE)
            self._bar.refresh()

    def on_end(self, result: Result) -> None:
        """Close the bar at its end."""
        if self._bar is not None:
            self._bar.close()

    def close(self) -> None:
        """Close the bar, where the run broke off."""
        if self._bar is not None:
            self._bar.close()

    def _estimate(self, row: Row, each: float) -> None:
        """Log what the whole run will take, from the seconds of an evaluation after a row."""
        budget = self._budget
        assert budget is not None  # noqa: S101 - on_start comes first
        bounds = []
        if budget.evaluations is not None:
            bounds.append(row.seconds + (budget.evaluations - row.cost) * each)
        if budget.seconds is not None:
            bounds.append(budget.seconds)
        if bounds:
            log.info("%.3f s per evaluation, about %s in all", each, _duration(min(bounds)))
        else:
            log.info("%.3f s per evaluation", each)


def _json_line(row: Row) -> str:
    return json.dumps(row.as_columns()) + "\n"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _side_by_side(panels: Sequence[Tensor]) -> Tensor:
    """Images 1 x 3 x H x W next to each other as 3 x H' x W', at the first one's height or less."""
    height = min(panels[0].shape[2], _HIGHEST_PANEL)
    scaled = []
    for panel in panels:
        width = max(1, round(panel.shape[3] * height / panel.shape[2]))
        resized = F.interpolate(panel, (height, width), mode="bilinear", antialias=True)
        scaled.append(images.to_unit_tensor(resized))
    return torch.cat(scaled, dim=2)
