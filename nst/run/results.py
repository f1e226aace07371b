"""`Start`, what is known of a run before it begins, `Result`, when it has ended, and `Sink`."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from PIL import Image
from torch import Tensor

from nst.objective import Region, Terms
from nst.objective.terms import Named
from nst.pictures import images
from nst.run.records import Budget, Recovery, Row, Status

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The total of a picture may be this many times that of the image that it was made of before
# anything is said: rounding to 8 bits costs less, in all that was tried.
TOLERATED = 1.05
_NOTHING = 1e-3
# px on the longer side of a picture in a notebook, which its own would make too large a file.
_SHOWN = 1024


@dataclass(frozen=True)
class Start:
    """What is known before the first evaluation.

    Attributes:
        content: the content image, 1 x 3 x H x W, ImageNet-normalised.
        styles: the style images likewise, with the colours that the run takes of them.
        style_weights: their parts of the blend.
        regions: of the image, each with the style images that it is to be like.
        budget: when the run stops.
        device: name of the device.
        weights: `imagenet`, `embedded`, `random` or `file`.
        weights_detail: path or seed.
        network: what it computes, by name, see `nst.network.vgg.Trunk.identity`.
        tile_size: of the objective, px; None where the picture is taken as a whole.
        rows: of the evaluations before a resumption; empty in a run that begins.
    """

    content: Tensor
    styles: Sequence[Tensor]
    style_weights: Sequence[float]
    regions: Sequence[Region]
    budget: Budget
    device: str
    weights: str
    weights_detail: str
    network: Mapping[str, object]
    tile_size: int | None = None
    rows: Sequence[Row] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in px of the picture that is optimised."""
        return self.content.shape[3], self.content.shape[2]


@dataclass(frozen=True)
class PictureLosses(Named[float]):
    """The loss of a picture as it is saved, by the run's own objective in float32.

    The picture has 8 bits per channel and what the file format's compression leaves of them. Its
    transparency, which the network never sees, is not taken into account.

    Attributes:
        terms: the weighted terms by name.
        total: their sum.
        layers: unweighted distances by `<term>/<tap>`, or `<term>/<tap>/<region>`.
        clipped: share in [0, 1] of the pixels that were out of range, see
            `nst.pictures.images.clipped`.
    """

    terms: dict[str, float]
    total: float
    layers: dict[str, float]
    clipped: float

    @classmethod
    def of(cls, terms: Terms, clipped: float) -> "PictureLosses":
        """The numbers of an evaluation of the picture, and of its clipping."""
        return cls(
            terms={name: term.item() for name, term in terms.terms.items()},
            total=terms.total.item(),
            layers={name: term.item() for name, term in terms.layers.items()},
            clipped=clipped,
        )


def excess(picture: float, optimised: float) -> float | None:
    """How many times a picture's total is that of the image that it was made of.

    None where that is no more than `TOLERATED`, or where next to nothing is left of the total: at a
    strength of 0, rounding is all that there is.
    """
    if not picture > max(TOLERATED * optimised, _NOTHING):
        return None
    return picture / optimised if optimised > 0 else math.inf


def loss_of_saving(config: Mapping[str, Any], clipped: float | None) -> str:
    """Why a picture is worse than the image that it was made of.

    Args:
        config: of the run, as composed.
        clipped: share in [0, 1] of the picture's pixels that were clipped, None where that is
            unknown.
    """
    if _made_by(config, "color") == "nst.colors.OriginalColors":
        return "it was optimised in the style's colours (color=original_colors)"
    optimizer: object = config.get("optimizer")
    while isinstance(optimizer, Mapping):
        if optimizer.get("_target_") == "nst.averaged":
            return (
                "it is the average of the iterates, which has not caught up with the best of them"
            )
        optimizer = optimizer.get("optimizer")  # one within another
    if not clipped:
        return "it was rounded to what its file can hold"
    free = " (gamut=free)" if _made_by(config, "gamut") == "nst.gamuts.free" else ""
    return (
        f"it left the range that a picture can hold{free}, and {100 * clipped:.3g} % of its pixels "
        "were clipped"
    )


def _made_by(config: Mapping[str, Any], group: str) -> object:
    options: Mapping[str, object] = config.get(group, {})
    return options.get("_target_")


@dataclass(frozen=True, repr=False)
class Result:
    """A finished run, which a notebook shows as its picture and a table.

    Attributes:
        picture: the image with the lowest total of the size in which the run ended, or with
            `nst.averaged` the average at its end, 8-bit sRGB; RGBA where the content picture's
            transparency was kept.
        last_picture: the image at the end; with `steps` used up it is one update past the last row.
        losses: one row per evaluation, those before a resumption too.
        recoveries: see `nst.run.records.Recovery`.
        best: the row with the lowest total, which measured the image that `picture` was made of,
            but for an average; None if no loss was finite.
        picture_losses: those of `picture` itself.
        scales: what the layers' terms are shares of, by the size in px and by name, see
            `nst.objective.balanced`; empty for a size where they count as they are.
        status: `ok`, `failed` or `interrupted`.
        stop_reason: see `nst.run.records.Outcome`.
        error: one line where the run failed.
        steps: optimizer steps.
        seconds: of optimisation.
        yardstick: unweighted `content` and `style` terms of `picture` as it is saved over the
            layers of Gatys et al., whatever the run minimised: comparable between runs whose own
            losses are not; the same relative to the two input pictures, `content_share` and
            `style_share`, and their sum, `balance`, see `nst.objective.yardstick.shares`. None
            where the picture is too small or the weights too short for those layers.
        start: what was known before the first evaluation.
        chosen: what the optimizer chose by itself: `history_size`, `history_precision` and
            `max_iter` of `nst.lbfgs`.
    """

    picture: Image.Image
    last_picture: Image.Image
    losses: list[Row]
    recoveries: Sequence[Recovery]
    best: Row | None
    picture_losses: PictureLosses
    scales: Mapping[int, Mapping[str, float]]
    status: Status
    stop_reason: str
    error: str | None
    steps: int
    seconds: float
    yardstick: dict[str, float] | None
    start: Start
    chosen: Mapping[str, object]

    def columns(self) -> dict[str, list[float]]:
        """What each evaluation measured, as columns, such as `pandas.DataFrame` takes.

        They are `step`, `evaluation`, `seconds`, `total`, `scale`, `cost` and the weighted terms
        by name, as in `losses.jsonl`, then the unweighted distance of each layer by its name in
        TensorBoard, such as `per_layer/style/relu1_1`. Of a run without an evaluation there are
        none.
        """
        rows = []
        for each in self.losses:
            row = asdict(each)
            terms, layers = row.pop("terms"), row.pop("layers")
            rows.append(row | terms | {f"per_layer/{name}": layers[name] for name in layers})
        return {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}

    def curves(self) -> "Figure":
        """Total and weighted terms against full-size evaluations, on a log scale.

        Of several sizes that in which the run ended is drawn, since their losses do not compare.
        """
        from nst.run.plot import draw  # matplotlib is not among what the library alone needs

        return draw([row for row in self.losses if row.scale == self.losses[-1].scale])

    def __repr__(self) -> str:
        width, height = self.picture.size
        return (
            f"<nst.Result {self.status} ({self.stop_reason}): {width} x {height} px, "
            f"{len(self.losses)} evaluations, total {self.picture_losses.total:.4g}>"
        )

    def _repr_html_(self) -> str:
        """The picture, no larger than 1024 px, and a small table."""
        losses = self.picture_losses
        table = {"total": f"{losses.total:.4g}"}
        table |= {name: f"{value:.4g}" for name, value in losses.terms.items() if value}
        if self.yardstick:
            for term in ("content", "style"):
                share = self.yardstick[f"{term}_share"]
                table[f"left of the distance to the {term}"] = f"{100 * share:.3g} %"
        table["evaluations"] = str(len(self.losses))
        table["seconds"] = f"{self.seconds:.1f}"
        table["ended"] = f"{self.status} ({self.error or self.stop_reason})"
        rows = "".join(
            f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>"
            for name, text in table.items()
        )
        shown = self.picture.copy()
        shown.thumbnail((_SHOWN, _SHOWN))
        png = base64.b64encode(images.encoded(shown, ".png")).decode()
        return f'<img alt="result" src="data:image/png;base64,{png}"><table>{rows}</table>'


@runtime_checkable
class Sink(Protocol):
    """Something that wants to see the run as it goes."""

    def on_start(self, start: Start) -> None:
        """Called once before the first evaluation."""

    def on_evaluation(self, row: Row) -> None:
        """Called after every evaluation with finite losses."""

    def on_image(self, evaluation: int, image: Tensor) -> None:
        """Called with the image (1 x 3 x H x W) that an evaluation measured."""

    def on_end(self, result: Result) -> None:
        """Called once after the last evaluation, also of a failed or interrupted run."""
