"""A whole run as one library call, without Hydra and without files but those that are asked for."""

import logging
import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import astuple, dataclass, field
from functools import partial
from pathlib import Path
from typing import get_args

import torch
from PIL import Image
from torch import Tensor

from nst.errors import InputError
from nst.network.architecture import VGG_19
from nst.network.vgg import VGG19, Pooling, usual_pooling
from nst.network.weights import Weights, resolve
from nst.objective import Objective, Precision, Terms, transfer
from nst.objective.balanced import balanced
from nst.objective.cost import largest_piece
from nst.objective.objective import fitted
from nst.objective.tiling import tiles
from nst.objective.yardstick import yardstick
from nst.optim import gamuts, inits, optimizers, parametrizations, schedules
from nst.optim.gamuts import Gamut
from nst.optim.inits import Canvas, Init
from nst.optim.optimizers import OptimizerFactory
from nst.optim.parametrizations import Parametrization
from nst.optim.schedules import SINGLE, Scale, Schedule, Stage
from nst.pictures import images, inputs
from nst.pictures.images import Alpha, Picture, Resize
from nst.pictures.inputs import Inputs
from nst.run import identity
from nst.run.devices import (
    deterministic,
    device_name,
    isolated,
    memory_kept,
    resolve_device,
    tf32,
    wake,
)
from nst.run.guard import Guard
from nst.run.memory import choose, explained
from nst.run.records import Budget, Outcome
from nst.run.results import PictureLosses, Result, Start
from nst.run.specs import Compute, Keep, Loss, Network, at_least_1, one_of
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
    loss: Loss | None = None,
    network: Network | None = None,
    init: Init = inits.content,
    parametrization: Parametrization = parametrizations.fourier,
    gamut: Gamut = gamuts.srgb,
    optimizer: OptimizerFactory = optimizers.lbfgs,
    schedule: Schedule = SINGLE,
    budget: Budget | None = None,
    guard: Guard | None = None,
    seed: int = 0,
    compute: Compute | None = None,
    keep: Keep | None = None,
    stop_requested: Callable[[], str | None] = lambda: None,
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
        loss: what is minimised, such as `nst.Loss(strength=0.8)`.
        network: that sees the pictures, such as `nst.Network(weights="embedded")`.
        init: makes the starting image, such as `nst.inits.random`.
        parametrization: what the optimizer turns, `nst.fourier` or `nst.pixel`.
        gamut: the range that the image is kept in: `nst.gamuts.srgb`, what a picture can hold, or
            `nst.gamuts.free`, none.
        optimizer: makes the optimizer, such as `functools.partial(nst.adam, lr=0.05)`.
        schedule: in which sizes, such as `[Scale(0.5, 100), Scale(1, None)]`, see
            `nst.optim.schedules`.
        budget: when to stop; None is 50 evaluations.
        guard: what to do about bad numbers, such as `nst.Guard("recover")`; None stops at a loss
            that is not finite.
        seed: of the noise of `nst.inits.random`, `noisy` and `style_stats`.
        compute: where and how, such as `nst.Compute(device="cpu", precision="bf16")`.
        keep: what is kept on the way, such as `nst.Keep(checkpoint="run.pt")`.
        stop_requested: asked once per evaluation; a reason ends the run as `interrupted`.

    Raises:
        nst.errors.InputError: something given cannot be used; the message says what and why.
        nst.run.memory.OutOfMemory: the picture is too large; the message says what size would fit.
    """
    loss, network, compute = loss or Loss(), network or Network(), compute or Compute()
    keep, budget, guard = keep or Keep(), budget or Budget(evaluations=50), guard or Guard()
    groups = loss, network, compute, keep, budget, guard
    for value, kind in zip(groups, (Loss, Network, Compute, Keep, Budget, Guard), strict=True):
        if not isinstance(value, kind):
            name = kind.__name__
            raise InputError(f"{name.lower()} must be an nst.{name}, not {value!r}")
    _check(loss, size, resize, alpha, seed, max_megapixels)
    schedules.check(schedule)
    where = resolve_device(compute.device)
    if size is None:
        size = 256 if where.type == "cpu" else 512
    sizes = [max(1, round(size * scale.factor)) for scale in schedule]
    pictures = inputs.load(
        *(content, style, resize, where),
        size=sizes[0],
        minimum=VGG_19.minimum_side(loss.taps),
        layer=VGG_19.deepest(loss.taps),
        max_megapixels=max_megapixels,
    )
    # Read now: the file may be gone when the run is done.
    transparency = images.transparency(content, max_megapixels) if alpha == "keep" else None
    shape = pictures.shape(size)
    with ExitStack() as settings:
        settings.enter_context(isolated(seed, where))
        wake(where)
        settings.enter_context(deterministic(compute.deterministic))
        settings.enter_context(tf32(compute.precision == "tf32"))
        settings.enter_context(explained(where, *shape, compute.precision))
        plan = _Plan(
            *(pictures, size, loss, compute, where),
            tile_size=choose(
                *(compute.memory, compute.tile_size, where, *shape, compute.precision),
                joint=loss.joint,
            ),
        )
        beginning = _beginning(plan, sizes[0], init, seed, max_megapixels)
        weights = resolve(network.weights, network.seed)
        pooling = network.pooling or usual_pooling(weights)
        measure = _Measure(plan, weights, pooling)
        trainer = Trainer(
            [measure.stage(scale, side) for scale, side in zip(schedule, sizes, strict=True)],
            beginning,
            optimizer,
            budget,
            gamut(parametrization),
            guard=guard,
            sinks=keep.sinks,
            image_every=keep.image_every,
            checkpoint_path=Path(keep.checkpoint) if keep.checkpoint else None,
            checkpoint_every=keep.checkpoint_every,
            checkpoint_seconds=keep.checkpoint_seconds,
            stop_requested=stop_requested,
        )
        trainer.identity = identity.describe(
            {
                "content picture": plan.content,
                "style picture": plan.style,
                "starting image": beginning,
                "weights": weights.sha256,
                "pooling": pooling,
                **loss.identity(),
                "precision": compute.precision,
                "deterministic": compute.deterministic,
                "parametrization": identity.call(parametrization),
                "gamut": identity.call(gamut),
                "schedule": [astuple(scale) for scale in schedule],
                **identity.optimizer(trainer.state.optimizer),
            }
        )
        del beginning  # as large as the picture; the run has made its own of it
        if keep.resume:
            trainer.restore(Path(keep.resume))
        start = Start(
            *(plan.content, plan.style, budget, device_name(where)),
            *(weights.source, weights.sha256, weights.detail, pooling),
            plan.tile_size if plan.in_tiles(shape) else None,
            tuple(trainer.state.rows),
        )
        for sink in keep.sinks:
            sink.on_start(start)
        with memory_kept(where, plan.largest_piece):
            outcome = trainer.run()
        # Optimizer and objective are as large as several pictures; what follows needs the room.
        del trainer
        result = _result(measure, outcome, start, sizes, keep.saved_as, transparency)
        for sink in keep.sinks:
            sink.on_end(result)
    return result


def _check(
    loss: Loss, size: object, resize: object, alpha: object, seed: object, megapixels: float | None
) -> None:
    """Check what would not be refused elsewhere, or not before something has been loaded.

    Raises:
        InputError: something cannot be used.
    """
    at_least_1("size", size)
    one_of("resize", resize, get_args(Resize))
    one_of("alpha", alpha, get_args(Alpha))
    if megapixels is not None and not megapixels > 0:
        raise InputError(f"max_megapixels must be greater than 0, not {megapixels!r}")
    if not isinstance(seed, int):
        raise InputError(f"seed must be a whole number, not {seed!r}")
    if not loss.taps:
        raise InputError("nothing to optimise: no layer has a weight in the content or style term")
    VGG_19.check(loss.taps)
    content_weight, style_weight = loss.factors
    weighed = loss.strength is not None and content_weight and style_weight
    if weighed and not 1e-3 <= style_weight / content_weight <= 1e3:
        log.warning(
            "style_weight %g beside content_weight %g leaves one of them no part: with a strength "
            "they are factors of relative terms, of which 1 is the usual one",
            style_weight,
            content_weight,
        )


@dataclass
class _Plan:
    """The pictures of a run, and what is to be done with them where.

    Attributes:
        pictures: in whatever size.
        size: longest side in px of the result.
        loss: what is minimised.
        compute: how.
        where: the device.
        tile_size: see `nst.objective.Objective`.
        content: content picture in full size, 1 x 3 x H x W.
        style: style picture likewise.
    """

    pictures: Inputs
    size: int
    loss: Loss
    compute: Compute
    where: torch.device
    tile_size: int | None
    content: Tensor = field(init=False)
    style: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.content, self.style = self.pictures.tensors(self.size)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the result."""
        return self.pictures.shape(self.size)

    @property
    def largest_piece(self) -> int:
        """Bytes of the largest tensor of an evaluation."""
        return largest_piece(*self.shape, self.tile_size)

    def tensors(self, side: int) -> tuple[Tensor, Tensor]:
        """Both pictures in the size of a stage."""
        return (self.content, self.style) if side == self.size else self.pictures.tensors(side)

    def in_tiles(self, shape: tuple[int, int]) -> bool:
        """Whether a picture of this height and width is taken in more than one tile."""
        return len(tiles(*shape, self.tile_size, VGG_19.halos(self.loss.taps))) > 1


def _beginning(
    plan: _Plan, side: int, init: Init, seed: int, max_megapixels: float | None
) -> Tensor:
    """The starting image.

    Raises:
        InputError: what the init made is none.
    """
    shape = plan.pictures.shape(side)

    def load(path: str) -> Tensor:
        return images.to_tensor(images.load(path, max_megapixels), shape).to(plan.where)

    content, style = plan.tensors(side)
    # Clones, for an init may work in place.
    image: object = init(Canvas(content.clone(), style.clone(), seed, load))
    expected = (1, 3, *shape)
    if not isinstance(image, Tensor) or image.shape != expected or not image.is_floating_point():
        found = f"{tuple(image.shape)} of {image.dtype}" if isinstance(image, Tensor) else image
        raise InputError(
            f"init: must make a floating-point tensor {expected}, not {str(found)[:80]}"
        )
    if image.is_meta or not image.isfinite().all():
        raise InputError("init: the image that it makes has values that are not finite")
    return image.detach()


class _Measure:
    """Makes the objectives of a run's sizes.

    Args:
        plan: of the run.
        weights: of the network.
        pooling: of the network.

    Attributes:
        scales: those of the objectives that were made, by the longest side, see
            `nst.objective.Objective`.
    """

    def __init__(self, plan: _Plan, weights: Weights, pooling: Pooling) -> None:
        self.plan, self.weights, self.pooling = plan, weights, pooling
        self.scales: dict[int, Mapping[str, float]] = {}
        compute, loss = plan.compute, plan.loss
        of_network = weights.sha256, frozenset(loss.taps), pooling, plan.where
        key = *of_network, compute.precision, loss.joint
        self._network = compute.strategy.network(key, partial(self.network, compute.precision))

    def network(self, precision: Precision) -> VGG19:
        """The network anew."""
        made = VGG19(self.weights.tensors, self.plan.loss.taps, self.pooling)
        return fitted(made, self.plan.where, precision, joint=self.plan.loss.joint)

    def objective(self, network: VGG19, side: int, precision: Precision) -> Objective:
        """The objective in a size."""
        loss = self.plan.loss
        content_weight, style_weight = loss.factors
        content_layers, style_layers = loss.layers
        make = transfer if loss.strength is None else partial(balanced, strength=loss.strength)
        return make(
            network,
            *self.plan.tensors(side),
            content_layers=content_layers,
            style_layers=style_layers,
            content_weight=content_weight,
            style_weight=style_weight,
            content_loss=loss.content_loss,
            style_loss=loss.style_loss,
            tv_weight=loss.tv_weight,
            precision=precision,
            joint=loss.joint,
            tile_size=self.plan.tile_size,
        )

    def stage(self, scale: Scale, side: int) -> Stage:
        """A stage of the schedule."""
        shape = self.plan.pictures.shape(side)
        strategy = self.plan.compute.strategy

        def objective() -> Callable[[Tensor], Terms]:
            own = self.objective(self._network, side, self.plan.compute.precision)
            self.scales[side] = own.scales
            return partial(strategy.evaluate, own)

        on_cuda = self.plan.where.type == "cuda"
        return Stage(
            *(objective, shape, scale.factor, scale.evaluations),
            math.prod(shape) / math.prod(self.plan.shape),
            content=lambda: self.plan.tensors(side)[0],
            recorded=on_cuda and strategy.alone and not self.plan.in_tiles(shape),
        )


def _result(
    measure: _Measure,
    outcome: Outcome,
    start: Start,
    sizes: list[int],
    saved_as: str,
    transparency: Image.Image | None,
) -> Result:
    """The picture, and its losses as it will be saved."""
    plan = measure.plan
    picture, clipped = images.to_picture(outcome.image), images.clipped(outcome.image)
    saved = images.to_tensor(images.as_saved(picture, saved_as), plan.shape).to(plan.where)
    with memory_kept(plan.where, plan.largest_piece), tf32(False):
        # A network of its own: that of the run may be in bfloat16, or other runs'.
        objective = measure.objective(measure.network("fp32"), plan.size, "fp32")
        with torch.no_grad():
            losses = PictureLosses.of(objective(saved), clipped)
        # A resumed run has not been in all sizes, one whose budget was small neither.
        for side in sizes if plan.loss.strength is not None else ():
            if side not in measure.scales:
                own = measure.objective(objective.network, side, "fp32")
                measure.scales[side] = own.scales
        del objective
        fixed = yardstick(
            *(measure.weights, measure.pooling, plan.content, plan.style, saved, plan.tile_size)
        )
    if transparency:
        picture.putalpha(transparency.resize(picture.size, Image.Resampling.BILINEAR))
    return Result(
        picture=picture,
        last_picture=images.to_picture(outcome.last_image),
        losses=outcome.rows,
        recoveries=outcome.recoveries,
        best=outcome.best,
        picture_losses=losses,
        scales=measure.scales,
        status=outcome.status,
        stop_reason=outcome.stop_reason,
        error=outcome.error,
        steps=outcome.steps,
        seconds=outcome.seconds,
        yardstick=fixed,
        start=start,
    )
