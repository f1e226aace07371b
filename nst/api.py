"""A whole run as one library call, without Hydra and without files."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import TypeGuard, get_args

import torch
from PIL import Image
from torch import Tensor

from nst.errors import InputError
from nst.network.architecture import VGG_19
from nst.network.vgg import VGG19, Pooling, usual_pooling
from nst.network.weights import resolve
from nst.objective import Objective, Precision, Terms
from nst.objective.balanced import balanced
from nst.objective.cost import largest_piece
from nst.objective.objective import fitted
from nst.objective.statistics import MSE, Gram, Statistic
from nst.objective.statistics.base import described
from nst.objective.tiling import tiles
from nst.objective.transfer import transfer
from nst.objective.yardstick import GATYS_CONTENT, GATYS_STYLE, yardstick
from nst.optim import gamuts, inits, optimizers, parametrizations, schedules
from nst.optim.gamuts import Gamut
from nst.optim.inits import Canvas, Init
from nst.optim.optimizers import OptimizerFactory
from nst.optim.parametrizations import Parametrization
from nst.optim.schedules import SINGLE, Schedule, Stage
from nst.pictures import images, inputs
from nst.pictures.images import Alpha, Picture, Resize
from nst.run import identity
from nst.run.devices import deterministic as deterministic_algorithms
from nst.run.devices import device_name, isolated, memory_kept, resolve_device, tf32, wake
from nst.run.guard import Guard
from nst.run.memory import Memory, choose, explained
from nst.run.records import Budget
from nst.run.rendezvous import Member
from nst.run.results import PictureLosses, Result, RunSink, Start
from nst.run.trainer import Trainer

log = logging.getLogger(__name__)


def stylize(
    content: Picture,
    style: Picture,
    *,
    size: int | None = None,
    resize: Resize = "fit",
    alpha: Alpha = "keep",
    max_megapixels: float | None = images.MAX_MEGAPIXELS,
    optimizer: OptimizerFactory = optimizers.lbfgs,
    init: Init = inits.content,
    parametrization: Parametrization = parametrizations.fourier,
    gamut: Gamut = gamuts.srgb,
    content_layers: Mapping[str, float] = GATYS_CONTENT,
    style_layers: Mapping[str, float] = GATYS_STYLE,
    strength: float | None = 0.5,
    content_weight: float = 1.0,
    style_weight: float | None = None,
    tv_weight: float = 0.0,
    style_loss: Statistic = Gram(),  # noqa: B008 - it has no state
    content_loss: Statistic = MSE(),  # noqa: B008
    joint: bool = True,
    precision: Precision = "fp32",
    weights: str = "auto",
    weights_seed: int = 0,
    pooling: Pooling | None = None,
    schedule: Schedule = SINGLE,
    budget: Budget | None = None,
    guard: Guard | None = None,
    seed: int = 0,
    device: str = "auto",
    deterministic: bool = False,
    memory: Memory = "auto",
    tile_size: int | None = None,
    sinks: Sequence[RunSink] = (),
    image_every: int | None = None,
    saved_as: str = ".png",
    checkpoint: str | Path | None = None,
    checkpoint_every: int | None = None,
    checkpoint_seconds: float | None = 60.0,
    resume: str | Path | None = None,
    stop_requested: Callable[[], str | None] = lambda: None,
    together: Member | None = None,
) -> Result:
    """Paint the content picture in the style of the style picture.

    Args:
        content: a path, a PIL image, or a tensor 3 x H x W or 1 x 3 x H x W in [0, 1].
        style: likewise.
        size: longest side in px; None is 512 on a GPU and 256 on a CPU.
        resize: `fit` keeps the aspect, `stretch` makes both pictures `size` x `size`.
        alpha: `keep` gives the result the transparency of the content picture, where it has any;
            `drop` leaves it on white, as the network sees both pictures.
        max_megapixels: of picture files, see `nst.pictures.images.load`; None for any number.
        optimizer: makes the optimizer, such as `functools.partial(nst.adam, lr=0.05)`.
        init: makes the starting image, such as `nst.inits.random`.
        parametrization: what the optimizer turns, `nst.fourier` or `nst.pixel`.
        gamut: the range that the image is kept in: `nst.gamuts.srgb`, what a picture can hold, or
            `nst.gamuts.free`, none.
        content_layers: tap to weight within the content term.
        style_layers: tap to weight within the style term.
        strength: of the style, from 0, the photograph, to 1, all style and no content, whatever the
            network, size and pictures, see `nst.objective.balanced.goal`. None takes the terms as
            they are, see `nst.objective`.
        content_weight: factor of the content term.
        style_weight: factor of the style term; None is 1, or 1e6 without a strength.
        tv_weight: factor of the total variation.
        style_loss: what of the features is style, see `nst.objective.statistics`.
        content_loss: what of them is content.
        precision: of the network, see `nst.objective.Objective`.
        joint: content and style term share a pass, see `nst.objective.Objective`.
        weights: `auto`, `imagenet`, `embedded`, `random` or a path, see
            `nst.network.weights.resolve`.
        weights_seed: of `random` weights.
        pooling: `max` or `avg`; None is `avg` with random weights and `max` with trained ones.
        schedule: in which sizes, such as `[Scale(0.5, 100), Scale(1, None)]`, see
            `nst.optim.schedules`.
        budget: when to stop; None is 50 evaluations.
        guard: what to do about bad numbers; None stops at a loss that is not finite.
        seed: of the noise of `nst.inits.random`.
        device: `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:N` or `mps`.
        deterministic: let torch use only algorithms that always give the same bits.
        memory: `full` takes the picture as a whole; `tiled` goes through the network tile by tile,
            with the same result up to rounding; `auto` does so where the whole would take more than
            half of the free memory.
        tile_size: longest side of the tiles in px; None is the largest that fits, to 1024. A
            resumed run may have another, but then it is the same only up to rounding.
        sinks: get every row and image, see `nst.run.tracking`.
        image_every: evaluations between the images for the sinks.
        saved_as: suffix of the file that the picture is meant for, one of
            `nst.pictures.images.WRITTEN`; what its compression loses counts in the result's
            `picture_losses`.
        checkpoint: file for the run's state; None writes none.
        checkpoint_every: evaluations between checkpoints; None is no such limit.
        checkpoint_seconds: seconds of optimisation between checkpoints; None is no such limit.
        resume: a checkpoint of the same run to go on from, to the same bits.
        stop_requested: asked once per evaluation; a reason ends the run as `interrupted`.
        together: evaluates this run's images in one batch with those of other threads' runs, see
            `nst.run.rendezvous`; the result is the same up to rounding, its seconds are the
            batch's.

    Raises:
        nst.errors.InputError: something given cannot be used; the message says what and why.
        nst.run.memory.OutOfMemory: the picture is too large; the message says what size would fit.
    """
    _check_options(locals())
    budget = budget or Budget(evaluations=50)
    content_layers = {tap: weight for tap, weight in content_layers.items() if weight}
    style_layers = {tap: weight for tap, weight in style_layers.items() if weight}
    if style_weight is None:
        style_weight = 1e6 if strength is None else 1.0
    weighed = strength is not None and content_weight and style_weight
    if weighed and not 1e-3 <= style_weight / content_weight <= 1e3:
        log.warning(
            "style_weight %g beside content_weight %g leaves one of them no part: with a strength "
            "they are factors of relative terms, of which 1 is the usual one",
            style_weight,
            content_weight,
        )
    if strength == 1:
        content_weight = 0.0  # all style
    taps = [*(content_layers if content_weight else ()), *(style_layers if style_weight else ())]
    if not taps:
        raise InputError("nothing to optimise: no layer has a weight in the content or style term")
    VGG_19.check(taps)
    schedules.check(schedule)
    if saved_as not in images.WRITTEN:
        raise InputError(f"saved_as must be one of {', '.join(images.WRITTEN)}, not {saved_as}")
    where = resolve_device(device)
    wake(where)
    if size is None:
        size = 256 if where.type == "cpu" else 512
    sizes = [max(1, round(size * scale.factor)) for scale in schedule]

    pictures = inputs.load(
        *(content, style, resize, where),
        size=sizes[0],
        minimum=VGG_19.minimum_side(taps),
        layer=VGG_19.deepest(taps),
        max_megapixels=max_megapixels,
    )
    # Read now: the file may be gone when the run is done.
    transparency = images.transparency(content, max_megapixels) if alpha == "keep" else None
    shape = pictures.shape(size)
    with ExitStack() as settings:
        settings.enter_context(isolated(seed, where))
        settings.enter_context(deterministic_algorithms(deterministic))
        settings.enter_context(tf32(precision == "tf32"))
        settings.enter_context(explained(where, *shape, precision))
        tile_size = choose(memory, tile_size, where, *shape, precision, joint=joint)
        content_image, style_image = pictures.tensors(size)
        smallest = pictures.shape(sizes[0])

        def tensors(side: int) -> tuple[Tensor, Tensor]:
            return (content_image, style_image) if side == size else pictures.tensors(side)

        content_start, style_start = tensors(sizes[0])
        canvas = Canvas(
            content_start.clone(),  # an init may change them
            style_start.clone(),
            seed,
            load=lambda path: images.to_tensor(images.load(path, max_megapixels), smallest).to(
                where
            ),
        )
        beginning = _checked_start(init(canvas), smallest)
        del canvas, content_start, style_start
        found = resolve(weights, weights_seed)
        pooling = pooling or usual_pooling(found)

        def make_network(precision: Precision) -> VGG19:
            network = VGG19(found.tensors, taps, pooling)
            return fitted(network, where, precision, joint=joint)

        of_network = (found.sha256, frozenset(taps), pooling, where, precision, joint)
        make_own = partial(make_network, precision)
        network = together.network(of_network, make_own) if together else make_own()
        scales: dict[int, Mapping[str, float]] = {}

        make = transfer if strength is None else partial(balanced, strength=strength)

        def make_objective(network: VGG19, side: int, precision: Precision) -> Objective:
            return make(
                network,
                *tensors(side),
                content_layers=content_layers,
                style_layers=style_layers,
                content_weight=content_weight,
                style_weight=style_weight,
                tv_weight=tv_weight,
                style_loss=style_loss,
                content_loss=content_loss,
                precision=precision,
                joint=joint,
                tile_size=tile_size,
            )

        def objective(side: int) -> Callable[[Tensor], Terms]:
            own = make_objective(network, side, precision)
            scales[side] = own.scales
            return partial(together.evaluate, own) if together else own

        def in_tiles(shape: tuple[int, int]) -> bool:
            return len(tiles(*shape, tile_size, VGG_19.halos(taps))) > 1

        def stage(scale: schedules.Scale, side: int) -> Stage:
            own = pictures.shape(side)
            cost = math.prod(own) / math.prod(shape)
            return Stage(
                *(partial(objective, side), own, scale.factor, scale.evaluations, cost),
                content=lambda: tensors(side)[0],
                recorded=where.type == "cuda" and together is None and not in_tiles(own),
            )

        trainer = Trainer(
            list(map(stage, schedule, sizes)),
            beginning,
            optimizer,
            budget,
            gamut(parametrization),
            guard=guard or Guard(),
            sinks=sinks,
            image_every=image_every,
            checkpoint_path=Path(checkpoint) if checkpoint else None,
            checkpoint_every=checkpoint_every,
            checkpoint_seconds=checkpoint_seconds,
            stop_requested=stop_requested,
        )
        trainer.identity = identity.describe(
            {
                "content picture": content_image,
                "style picture": style_image,
                "starting image": beginning,
                "weights": found.sha256,
                "pooling": pooling,
                "content_layers": content_layers,
                "style_layers": style_layers,
                "strength": strength,
                "content_weight": content_weight,
                "style_weight": style_weight,
                "tv_weight": tv_weight,
                "style_loss": described(style_loss),
                "content_loss": described(content_loss),
                "joint": joint,
                "precision": precision,
                "parametrization": identity.call(parametrization),
                "gamut": identity.call(gamut),
                "deterministic": deterministic,
                "schedule": [astuple(scale) for scale in schedule],
                "optimizer": type(trainer.state.optimizer).__name__,
                **{
                    f"optimizer.{key}": value
                    for key, value in trainer.state.optimizer.defaults.items()
                },
            }
        )
        del beginning  # as large as the picture; the run has made its own of it
        if resume:
            trainer.restore(Path(resume))
        start = Start(
            content_image,
            style_image,
            budget,
            device_name(where),
            found.source,
            found.sha256,
            found.detail,
            pooling,
            tile_size if in_tiles(shape) else None,
            tuple(trainer.state.rows),
        )
        for sink in sinks:
            sink.on_start(start)
        piece = largest_piece(*shape, tile_size)
        with memory_kept(where, piece):
            outcome = trainer.run()
        # Optimizer and objective are as large as several pictures; what follows needs the room.
        del trainer
        picture, clipped = images.to_picture(outcome.image), images.clipped(outcome.image)
        saved = images.to_tensor(images.as_saved(picture, saved_as), shape).to(where)
        with memory_kept(where, piece), tf32(False):
            # A network of its own: that of the run may be in bfloat16, or other runs'.
            own = make_objective(make_network("fp32"), size, "fp32")
            with torch.no_grad():
                losses = PictureLosses.of(own(saved), clipped)
            # A resumed run has not been in all sizes, one whose budget was small neither.
            for side in sizes if strength is not None else ():
                if side not in scales:
                    scales[side] = make_objective(own.network, side, "fp32").scales
            del own
            fixed = yardstick(found, pooling, content_image, style_image, saved, tile_size)
        if transparency:
            picture.putalpha(transparency.resize(picture.size, Image.Resampling.BILINEAR))
        result = Result(
            picture=picture,
            last_picture=images.to_picture(outcome.last_image),
            losses=outcome.rows,
            recoveries=outcome.recoveries,
            best=outcome.best,
            picture_losses=losses,
            scales=scales,
            status=outcome.status,
            stop_reason=outcome.stop_reason,
            error=outcome.error,
            steps=outcome.steps,
            seconds=outcome.seconds,
            yardstick=fixed,
            start=start,
        )
        for sink in sinks:
            sink.on_end(result)
    return result


def _checked_start(image: object, shape: tuple[int, int]) -> Tensor:
    """The starting image that an init has made.

    Raises:
        InputError: it is none.
    """
    expected = (1, 3, *shape)
    if not isinstance(image, Tensor) or image.shape != expected or not image.is_floating_point():
        found = f"{tuple(image.shape)} of {image.dtype}" if isinstance(image, Tensor) else image
        raise InputError(
            f"init: must make a floating-point tensor {expected}, not {str(found)[:80]}"
        )
    if image.is_meta or not image.isfinite().all():
        raise InputError("init: the image that it makes has values that are not finite")
    return image.detach()


def _check_options(options: Mapping[str, object]) -> None:
    """Check values that nothing else would refuse.

    Raises:
        InputError: one is not among those that there are, or not of the right kind.
    """
    known = {
        "resize": get_args(Resize),
        "alpha": get_args(Alpha),
        "precision": get_args(Precision),
        "pooling": (None, *get_args(Pooling)),
    }
    for name, values in known.items():
        if options[name] not in values:
            shown = ", ".join(map(str, values))
            raise InputError(f"{name} must be one of {shown}, not {options[name]!r}")
    for name in ("size", "tile_size", "image_every", "checkpoint_every"):
        value = options[name]
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        if value is not None and not whole:
            raise InputError(f"{name} must be a whole number of at least 1, not {value!r}")
    strength = options["strength"]
    if strength is not None and not (_is_number(strength) and 0 <= strength <= 1):
        raise InputError(f"strength must be a number between 0 and 1, not {strength!r}")
    for name in ("content_weight", "style_weight", "tv_weight", "max_megapixels"):
        value = options[name]
        if value is not None and not (_is_number(value) and 0 <= value < math.inf):
            raise InputError(f"{name} must be a number of at least 0, not {value!r}")
    kinds = {"budget": Budget, "guard": Guard, "weights": str, "device": str, "seed": int}
    for name, kind in kinds.items():
        value = options[name]
        absent = value is None and name in ("budget", "guard")
        if not absent and not isinstance(value, kind):
            raise InputError(f"{name} must be of type {kind.__name__}, not {value!r}")
    for name in ("content_layers", "style_layers"):
        layers = options[name]
        if not isinstance(layers, Mapping):
            raise InputError(f"{name} must map layers to weights, not be {layers!r}")
        if any(not 0 <= weight < math.inf for weight in layers.values()):
            raise InputError(f"{name}: weights must be numbers of at least 0, not {layers}")
    for name in ("content_loss", "style_loss"):
        if not isinstance(options[name], Statistic):
            raise InputError(f"{name} must be a statistic, see nst.statistics")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
