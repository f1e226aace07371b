"""The objective: an image in, named weighted terms and their gradient out.

    total = sum_t weight_t * sum_l a_tl distance_t(gathered_tl, target_tl) + tv_weight * TV(image)

with what each term's statistic (`nst.objective.statistics`) gathers from the features of its
layers l. With Gram matrices for the style and mean squared differences for the content
(`nst.objective.transfer`) these are equations 1 to 7 of Gatys et al., arXiv 1508.06576, up to
constant factors. A term may ask for another picture's statistics in each of several regions of the
image (`nst.objective.terms`): each such distance is a *measure* of its own.

The terms depend on the features by means over positions, or by few values at each. Once these are
known, so is dL/dF_l at every position, and the way back through the network adds it to what comes
down at each tap: half of the matrix products that differentiating the sums step by step would take.
A picture too large for memory goes through the network tile by tile (`nst.objective.tiling`), once
for what is gathered and once more for the gradient; up to rounding this is the whole picture's.
Several images go through as one batch in the same way (`nst.objective.batch`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from nst.errors import InputError
from nst.network.vgg import VGG
from nst.objective import masks, tiling
from nst.objective.cost import cost
from nst.objective.statistics import Comparison, Distribution, Moments, Positions, Statistic
from nst.objective.terms import Measure, Region, Source, Term, Terms, weighed
from nst.objective.tiling import Tile, Window, band_height
from nst.objective.variation import Norm, total_variation, variation_in_bands
from nst.pictures.regions import Border

Precision = Literal["fp32", "tf32", "bf16"]
_ALL: Window = (slice(None), slice(None))


@dataclass(frozen=True)
class _Pass:
    """A tile on its way through the network.

    Attributes:
        tile: which.
        pixels: it with its halo, as the network gets it.
        features: tap and activation, from shallow to deep.
    """

    tile: Tile
    pixels: Tensor
    features: Iterable[tuple[str, Tensor]]


@dataclass(frozen=True)
class Aims:
    """What images are compared with: one image with its own, or B of them with B.

    Attributes:
        terms: their weights and goals may be tensors of length B; without regions.
        measures: of the terms; their weights likewise.
        targets: by the measures' keys: what a statistic compares with, B of each; of a comparison
            features in the network's precision, which holds them exactly.
        masks: by key, where a mask says it: what the image's positions count, 1 x 1 x H' x W' or
            B x 1 x H' x W', adding up to 1.
        tv_weights: B factors of the total variation.
    """

    terms: Sequence[Term]
    measures: list[Measure]
    targets: dict[str, Tensor]
    masks: dict[str, Tensor]
    tv_weights: Sequence[float]

    @property
    def taps(self) -> list[str]:
        """The layers that are measured."""
        return list({measure.tap: None for measure in self.measures})

    def at(self, tap: str) -> list[Measure]:
        """The measures of a layer."""
        return [measure for measure in self.measures if measure.tap == tap]


class Objective:
    """Holds the terms' targets, gathered once from their pictures.

    Args:
        network: has (at least) the taps of all terms, on the pictures' device. Where its weights
            have another type or layout than the objective computes in, that gets a copy.
        terms: at least one, each with a name of its own.
        tv_weight: factor of the total variation.
        tv_norm: its form, see `nst.objective.variation.total_variation`.
        precision: of the network alone: `fp32`; `tf32`, where CUDA's matrix units round inputs to
            10 bits; `bf16`, with weights and activations of 8 bits. Losses, Gram matrices and image
            stay float32.
        joint: one pass of the image through the network serves all terms. False gives each term a
            pass of its own, in the contiguous layout, differentiated by autograd alone, as plain
            implementations do: the same losses up to rounding in twice the time, but rounded as
            theirs are, which float32 L-BFGS magnifies until after ten evaluations the rows differ
            by per cents.
        tile_size: longest side in px of the tiles of a larger picture, without what they need
            around them; rounded down to a multiple of 16, or less where fewer than four poolings
            are in use. None takes every picture as a whole.

    Only `Terms.total` is differentiable, and once: its gradient is ready when the terms are, so
    under `torch.no_grad()` they take a third of the time. Without `joint` all terms are, by
    autograd.

    Raises:
        nst.errors.InputError: tiles without `joint`; no terms, or two of one name; a comparison
            with several pictures, or with a part of one; a region that covers nothing. In an
            evaluation: a comparison with a picture of another size than the image.

    Attributes:
        network: as it computes.
        aims: what images are compared with; of terms of no weight nothing.
        joint: as given.
        tv_norm: likewise.
        cost: what evaluations of images take of memory.
        scales: what the distances are shares of, by the measures' keys; or the weights that were
            found for the terms, by their names; empty where they count as they are.
    """

    def __init__(
        self,
        network: VGG,
        terms: Sequence[Term],
        *,
        tv_weight: float = 0.0,
        tv_norm: Norm = "l1",
        precision: Precision = "fp32",
        joint: bool = True,
        tile_size: int | None = None,
    ) -> None:
        if tile_size is not None and not joint:
            raise InputError("tiles need loss.joint=true: separate passes are for whole pictures")
        names = [term.name for term in terms]
        if not names or len(set(names)) < len(names) or "tv" in names:
            raise InputError(f"terms must have names of their own, and not tv: {names}")
        like = terms[0].regions[0].sources[0].picture
        self._layout = _layout(like.device, joint)
        self._dtype = _network_dtype(precision, like.dtype)
        self.network = network.computing_in(self._dtype, self._layout)
        self.joint = joint
        self.scales: Mapping[str, float] = {}
        self._tile_size = tile_size
        self.tv_norm: Norm = tv_norm
        self.cost = cost(
            [(term.statistic, term.layers) for term in terms if term.weight],
            precision,
            max(sum(one.mask is not None for one in term.regions) for term in terms),
            network.architecture,
            network.pooling,
            joint,
        )
        # Their pictures are only needed for the targets, and may be large.
        left = tuple(replace(term, regions=()) for term in terms)
        self.aims = Aims(left, [], {}, {}, [tv_weight])
        with torch.no_grad():
            for term in terms:
                if term.weight:
                    self._aim(term)

    def aiming(self, aims: Aims, scales: Mapping[str, float]) -> "Objective":
        """The same with other weights or goals, and the scales that are in them."""
        other = copy(self)
        other.aims, other.scales = aims, scales
        return other

    def __call__(self, image: Tensor) -> Terms:
        """Evaluate the terms for an image, 1 x 3 x H x W, ImageNet-normalised; differentiable."""
        if not self.joint:
            return self._plainly(image)
        wanted = torch.is_grad_enabled() and image.requires_grad
        (found,) = self.evaluate([image], self.aims, wanted)
        return found

    def evaluate(self, images: Sequence[Tensor], aims: Aims, wanted: bool = True) -> list[Terms]:
        """Evaluate B images of one size, for given aims instead of the objective's own.

        Args:
            images: B of 1 x 3 x H x W, ImageNet-normalised.
            aims: theirs.
            wanted: whether the totals are to be differentiable.
        """
        pixels = images[0].detach() if len(images) == 1 else torch.cat([*images]).detach()
        # What is gathered of the tiles, then what follows from it: the terms and their gradient.
        first = second = self._passes(pixels, aims.taps, differentiable=wanted)
        if len(self.tiles(pixels)) > 1:
            first = self._passes(pixels, aims.taps)
        elif wanted:  # one forward pass is enough for both
            first = second = [replace(one, features=list(one.features)) for one in first]
        variations = zip(torch.split(pixels, 1), aims.tv_weights, strict=True)
        with torch.no_grad():
            gathered = self._gathered(pixels, first, aims)
            tv = pixels.new_zeros(len(pixels))
            if any(aims.tv_weights):
                norm = self.tv_norm
                each = [weight * variation_in_bands(one, norm=norm) for one, weight in variations]
                tv = torch.stack(each)
        for one in gathered.values():
            one.requires_grad_(wanted)
        with torch.set_grad_enabled(wanted):
            distances = self._distances(pixels, gathered, aims)
            values = weighed(aims.terms, aims.measures, distances, tv)
            total = _sum(values.values())
        totals = list(total.detach().unbind())
        if wanted:
            found = torch.autograd.grad(total.sum(), list(gathered.values())) if gathered else ()
            slopes = dict(zip(gathered, found, strict=True))
            del gathered
            gradients = torch.split(self._gradient(pixels, second, aims, slopes), 1)
            pairs = zip(torch.split(pixels, 1), gradients, aims.tv_weights, strict=True)
            for one, own, weight in pairs:
                if weight:
                    variation_in_bands(one, own, weight, norm=self.tv_norm)
            totals = [
                tiling.Differentiated.apply(image, each, [own])
                for image, each, own in zip(images, totals, gradients, strict=True)
            ]
        return [
            Terms(
                {name: value.detach()[index] for name, value in values.items()},
                totals[index],
                {key: value.detach()[index] for key, value in distances.items()},
            )
            for index in range(len(images))
        ]

    def magnitudes(self, image: Tensor) -> dict[str, Tensor]:
        """How far features that are all zero are from each target, by the measures' keys.

        Args:
            image: 1 x 3 x H x W, of the size that is measured.
        """
        blank = (
            _Pass(tile, image, self._zeros(image, tile))
            for tile in self._tiles(image, self.aims.taps)
        )
        gathered = self._gathered(image, blank, self.aims)
        distances = self._distances(image, gathered, self.aims)
        return {key: distance[0] for key, distance in distances.items()}

    def _zeros(self, image: Tensor, tile: Tile) -> Iterator[tuple[str, Tensor]]:
        """Features of a tile that are all zero, by tap."""
        for tap in self.aims.taps:
            sides = tile.whole(self.network.architecture.level(tap))
            height, width = (side.stop - side.start for side in sides)
            channels = self._positions(image, tap).shape[1]
            yield tap, self._map((1, channels, height, width), image.dtype, image).zero_()

    def _plainly(self, image: Tensor) -> Terms:
        """A pass for each term, differentiated by autograd alone."""
        aims = self.aims
        gathered: dict[str, Tensor] = {}
        for term in aims.terms:
            own = [measure for measure in aims.measures if measure.term == term.name]
            features = self.features(image) if own else {}
            for measure in own:
                gathered[measure.key] = self._gather(measure, features[measure.tap], image, aims)
        found = self._distances(image, gathered, aims)
        distances = {key: distance[0] for key, distance in found.items()}
        (tv_weight,) = aims.tv_weights
        variation = total_variation(image, self.tv_norm) if tv_weight else image.new_zeros(())
        values = weighed(aims.terms, aims.measures, distances, tv_weight * variation)
        return Terms(values, _sum(values.values()), distances)

    def features(self, image: Tensor) -> dict[str, Tensor]:
        """The network's features of B images, B x 3 x H x W, by tap; differentiable."""
        features: dict[str, Tensor] = self.network(self._given(image))
        return {tap: feature.to(image.dtype) for tap, feature in features.items()}

    def tiles(self, image: Tensor) -> list[Tile]:
        """The tiles of images, B x 3 x H x W; only one where they are taken as a whole."""
        return self._tiles(image, self.aims.taps)

    def _tiles(self, image: Tensor, taps: Sequence[str]) -> list[Tile]:
        if not taps:
            return []
        halos = self.network.architecture.halos(taps)
        return tiling.tiles(image.shape[2], image.shape[3], self._tile_size, halos)

    def _given(self, image: Tensor) -> Tensor:
        # The optimised image itself stays contiguous: torch's L-BFGS views its gradient as a
        # vector, which a channels_last gradient does not allow.
        return image.to(self._dtype, memory_format=self._layout)

    def _positions(self, image: Tensor, tap: str, weights: Tensor | None = None) -> Positions:
        """A layer's positions of a whole image."""
        return Positions(self.network.architecture.feature_shape(image.shape, tap), weights)

    def _aim(self, term: Term) -> None:
        """Add a term's measures, their targets and what the image's positions count."""
        _check(term)
        aims = self.aims
        shares = {tap: self._shares(term.regions, tap) for tap in term.layers}
        pairs = zip(term.regions, self._targets(term), strict=True)
        for number, (region, targets) in enumerate(pairs):
            left = {tap: target for tap, target in targets.items() if shares[tap][number][1]}
            if not left and term.layers:
                raise InputError(
                    f"{term.name}: nothing of the region {region.name} is left in any layer; "
                    "regions.border=simple or a larger size may help"
                )
            for tap, target in left.items():
                mask, share = shares[tap][number]
                key = "/".join([term.name, tap, *([region.name] if region.name else [])])
                weight = term.layers[tap] * share
                aims.measures.append(Measure(key, term.name, tap, term.statistic, share, weight))
                aims.targets[key] = target
                if mask is not None:
                    aims.masks[key] = mask

    def _shares(self, regions: Sequence[Region], tap: str) -> list[tuple[Tensor | None, float]]:
        """For each region what a layer's positions count in it, and its share of the layer."""
        if len(regions) == 1 and regions[0].mask is None:
            return [(None, 1.0)]
        found = []
        for region in regions:
            assert region.mask is not None  # noqa: S101 - `_check` has seen to it
            found.append(self._at_layer(region.mask, region.border, tap))
        whole = sum(mass for _, mass in found)
        return [(mask, mass / whole if whole else 0.0) for mask, mass in found]

    def _at_layer(self, mask: Tensor, border: Border, tap: str) -> tuple[Tensor, float]:
        """What a layer's positions count by a mask, adding up to 1, and their sum before that."""
        there = masks.at_layer(mask, self.network.architecture, tap, border)
        mass = there.sum().item()
        return (there / mass if mass else there), mass

    def _targets(self, term: Term) -> list[dict[str, Tensor]]:
        """What a term's statistic compares with, for each region by tap."""
        statistic = term.statistic
        if isinstance(statistic, Comparison):
            (source,) = term.regions[0].sources
            return [self._features_of(source.picture, list(term.layers))]
        gathered = self._gathered_of_sources(term)
        found = []
        for region in term.regions:
            targets: dict[str, Tensor] = {}
            for tap in term.layers:
                parts = [
                    (source.weight, gathered[_key(source, tap)])
                    for source in region.sources
                    if _key(source, tap) in gathered
                ]
                if parts:  # of a small part of a picture nothing may be left in a deep layer
                    weights = sum(weight for weight, _ in parts)
                    blend = _sum([weight * part for weight, part in parts]) / weights
                    if isinstance(statistic, Moments):
                        blend = statistic.target(blend[0])[None]
                    targets[tap] = blend
            found.append(targets)
        return found

    def _gathered_of_sources(self, term: Term) -> dict[str, Tensor]:
        """What a term's statistic gathers of each source, by `_key`; each picture goes once."""
        found: dict[str, Tensor] = {}
        # Regions may share a source, whose border is then the same.
        sources = {id(one): (one, region) for region in term.regions for one in region.sources}
        pictures = {id(source.picture): source.picture for source, _ in sources.values()}
        for picture in pictures.values():
            aims = Aims([term], [], {}, {}, [0.0])
            for source, region in sources.values():
                if source.picture is not picture:
                    continue
                for tap in term.layers:
                    key = _key(source, tap)
                    if source.mask is not None:
                        mask, mass = self._at_layer(source.mask, region.border, tap)
                        if not mass:
                            continue
                        aims.masks[key] = mask
                    aims.measures.append(Measure(key, term.name, tap, term.statistic, 1.0, 1.0))
            gathered = self._gathered(picture, self._passes(picture, aims.taps), aims)
            if isinstance(term.statistic, Distribution):
                for one in aims.measures:
                    values = gathered[one.key]
                    gathered[one.key] = self._summary(term.statistic, one, values, picture, aims)
            found |= gathered
        return found

    def _features_of(self, picture: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """A picture's features by tap, as the network computes them."""
        found: dict[str, Tensor] = {}
        for tap, window, core in self._cores(self._passes(picture, taps)):
            if tap not in found:
                shape = self._positions(picture, tap).shape
                found[tap] = self._map(shape, self._dtype, picture)
            found[tap][..., *window] = core
        return found

    def _map(self, shape: Sequence[int], dtype: torch.dtype, like: Tensor) -> Tensor:
        return torch.empty(
            tuple(shape), dtype=dtype, device=like.device, memory_format=self._layout
        )

    def _passes(
        self, images: Tensor, taps: Sequence[str], *, differentiable: bool = False
    ) -> Iterable[_Pass]:
        """The images' tiles, one after the other, as they go through the network."""
        for tile in self._tiles(images, taps):
            pixels = self._given(images[..., *tile.whole(0)]).requires_grad_(differentiable)
            yield _Pass(tile, pixels, tiling.features(self.network, pixels, tile, taps))

    def _cores(self, passes: Iterable[_Pass]) -> Iterator[tuple[str, Window, Tensor]]:
        """Each tap's features of each core: the tap, where in the whole map they are, and they."""
        for one in passes:
            for tap, feature in one.features:
                level = self.network.architecture.level(tap)
                core = feature[..., *one.tile.inner(level)]
                if core.numel():  # a core of few px has no positions behind many poolings
                    core = core.contiguous(memory_format=self._layout)
                    yield tap, one.tile.core(level), core

    def _gathered(self, images: Tensor, passes: Iterable[_Pass], aims: Aims) -> dict[str, Tensor]:
        """What the measures' statistics gather from B images, by the measures' keys."""
        found: dict[str, Tensor] = {}
        for tap, window, core in self._cores(passes):
            measures = aims.at(tap)
            widened = all(_widens(measure.statistic) for measure in measures)
            exact = core if widened else core.to(images.dtype)
            for measure in measures:
                key, features = measure.key, core if _widens(measure.statistic) else exact
                share = self._gather(measure, features, images, aims, window)
                if isinstance(measure.statistic, Distribution):
                    if key not in found:
                        shape = *share.shape[:2], *self._positions(images, tap).shape[2:]
                        found[key] = self._map(shape, share.dtype, share)
                    found[key][..., *window] = share
                else:
                    found[key] = found[key] + share if key in found else share
        return {measure.key: found[measure.key] for measure in aims.measures}

    def _gather(
        self, measure: Measure, features: Tensor, images: Tensor, aims: Aims, window: Window = _ALL
    ) -> Tensor:
        """What a measure's statistic gathers of a part of images, which `window` says."""
        statistic = measure.statistic
        positions = self._positions(images, measure.tap, aims.masks.get(measure.key))
        if not isinstance(statistic, Comparison):
            return statistic.gather(features, positions.at(window))
        target = aims.targets[measure.key]
        if target.shape[2:] != positions.shape[2:]:
            raise InputError(
                f"{measure.term}: {type(statistic).__name__} compares position by "
                f"position, and its picture has another size than the image"
            )
        there = target[..., *window].to(features.dtype)
        return statistic.gather(features, there, positions.at(window))

    def _distances(
        self, images: Tensor, gathered: Mapping[str, Tensor], aims: Aims
    ) -> dict[str, Tensor]:
        """The distances of B images each, by the measures' keys."""
        found = {}
        for measure in aims.measures:
            statistic, compared = measure.statistic, [gathered[measure.key]]
            if isinstance(statistic, Distribution):
                compared = [self._summary(statistic, measure, compared[0], images, aims)]
            if not isinstance(statistic, Comparison):
                compared.append(aims.targets[measure.key])
            if len(compared[0]) == 1:
                distance = statistic.distance(*(one[0] for one in compared))[None]
            else:
                distance = torch.vmap(statistic.distance)(*compared)
            found[measure.key] = distance.to(images)
        return found

    def _summary(
        self, statistic: Distribution, measure: Measure, values: Tensor, images: Tensor, aims: Aims
    ) -> Tensor:
        """The summaries of B images' values, B x any shape."""
        positions = self._positions(images, measure.tap, aims.masks.get(measure.key))
        weights = positions.weights
        if weights is None or len(weights) == 1:
            each = [positions] * len(values)
        else:
            each = [replace(positions, weights=one[None]) for one in weights]
        return torch.stack([statistic.summary(*pair) for pair in zip(values, each, strict=True)])

    def _gradient(
        self,
        images: Tensor,
        passes: Iterable[_Pass],
        aims: Aims,
        slopes: Mapping[str, Tensor],
    ) -> Tensor:
        """The gradient of what depends on the features with respect to the images."""
        gradient = torch.zeros_like(images)
        for one in passes:
            gradient[..., *one.tile.whole(0)] += self._tile_gradient(images, one, aims, slopes)
        return gradient

    def _tile_gradient(
        self, images: Tensor, one: _Pass, aims: Aims, slopes: Mapping[str, Tensor]
    ) -> Tensor:
        tile = one.tile

        def attach(tap: str, feature: Tensor) -> None:
            level = self.network.architecture.level(tap)
            held = feature.detach()  # `feature` itself would hold the hook that holds it

            def add(gradient: Tensor) -> Tensor:
                inner = tile.inner(level)
                if held[..., *inner].numel():
                    # In place: the layer above made it for this layer alone, and it may be large.
                    for measure in aims.at(tap):
                        _add_pullback(
                            measure,
                            slopes[measure.key],
                            gradient[..., *inner],
                            held[..., *inner],
                            aims.targets[measure.key],
                            self._positions(images, tap, aims.masks.get(measure.key)),
                            tile.core(level),
                        )
                return gradient

            feature.register_hook(add)  # type: ignore[no-untyped-call]

        for tap, feature in one.features:
            attach(tap, feature)
        # Each tap's hook adds dL/dF when the gradient of what is above has come down to it: to the
        # last one zeros, by a scalar, since `grad` with a `grad_outputs` imports sympy, a second.
        zeros = torch.zeros_like(feature)
        last = tiling.Differentiated.apply(feature, zeros.new_zeros(()), [zeros])
        (gradient,) = torch.autograd.grad(last, one.pixels)
        return gradient


def fitted(
    network: VGG, device: torch.device, precision: Precision = "fp32", *, joint: bool = True
) -> VGG:
    """Bring a network itself to where and how an objective of float32 images computes.

    An objective would make a copy, which is another 50 MiB. The other arguments are an objective's.
    """
    dtype = _network_dtype(precision, torch.float32)
    return network.to(device, dtype).to(memory_format=_layout(device, joint))


def _layout(device: torch.device, joint: bool) -> torch.memory_format:
    # With the channels innermost an evaluation was 1.1 times (256 px) to 1.5 times (512 px) faster
    # on CPUs, and on an H100 as fast or 1.2 times faster in float32 and 1.25 times in bfloat16.
    innermost = joint and device.type in ("cpu", "cuda")
    return torch.channels_last if innermost else torch.contiguous_format


def _network_dtype(precision: Precision, image: torch.dtype) -> torch.dtype:
    return torch.bfloat16 if precision == "bf16" else image


def _widens(statistic: Statistic) -> bool:
    return isinstance(statistic, Moments) and statistic.widens


def _key(source: Source, tap: str) -> str:
    return f"{id(source)}/{tap}"


def _add_pullback(
    measure: Measure,
    slope: Tensor,
    gradient: Tensor,
    features: Tensor,
    target: Tensor,
    positions: Positions,
    window: Window,
) -> None:
    """Add what a measure pulls at a part's features to their gradient, some rows at a time.

    Args:
        measure: which.
        slope: of what it gathered of the whole.
        gradient: of the part's features, B x C x h x w.
        features: likewise.
        target: of the measure.
        positions: of the whole.
        window: the part's rows and columns.
    """
    rows, columns = window
    height = band_height(features.device)
    for first in range(rows.start, rows.stop, height):
        band = slice(first, min(first + height, rows.stop)), columns
        own = slice(band[0].start - rows.start, band[0].stop - rows.start)
        at, statistic = positions.at(band), measure.statistic
        part = features[..., own, :]
        if isinstance(statistic, Moments):
            pulled = statistic.pullback(slope, part, at)
        elif isinstance(statistic, Distribution):
            pulled = statistic.pullback(slope[..., *band], part, at)
        else:
            pulled = statistic.pullback(slope, part, target[..., *band], at)
        gradient[..., own, :] += pulled


def _check(term: Term) -> None:
    """Check that a term's regions are such as its statistic can be had of.

    Raises:
        InputError: they are not.
    """
    kind = type(term.statistic).__name__
    if isinstance(term.statistic, Comparison):
        sources = [source for region in term.regions for source in region.sources]
        if len(sources) != 1 or sources[0].mask is not None:
            raise InputError(
                f"{term.name}: {kind} compares position by position, with one whole picture"
            )
    names = [region.name for region in term.regions]
    if len(set(names)) < len(names):
        raise InputError(f"{term.name}: regions must have names of their own: {names}")
    for region in term.regions:
        if region.mask is None and len(names) > 1:
            raise InputError(f"{term.name}: one of several regions needs a mask: {region.name}")
        masks_there = [region.mask, *(source.mask for source in region.sources)]
        if any(mask is not None and not mask.any() for mask in masks_there):
            raise InputError(f"{term.name}: the region {region.name} covers nothing")


def _sum(values: Iterable[Tensor]) -> Tensor:
    first, *others = values
    for value in others:
        first = first + value
    return first
