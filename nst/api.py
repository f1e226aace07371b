"""A whole run as one library call, without Hydra and without files but those that are asked for."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import astuple, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import get_args

import torch
from PIL import Image
from torch import Tensor

from nst.errors import InputError, one_of
from nst.free_memory import give_back
from nst.network.architecture import ARCHITECTURES, Architecture
from nst.network.plausible import warn_of_wrong_input
from nst.network.vgg import VGG, Trunk
from nst.objective import Objective, Precision, Region, Source, Terms, transfer
from nst.objective.balanced import balanced
from nst.objective.cost import Cost, cost, measurement
from nst.objective.gradients import balanced_by_gradients
from nst.objective.magnitudes import factors
from nst.objective.objective import fitted
from nst.objective.statistics.base import described
from nst.objective.tiling import tiles
from nst.objective.yardstick import TERMS as YARDSTICK
from nst.objective.yardstick import yardstick
from nst.optim import colors, gamuts, inits, optimizers, parametrizations, schedules
from nst.optim.colors import Color
from nst.optim.gamuts import Gamut
from nst.optim.inits import Canvas, Init
from nst.optim.optimizers import OptimizerFactory
from nst.optim.parametrizations import Parametrization
from nst.optim.schedules import SINGLE, Scale, Schedule, Stage
from nst.pictures import images, inputs
from nst.pictures.images import Alpha, Picture, Resize
from nst.pictures.inputs import Inputs
from nst.pictures.regions import Area, Border, Regions, to_tensor
from nst.pictures.regions import load as load_areas
from nst.run import identity
from nst.run.devices import (
    deterministic,
    device_name,
    isolated,
    memory_kept,
    memory_returned,
    resolve_device,
    tf32,
    wake,
)
from nst.run.guard import Guard
from nst.run.memory import choose_tile_size, explained
from nst.run.records import Budget, Outcome
from nst.run.results import PictureLosses, Result, Start
from nst.run.specs import Compute, Keep, Loss, Network, at_least_1
from nst.run.trainer import Trainer

log = logging.getLogger(__name__)


def stylize(
    content: Picture,
    style: Picture | Sequence[Picture],
    *,
    style_weights: Sequence[float] | None = None,
    style_scale: float | Sequence[float] = 1.0,
    style_size: int | Sequence[int] | None = None,
    regions: Regions | None = None,
    color: Color | None = None,
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
    """Paint the content picture in the style of the style picture, or in a blend of several.

    Args:
        content: a path, a PIL image, or a tensor 3 x H x W or 1 x 3 x H x W in [0, 1].
        style: likewise, or a list of them.
        style_weights: the part of each style in the blend, of at least 0; they need not add up to
            1. None is equal parts.
        style_scale: size of the style picture, or of each, by `size`. Smaller than 1 makes its
            strokes finer in the picture, larger coarser.
        style_size: the same in px; it takes the place of `style_scale`.
        regions: which style goes where, such as `nst.Regions(["sky.png", None])`; None is all
            styles everywhere.
        color: what becomes of the colours, such as `nst.colors.Content()`; None is
            `nst.colors.Transfer()`, the style's.
        size: in px, see `resize`; None is 512 on a GPU and 256 on a CPU.
        resize: what of all pictures is `size`: `fit`, the longer side; `short`, the shorter one;
            `height`; `stretch`, both sides, which makes them square. See
            `nst.pictures.images.target_size`.
        alpha: `keep` gives the result the transparency of the content picture, where it has any;
            `drop` leaves it on white, as the network sees all pictures.
        max_megapixels: of picture files, see `nst.pictures.images.load`; None for any number.
        loss: what is minimised, such as `nst.Loss(strength=0.8)`.
        network: that sees the pictures, such as `nst.Network(weights="embedded")`.
        init: makes the starting image, such as `nst.inits.random`.
        parametrization: what the optimizer changes, `nst.fourier` or `nst.pixel`.
        gamut: the range that the image is kept in: `nst.gamuts.srgb`, what a picture can hold,
            `nst.gamuts.clip`, the same by clipping, or `nst.gamuts.free`, none.
        optimizer: makes the optimizer, such as `functools.partial(nst.adam, lr=0.05)`; one around
            another is `functools.partial(nst.averaged, optimizer=nst.adam)`. At first one is made
            for an image of 64 x 64 px, which tells what memory the run's will take.
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
    asked_regions, color = regions or Regions(), color or colors.Transfer()
    groups = loss, network, compute, keep, budget, guard, asked_regions, color
    kinds = Loss, Network, Compute, Keep, Budget, Guard, Regions, Color
    for value, kind in zip(groups, kinds, strict=True):
        if not isinstance(value, kind):
            name = kind.__name__.lower()
            known = "nst.colors.Color" if kind is Color else f"nst.{kind.__name__}"
            raise InputError(f"{name} must be an {known}, not {value!r}")
    architecture = ARCHITECTURES[network.architecture]
    _check(loss, architecture, size, resize, alpha, seed, max_megapixels)
    schedules.check(schedule)
    where = resolve_device(compute.device)
    if compute.deterministic and where.type == "cuda" and network.padding == "reflect":
        raise InputError("padding=reflect: has no deterministic gradient on a GPU; take replicate")
    if size is None:
        size = 256 if where.type == "cpu" else 512
    sizes = [max(1, round(size * scale.factor)) for scale in schedule]
    styles = _listed(style)
    pictures = inputs.load(
        content,
        styles,
        _style_scales(style_scale, style_size, size, len(styles)),
        resize,
        where,
        sizes=sizes,
        minimum=architecture.minimum_side(loss.taps),
        layer=architecture.deepest(loss.taps),
        max_megapixels=max_megapixels,
    )
    areas = load_areas(asked_regions, pictures.content, pictures.styles, max_megapixels)
    # Read now: the file may be gone when the run is done.
    transparency = images.transparency(content, max_megapixels) if alpha == "keep" else None
    shape = pictures.shape(size)
    with ExitStack() as settings:
        settings.enter_context(isolated(seed, where))
        give_back(where)
        wake(where)
        settings.enter_context(deterministic(compute.deterministic))
        settings.enter_context(tf32(compute.precision == "tf32"))
        trunk = network.trunk()
        estimate = _estimate(loss, trunk, compute.precision, areas, color)
        bounded = gamut(parametrization)
        kept = _kept(optimizer, bounded, budget, schedule, where, shape)
        tile_size = choose_tile_size(
            compute.memory,
            compute.tile_size,
            where,
            *_largest_shape(pictures, size),
            estimate,
            joint=loss.joint,
            kept=kept,
            size=size,
        )
        settings.enter_context(explained(where, *shape, estimate, tile_size, size))
        plan = _Plan(
            pictures=pictures,
            max_megapixels=max_megapixels,
            areas=areas,
            style_weights=_style_weights(style_weights, len(styles), areas),
            border=asked_regions.border,
            color=color,
            size=size,
            loss=loss,
            trunk=trunk,
            compute=compute,
            where=where,
            tile_size=tile_size,
        )
        settings.enter_context(memory_returned(where, plan.in_tiles(shape)))
        beginning = _beginning(plan, init, seed, sizes[0])
        warn_of_wrong_input(trunk, images.to_tensor(pictures.content, (96, 96)))
        measure = _Measure(plan, beginning if loss.gradients else None)
        trainer = Trainer(
            [measure.stage(scale, side) for scale, side in zip(schedule, sizes, strict=True)],
            beginning,
            optimizer,
            budget,
            color.parametrized(bounded, plan.content_of),
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
                **plan.identity(),
                "starting image": beginning,
                **{f"model.{name}": value for name, value in trunk.identity().items()},
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
        rows = tuple(trainer.state.rows)

        def started() -> Start:
            return Start(
                content=plan.view.content,
                styles=plan.view.styles,
                style_weights=plan.style_weights,
                regions=plan.view.regions,
                budget=budget,
                device=device_name(where),
                weights=trunk.weights.source,
                weights_detail=trunk.weights.detail,
                network=trunk.identity(),
                tile_size=plan.tile_size if plan.in_tiles(shape) else None,
                rows=rows,
            )

        start = started()
        for sink in keep.sinks:
            sink.on_start(start)
        del start
        plan.forget_views()
        with memory_kept(where, estimate.largest_piece(*shape, tile_size)):
            outcome = trainer.run()
        # Optimizer and objective are as large as several pictures, and a CUDA graph's memory serves
        # nothing else; what follows needs the room.
        del trainer
        give_back(where)
        result = _result(measure, outcome, started(), sizes, keep.saved_as, transparency)
        for sink in keep.sinks:
            sink.on_end(result)
    return result


def _check(
    loss: Loss,
    architecture: Architecture,
    size: object,
    resize: object,
    alpha: object,
    seed: object,
    megapixels: float | None,
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
    architecture.check(loss.taps)
    content_weight, style_weight = loss.factors
    weighed = loss.strength is not None and content_weight and style_weight
    if weighed and not 1e-3 <= style_weight / content_weight <= 1e3:
        log.warning(
            "style_weight %g beside content_weight %g leaves one of them no part: with a strength "
            "they are factors of relative terms, of which 1 is the usual one",
            style_weight,
            content_weight,
        )


def _largest_shape(pictures: Inputs, size: int) -> tuple[int, int]:
    """Height and width of the picture that takes most memory.

    A style takes about a third of what the image takes: nothing is differentiated through it.
    """
    height, width = pictures.shape(size)
    for style, scale in zip(pictures.styles, pictures.style_scales, strict=True):
        shape = images.target_size(style, inputs.style_side(size, scale), pictures.resize)
        if math.prod(shape) / 3 > height * width:
            height, width = (round(side / 3**0.5) for side in shape)
    return height, width


def _estimate(
    loss: Loss, trunk: Trunk, precision: Precision, areas: Sequence[Area], color: Color
) -> Cost:
    """What evaluations take of memory, and the measurement of the picture after them."""
    statistics = loss.content_loss, loss.style_loss
    parts = zip(loss.factors, statistics, loss.layers, strict=True)
    terms = [(statistic, [*taps]) for factor, statistic, taps in parts if factor]
    masked = 0 if len(areas) == 1 and areas[0].mask is None else len(areas)
    found = cost(
        terms,
        precision,
        masked,
        trunk.weights.architecture,
        trunk.pooling,
        loss.joint,
    )
    return replace(
        found,
        pixel=found.pixel + color.bytes_of_pixel,
        after=measurement(trunk.weights.architecture, terms, YARDSTICK.values(), masked),
    )


def _kept(
    optimizer: OptimizerFactory,
    parametrization: Parametrization,
    budget: Budget,
    schedule: Schedule,
    where: torch.device,
    shape: tuple[int, int],
) -> int:
    """Bytes that the optimizer takes in full size, as one of a small image says.

    Raises:
        InputError: it is none, or the parametrization makes no image.
    """
    evaluations = budget.evaluations
    if evaluations is not None:
        before = sum((scale.evaluations or 0) * scale.factor**2 for scale in schedule[:-1])
        evaluations = max(1, math.ceil(evaluations - before))
    small = torch.zeros(1, 3, 64, 64, device=where)
    variables = parametrizations.made(parametrization, small).variables
    own = optimizers.made(optimizer, variables, "optimizer")
    vector = sum(one.nbytes for one in variables) * math.prod(shape) / (64 * 64)
    return int(optimizers.vectors(own, evaluations) * vector)


def _listed(style: Picture | Sequence[Picture]) -> list[Picture]:
    """The styles as a list.

    Raises:
        InputError: there is none.
    """
    if isinstance(style, Picture):
        return [style]
    if not isinstance(style, Sequence) or not style:
        raise InputError(f"style must be a picture or a list of pictures, not {style!r}")
    return list(style)


def _style_weights(
    given: Sequence[float] | None, count: int, areas: Sequence[Area]
) -> tuple[float, ...]:
    """The part of each style in the blend, adding up to 1.

    Raises:
        InputError: they are not as many as the styles, or not such numbers; or a region has but
            one style.
    """
    if given is None:
        return (1 / count,) * count
    weights = inputs.numbers_of_styles("style_weights", given, count)
    if not all(0 <= weight < math.inf for weight in weights) or not sum(weights) > 0:
        raise InputError(
            f"style_weights must be finite, at least 0, and not all of them 0, not {weights}"
        )
    if count > 1 and len(areas) > 1 and all(len(area.styles) == 1 for area in areas):
        raise InputError("style_weights are of a blend, but each region has one style of its own")
    return tuple(weight / sum(weights) for weight in weights)


def _style_scales(
    scale: float | Sequence[float], side: int | Sequence[int] | None, size: int, count: int
) -> tuple[float, ...]:
    """The size of each style picture by the content picture's.

    Raises:
        InputError: they are not as many as the styles, or not above 0.
    """
    name, given = ("style_scale", scale) if side is None else ("style_size", side)
    found = inputs.numbers_of_styles(
        name, given if isinstance(given, Sequence) else [given] * count, count
    )
    scales = tuple(one if side is None else one / size for one in found)
    if not all(0 < one and one * size <= images.LARGEST_SIDE for one in scales):
        raise InputError(
            f"{name} must be greater than 0, and a style at most {images.LARGEST_SIDE} px, "
            f"not {found}"
        )
    return scales


@dataclass(frozen=True)
class _View:
    """The pictures of a run in one size.

    Attributes:
        content: the content picture, 1 x 3 x H x W.
        seen: it as the network sees it.
        originals: the style pictures, each 1 x 3 x h x w.
        styles: they as the network sees them.
        regions: of the image, and which of the styles they are to be like.
    """

    content: Tensor
    seen: Tensor
    originals: list[Tensor]
    styles: list[Tensor]
    regions: list[Region]


@dataclass
class _Plan:
    """The pictures of a run, and what is to be done with them where.

    Attributes:
        pictures: in whatever size.
        max_megapixels: of other picture files, see `nst.pictures.images.load`.
        areas: the regions.
        style_weights: the part of each style in the blend.
        border: see `nst.pictures.regions.Regions`.
        color: what becomes of the colours.
        size: of the result in px, see `nst.pictures.images.target_size`.
        loss: what is minimised.
        trunk: the network.
        compute: how.
        where: the device.
        tile_size: see `nst.objective.Objective`.
    """

    pictures: Inputs
    max_megapixels: float | None
    areas: Sequence[Area]
    style_weights: tuple[float, ...]
    border: Border
    color: Color
    size: int
    loss: Loss
    trunk: Trunk
    compute: Compute
    where: torch.device
    tile_size: int | None
    _views: dict[int, _View] = field(default_factory=dict, init=False)

    @property
    def view(self) -> _View:
        """The pictures in full size."""
        return self.view_at(self.size)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the result."""
        return self.pictures.shape(self.size)

    def view_at(self, side: int) -> _View:
        """The pictures in the size of a stage, made once until they are forgotten."""
        if side not in self._views:
            content, originals = self.pictures.tensors(side)
            seen, styles = self.color.pictures(content, originals)
            regions = [self._region(area, seen, styles) for area in self.areas]
            self._views[side] = _View(content, seen, originals, styles, regions)
        return self._views[side]

    def forget_views(self) -> None:
        """Let go of the pictures in all sizes, until they are asked for again."""
        self._views.clear()

    def content_of(self, shape: Sequence[int]) -> Tensor:
        """The content picture in the height and width of a stage."""
        return images.to_tensor(self.pictures.content, (shape[0], shape[1])).to(self.where)

    def in_tiles(self, shape: tuple[int, int]) -> bool:
        """Whether a picture of this height and width is taken in more than one tile."""
        halos = self.trunk.weights.architecture.halos(self.loss.taps)
        return len(tiles(*shape, self.tile_size, halos)) > 1

    def identity(self) -> dict[str, object]:
        """The pictures by name, as they make a run what it is."""
        view = self.view
        found: dict[str, object] = {"content picture": view.content}
        # As they were given: what a colour matching makes of them is rounded as the machine does.
        for number, picture in enumerate(view.originals, start=1):
            found["style picture" if number == 1 else f"style picture {number}"] = picture
        if len(view.styles) > 1:
            found["style_weights"] = self.style_weights
            for area in self.areas:
                found[f"styles of region {area.name}"] = [number for number, _ in area.styles]
        for region in view.regions:
            masks = {"": region.mask}
            masks |= {f" on {n}": one.mask for n, one in enumerate(region.sources, start=1)}
            for place, mask in masks.items():
                if mask is not None:
                    found[f"region {region.name}{place}"] = mask
                    found["border"] = self.border
        return {**found, "color": described(self.color)}

    def _region(self, area: Area, content: Tensor, styles: Sequence[Tensor]) -> Region:
        sources = [
            Source(styles[index], self._mask(part, styles[index]), self.style_weights[index])
            for index, part in area.styles
            if self.style_weights[index]
        ]
        if not sources:
            raise InputError(f"style_weights leave no style for the region {area.name}")
        mask = self._mask(area.mask, content)
        if mask is None and len(self.areas) > 1:
            mask = torch.ones_like(content[:, :1])
        return Region(sources, area.name, mask, self.border)

    def _mask(self, mask: Image.Image | None, picture: Tensor) -> Tensor | None:
        found = to_tensor(mask, picture.shape[2:])
        return None if found is None else found.to(self.where)


def _beginning(plan: _Plan, init: Init, seed: int, side: int) -> Tensor:
    """The starting image in the size of a stage.

    Raises:
        InputError: what the init made is not an image.
    """
    shape = plan.pictures.shape(side)

    def load(path: str) -> Tensor:
        return images.to_tensor(images.load(path, plan.max_megapixels), shape).to(plan.where)

    view = plan.view_at(side)
    # Clones, for an init may work in place.
    styles = [style.clone() for style in view.styles]
    if not callable(init):
        raise InputError(f"init: must be a function, see nst.inits, not {init!r:.80}")
    image: object = init(Canvas(view.content.clone(), styles, plan.style_weights, seed, load))
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
        beginning: the starting image, where weights by gradients are measured at it.

    Attributes:
        scales: those of the objectives that were made, by the size, see
            `nst.objective.Objective`.
    """

    def __init__(self, plan: _Plan, beginning: Tensor | None) -> None:
        self.plan = plan
        self._beginning = beginning
        self._full: Objective | None = None
        self.scales: dict[int, Mapping[str, float]] = {}
        compute, loss = plan.compute, plan.loss
        self._layers = _meant(loss, plan.trunk)
        of_network = *plan.trunk.identity().values(), frozenset(loss.taps)
        key = *of_network, plan.where, compute.precision, loss.joint
        self._network = compute.strategy.network(key, partial(self.network, compute.precision))

    def network(self, precision: Precision) -> VGG:
        """The network anew."""
        made = self.plan.trunk.network(self.plan.loss.taps)
        return fitted(made, self.plan.where, precision, joint=self.plan.loss.joint)

    def exact_network(self) -> VGG:
        """The network in float32: the run's own where it is, and nobody else's."""
        compute = self.plan.compute
        usable = compute.precision != "bf16" and compute.strategy.alone
        return self._network if usable else self.network("fp32")

    def exact(self, network: VGG) -> Objective:
        """The objective in the full size and float32: the run's own where it is.

        Args:
            network: for another one, in float32.
        """
        return self._full or self.objective(network, self.plan.size, "fp32")

    def objective(self, network: VGG, side: int, precision: Precision) -> Objective:
        """The objective in a size."""
        loss, view = self.plan.loss, self.plan.view_at(side)
        content_weight, style_weight = loss.factors
        content_layers, style_layers = self._layers
        make: Callable[..., Objective] = transfer
        if loss.strength is not None:
            # Those of a network in bfloat16 are not quite those of one in float32.
            same = precision == self.plan.compute.precision
            known = self.scales.get(side) if same else None
            make = partial(balanced, strength=loss.strength, known=known)
        elif self._beginning is not None:
            image = schedules.resized(self._beginning, view.content.shape[2:])
            make = partial(
                balanced_by_gradients,
                image=self.plan.color.seen(image),
                weights=self.scales.get(side),
            )
        return make(
            network,
            view.seen,
            view.regions,
            content_layers=content_layers,
            style_layers=style_layers,
            content_weight=content_weight,
            style_weight=style_weight,
            content_loss=loss.content_loss,
            style_loss=loss.style_loss,
            tv_weight=loss.tv_weight,
            tv_norm=loss.tv_norm,
            precision=precision,
            joint=loss.joint,
            tile_size=self.plan.tile_size,
        )

    def stage(self, scale: Scale, side: int) -> Stage:
        """A stage of the schedule."""
        shape = self.plan.pictures.shape(side)
        strategy = self.plan.compute.strategy

        def objective() -> Callable[[Tensor], Terms]:
            precision = self.plan.compute.precision
            own = self.objective(self._network, side, precision)
            if side == self.plan.size and precision == "fp32" and strategy.alone:
                self._full = own
            self.scales[side] = own.scales
            self.plan.forget_views()  # the evaluations that follow need the room
            return lambda image: strategy.evaluate(own, self.plan.color.seen(image))

        on_cuda = self.plan.where.type == "cuda"
        return Stage(
            objective=objective,
            shape=shape,
            scale=scale.factor,
            evaluations=scale.evaluations,
            cost=math.prod(shape) / math.prod(self.plan.shape),
            content=(lambda: self.plan.view_at(side).content) if scale.detail else None,
            recorded=on_cuda and strategy.alone and not self.plan.in_tiles(shape),
        )


def _meant(loss: Loss, trunk: Trunk) -> tuple[dict[str, float], dict[str, float]]:
    """The layers' weights of the content and the style term, for the distances in this network."""
    if loss.meant_for is None:
        return loss.layers
    terms = list(zip(("content", "style"), loss.factors, loss.layers, strict=True))
    found = factors(trunk, [f"{term}/{tap}" for term, own, taps in terms if own for tap in taps])
    content, style = (
        {tap: weight * found.get(f"{term}/{tap}", 1.0) for tap, weight in layers.items()}
        for term, _, layers in terms
    )
    return content, style


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
    content = plan.view.content
    image, last_image = (
        plan.color.finished(one, content) for one in (outcome.image, outcome.last_image)
    )
    picture, clipped = images.to_picture(image), images.clipped(outcome.image)
    saved = images.to_tensor(images.as_saved(picture, saved_as), plan.shape).to(plan.where)
    saved = plan.color.seen(saved)
    with tf32(False):
        network = measure.exact_network()
        objective = measure.exact(network)
        with torch.no_grad():
            terms = objective(saved)
        # A resumed run has not been in all sizes, one whose budget was small neither.
        for side in sizes if plan.loss.strength is not None or plan.loss.gradients else ():
            if side not in measure.scales:
                own = measure.objective(network, side, "fp32")
                measure.scales[side] = own.scales
        fixed = yardstick(
            plan.trunk,
            plan.view.seen,
            plan.view.regions,
            saved,
            plan.tile_size,
            (objective, terms),
        )
    if transparency:
        picture.putalpha(transparency.resize(picture.size, Image.Resampling.BILINEAR))
    return Result(
        picture=picture,
        last_picture=images.to_picture(last_image),
        losses=outcome.rows,
        recoveries=outcome.recoveries,
        best=outcome.best,
        picture_losses=PictureLosses.of(terms, clipped),
        scales=measure.scales,
        status=outcome.status,
        stop_reason=outcome.stop_reason,
        error=outcome.error,
        steps=outcome.steps,
        seconds=outcome.seconds,
        yardstick=fixed,
        start=start,
        chosen=outcome.chosen,
    )
