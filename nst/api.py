"""A whole run as one library call, without Hydra and without files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from nst import images, inits, optimizers
from nst.errors import InputError
from nst.functional import GramNormalization
from nst.images import ImageError, Picture, Resize
from nst.inits import Canvas, Init
from nst.objective import Objective, balance
from nst.optimizers import OptimizerFactory
from nst.trainer import Budget, Row, Sink, Status, Trainer
from nst.vgg import VGG19, Pooling, check_taps, minimum_side
from nst.weights import Weights, resolve

GATYS_CONTENT = {"relu4_2": 1.0}
GATYS_STYLE = {"relu1_1": 1.0, "relu2_1": 1.0, "relu3_1": 1.0, "relu4_1": 1.0, "relu5_1": 1.0}


@dataclass(frozen=True)
class Start:
    """What is known before the first evaluation.

    Attributes:
        content: the content image as the run sees it, 1 x 3 x H x W, ImageNet-normalised.
        style: the style image likewise.
        budget: when the run stops.
        device: name of the device.
        weights: `imagenet`, `random` or `file`.
        weights_sha256: of the weights, see `nst.weights.Weights`.
        weights_detail: path or seed.
        pooling: `max` or `avg`.
    """

    content: Tensor
    style: Tensor
    budget: Budget
    device: str
    weights: str
    weights_sha256: str
    weights_detail: str
    pooling: Pooling

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in px of the picture that is optimised."""
        return self.content.shape[3], self.content.shape[2]


@dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes:
        picture: the image with the lowest total loss that was measured, 8-bit sRGB.
        last_picture: the image at the end; with `steps` used up it is one update past the last row.
        losses: one row per evaluation.
        best: the row that measured `picture`; None if no loss was finite.
        status: `ok`, `failed` or `interrupted`.
        stop_reason: see `nst.trainer.Outcome`.
        error: one line where the run failed.
        steps: optimizer steps.
        seconds: of optimisation.
        yardstick: unweighted `content` and `style` terms of `picture` over the layers of Gatys et
            al., whatever the run minimised: comparable between runs whose own losses are not; and
            their `balance`, see `nst.objective.balance`. None where the picture is too small or
            the weights too short for those layers.
        start: what was known before the first evaluation.
    """

    picture: Image.Image
    last_picture: Image.Image
    losses: list[Row]
    best: Row | None
    status: Status
    stop_reason: str
    error: str | None
    steps: int
    seconds: float
    yardstick: dict[str, float] | None
    start: Start


class RunSink(Sink, Protocol):
    """A sink that also wants the beginning and the end."""

    def on_start(self, start: Start) -> None:
        """Called once before the first evaluation."""

    def on_end(self, result: Result) -> None:
        """Called once after the last evaluation, also of a failed or interrupted run."""


def stylize(
    content: Picture,
    style: Picture,
    *,
    size: int | None = None,
    resize: Resize = "fit",
    optimizer: OptimizerFactory = optimizers.lbfgs,
    init: Init = inits.content,
    content_layers: Mapping[str, float] = GATYS_CONTENT,
    style_layers: Mapping[str, float] = GATYS_STYLE,
    content_weight: float = 1.0,
    style_weight: float = 1e6,
    tv_weight: float = 0.0,
    gram: GramNormalization = "chw",
    joint: bool = True,
    weights: str = "auto",
    weights_seed: int = 0,
    pooling: Pooling | None = None,
    budget: Budget | None = None,
    seed: int = 0,
    device: str = "auto",
    sinks: Sequence[RunSink] = (),
    image_every: int | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 100,
    resume: str | Path | None = None,
    stop_requested: Callable[[], str | None] = lambda: None,
) -> Result:
    """Paint the content picture in the style of the style picture.

    Args:
        content: a path, a PIL image, or a tensor 3 x H x W or 1 x 3 x H x W in [0, 1].
        style: likewise.
        size: longest side in px; None is 512 on a GPU and 256 on a CPU.
        resize: `fit` keeps the aspect, `stretch` makes both pictures `size` x `size`.
        optimizer: makes the optimizer, such as `functools.partial(nst.adam, lr=0.05)`.
        init: makes the starting image, such as `nst.inits.random`.
        content_layers: tap to weight within the content term.
        style_layers: tap to weight within the style term.
        content_weight: factor of the content term.
        style_weight: factor of the style term.
        tv_weight: factor of the total variation.
        gram: normalisation of the Gram matrices, see `nst.functional.gram`.
        joint: content and style term share a pass, see `nst.objective.Objective`.
        weights: `auto`, `imagenet`, `random` or a path, see `nst.weights.resolve`.
        weights_seed: of `random` weights.
        pooling: `max` or `avg`; None is `avg` with random weights and `max` with trained ones.
        budget: when to stop; None is 200 evaluations.
        seed: of the noise of `nst.inits.random`.
        device: `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:N` or `mps`.
        sinks: get every row and image, see `nst.tracking`.
        image_every: evaluations between the images for the sinks.
        checkpoint: file for the run's state; None writes none.
        checkpoint_every: evaluations between checkpoints.
        resume: a checkpoint of the same run to go on from.
        stop_requested: asked once per evaluation; a reason ends the run as `interrupted`.

    Raises:
        nst.errors.InputError: something given cannot be used; the message says what and why.
    """
    budget = budget or Budget(evaluations=200)
    content_layers = {tap: weight for tap, weight in content_layers.items() if weight}
    style_layers = {tap: weight for tap, weight in style_layers.items() if weight}
    taps = [*(content_layers if content_weight else ()), *(style_layers if style_weight else ())]
    if not taps:
        raise InputError("nothing to optimise: no layer has a weight in the content or style term")
    check_taps(taps)
    where = resolve_device(device)
    size = size or (256 if where.type == "cpu" else 512)

    def prepare(picture: Picture, name: str) -> Tensor:
        loaded = images.load(picture)
        height, width = images.target_size(loaded, size, resize)
        if min(height, width) < minimum_side(taps):
            shown = picture if isinstance(picture, str | Path) else f"the {name} picture"
            raise ImageError(
                f"{shown}: {width} x {height} px at size={size} is too small: the layer {taps[-1]} "
                f"needs at least {minimum_side(taps)} px on the shorter side"
            )
        return images.to_tensor(loaded, size, resize).to(where)

    content_image, style_image = prepare(content, "content"), prepare(style, "style")
    shape = (content_image.shape[2], content_image.shape[3])
    canvas = Canvas(
        content_image,
        style_image,
        seed,
        load=lambda path: images.to_tensor(images.load(path), shape).to(where),
    )
    beginning = init(canvas)
    found = resolve(weights, weights_seed)
    pooling = pooling or ("avg" if found.source == "random" else "max")
    objective = Objective(
        VGG19(found.tensors, taps, pooling).to(where),
        content_image,
        style_image,
        content_layers=content_layers,
        style_layers=style_layers,
        content_weight=content_weight,
        style_weight=style_weight,
        tv_weight=tv_weight,
        gram=gram,
        joint=joint,
    )
    start = Start(
        content_image,
        style_image,
        budget,
        _device_name(where),
        found.source,
        found.sha256,
        found.detail,
        pooling,
    )
    trainer = Trainer(
        objective,
        beginning,
        optimizer,
        budget,
        sinks=sinks,
        image_every=image_every,
        checkpoint_path=Path(checkpoint) if checkpoint else None,
        checkpoint_every=checkpoint_every,
        stop_requested=stop_requested,
    )
    if resume:
        trainer.restore(Path(resume))
    for sink in sinks:
        sink.on_start(start)
    outcome = trainer.run()
    result = Result(
        picture=images.to_picture(outcome.image),
        last_picture=images.to_picture(outcome.last_image),
        losses=outcome.rows,
        best=outcome.best,
        status=outcome.status,
        stop_reason=outcome.stop_reason,
        error=outcome.error,
        steps=outcome.steps,
        seconds=outcome.seconds,
        yardstick=_yardstick(found, pooling, content_image, style_image, outcome.image),
        start=start,
    )
    for sink in sinks:
        sink.on_end(result)
    return result


@torch.no_grad()
def _yardstick(
    weights: Weights, pooling: Pooling, content: Tensor, style: Tensor, image: Tensor
) -> dict[str, float] | None:
    taps = [*GATYS_CONTENT, *GATYS_STYLE]
    deep_enough = all(tap.replace("relu", "conv") + ".weight" in weights.tensors for tap in taps)
    sides = (*content.shape[2:], *style.shape[2:])
    if not deep_enough or min(sides) < minimum_side(taps):
        return None
    objective = Objective(
        VGG19(weights.tensors, taps, pooling).to(content.device),
        content,
        style,
        content_layers=GATYS_CONTENT,
        style_layers=GATYS_STYLE,
        style_weight=1.0,
    )
    terms = objective(image)
    resized = F.interpolate(style, content.shape[2:], mode="bilinear", antialias=True)
    return {
        "content": terms.content.item(),
        "style": terms.style.item(),
        "balance": balance(terms, objective(content), objective(resized)),
    }


def resolve_device(name: str) -> torch.device:
    """The device that a name means here.

    Args:
        name: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.

    Raises:
        InputError: an unknown name, or a device that this machine does not have.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and not (kind == "cuda" and index.isdigit())):
        raise InputError(f"device={name}: must be auto, cpu, cuda, cuda:N or mps")
    if kind == "cuda" and not cuda:
        raise InputError(f"device={name}: no CUDA device is available here (device=cpu would work)")
    if index and int(index) >= torch.cuda.device_count():
        raise InputError(f"device={name}: there are only {torch.cuda.device_count()} CUDA devices")
    if kind == "mps" and not mps:
        raise InputError("device=mps: no MPS device is available here (device=cpu would work)")
    return torch.device(name)


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)
